-- One row is a published date whose interactions have changed since, in number or in value.
CREATE OR REPLACE VIEW stale_dates AS
WITH published AS (
    SELECT
        event_date,
        max(published_at) AS published_at,
        max_by((inputs ->> 'interactions')::BIGINT, published_at) AS read_version
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
),

-- What a correction replaced stands in quarantine, under the run that corrected it.
superseded AS (
    SELECT
        run_id,
        -- CASE: other rejected rows are bytes of any kind.
        CASE WHEN reason = 'superseded' THEN (decode(raw) ->> 'event_date')::DATE END AS event_date
    FROM quarantine
    WHERE reason = 'superseded'
),

-- The snapshot with which such a run ended: its first row that names one, others repeat it.
correcting AS (
    SELECT
        run_id,
        min((outputs ->> 'interactions')::BIGINT) AS written_version
    FROM runs
    WHERE step = 'ingest'
    GROUP BY run_id
),

corrected AS (
    SELECT
        event_date,
        count(*) AS corrected_interactions
    FROM superseded
    INNER JOIN correcting USING (run_id)
    INNER JOIN published USING (event_date)
    WHERE correcting.written_version > published.read_version
    GROUP BY event_date
)

SELECT
    published.event_date,
    coalesce(accepted.interactions, 0) AS interactions,
    coalesce(decided.scored, 0) AS scored,
    coalesce(accepted.interactions, 0) - coalesce(decided.scored, 0) AS late_interactions,
    coalesce(corrected.corrected_interactions, 0) AS corrected_interactions,
    published.published_at
FROM published
LEFT JOIN accepted USING (event_date)
LEFT JOIN decided USING (event_date)
LEFT JOIN corrected USING (event_date)
WHERE
    coalesce(accepted.interactions, 0) <> coalesce(decided.scored, 0)
    OR corrected.corrected_interactions > 0;

COMMENT ON VIEW stale_dates IS
'One row is a published date whose interactions have changed since, in number or in value.';
COMMENT ON COLUMN stale_dates.event_date IS 'UTC date';
COMMENT ON COLUMN stale_dates.interactions IS 'accepted interactions of the date now';
COMMENT ON COLUMN stale_dates.scored IS 'interactions of the date that have a decision';
COMMENT ON COLUMN stale_dates.late_interactions IS 'interactions - scored';
COMMENT ON COLUMN stale_dates.corrected_interactions IS
'interactions that got another value after the date was read for its last publication';
COMMENT ON COLUMN stale_dates.published_at IS 'when the date was last published (UTC)';
