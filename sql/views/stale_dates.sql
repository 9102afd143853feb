-- One row is a published date whose interactions have changed since: clean it again.
CREATE OR REPLACE VIEW stale_dates AS
WITH published AS (
    SELECT event_date, max(ended_at) AS published_at
    FROM runs
    WHERE step = 'publish' AND status IN ('succeeded', 'unchanged')
    GROUP BY event_date
),

accepted AS (
    SELECT event_date, count(*) AS interactions FROM interactions GROUP BY event_date
),

decided AS (
    SELECT event_date, count(*) AS scored FROM scored_interactions GROUP BY event_date
)

SELECT
    published.event_date,
    coalesce(accepted.interactions, 0) AS interactions,
    coalesce(decided.scored, 0) AS scored,
    coalesce(accepted.interactions, 0) - coalesce(decided.scored, 0) AS late_interactions,
    published.published_at
FROM published
LEFT JOIN accepted USING (event_date)
LEFT JOIN decided USING (event_date)
WHERE coalesce(accepted.interactions, 0) <> coalesce(decided.scored, 0);

COMMENT ON VIEW stale_dates IS
'One row is a published date whose interactions have changed since: clean it again.';
