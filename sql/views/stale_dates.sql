-- One row is a published date whose interactions have changed in number since: clean it again.
CREATE OR REPLACE VIEW stale_dates AS
WITH published AS (
    SELECT
        event_date,
        max(published_at) AS published_at
    FROM published_states
    GROUP BY event_date
),

accepted AS (
    SELECT
        event_date,
        count(*) AS interactions
    FROM interactions
    GROUP BY event_date
),

decided AS (
    SELECT
        event_date,
        count(*) AS scored
    FROM scored_interactions
    GROUP BY event_date
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
'One row is a published date whose interactions have changed in number since: clean it again.';
COMMENT ON COLUMN stale_dates.event_date IS 'UTC date';
COMMENT ON COLUMN stale_dates.interactions IS 'accepted interactions of the date now';
COMMENT ON COLUMN stale_dates.scored IS 'interactions of the date that have a decision';
COMMENT ON COLUMN stale_dates.late_interactions IS 'interactions - scored';
COMMENT ON COLUMN stale_dates.published_at IS 'when the date was last published (UTC)';
