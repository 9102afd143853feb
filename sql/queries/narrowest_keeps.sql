-- Which kept interactions came nearest to their threshold? (first, last: dates; count: 20)
SELECT
    event_date,
    user_id,
    item_id,
    title,
    noise_probability,
    threshold,
    threshold - noise_probability AS margin,
    explanation
FROM explained_interactions
WHERE
    reason = 'below_threshold'
    AND event_date >= coalesce(getvariable('first')::DATE, '-infinity'::DATE)
    AND event_date <= coalesce(getvariable('last')::DATE, 'infinity'::DATE)
ORDER BY margin, event_date, user_id, item_id, interaction_id
LIMIT coalesce(getvariable('count')::INT, 20);
