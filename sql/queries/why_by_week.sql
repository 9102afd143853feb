-- Why are interactions removed, week by week?
SELECT
    date_trunc('week', event_date)::DATE AS week,
    reason,
    any_value(reason_in_words) AS reason_in_words,
    count(*) AS removed,
    count(*) / sum(count(*)) OVER (PARTITION BY date_trunc('week', event_date)) AS share
FROM removed_interactions
GROUP BY date_trunc('week', event_date), reason
ORDER BY week, removed DESC, reason;
