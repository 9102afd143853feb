-- One row is a state that was published: a date cleaned, or rolled back; `iadsr snapshot list`.
CREATE OR REPLACE VIEW published_states AS
WITH publications AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY run_id ORDER BY ended_at) AS attempt
    FROM runs
    WHERE step = 'publish' AND status IN ('succeeded', 'unchanged')
)

SELECT
    ended_at AS published_at,
    run_id,
    event_date,
    model_version,
    encoder_id,
    (counts ->> 'interactions')::BIGINT AS interactions,
    (counts ->> 'kept')::BIGINT AS kept,
    (counts ->> 'removed')::BIGINT AS removed,
    (outputs ->> 'scored_interactions')::BIGINT AS scored_version,
    (outputs ->> 'clean_interactions')::BIGINT AS clean_version,
    inputs,
    outputs
FROM publications
-- A run that was killed after its commits is told of by the run that found its work done.
WHERE status = 'succeeded' OR attempt = 1;

COMMENT ON VIEW published_states IS
'One row is a state that was published: a date cleaned, or rolled back; `iadsr snapshot list`.';
COMMENT ON COLUMN published_states.published_at IS 'when (UTC)';
COMMENT ON COLUMN published_states.run_id IS
'names the state: `iadsr catalog --as-of RUN`, `iadsr diff RUN RUN`';
COMMENT ON COLUMN published_states.event_date IS
'the date that was cleaned, or rolled back to what this run had made of it';
COMMENT ON COLUMN published_states.model_version IS 'model that cleaned it';
COMMENT ON COLUMN published_states.encoder_id IS 'encoder of the semantic view';
COMMENT ON COLUMN published_states.interactions IS
'interactions of the date; null where the run was killed after its commits';
COMMENT ON COLUMN published_states.kept IS 'those of them that were kept';
COMMENT ON COLUMN published_states.removed IS 'those of them that were removed';
COMMENT ON COLUMN published_states.scored_version IS 'snapshot of scored_interactions';
COMMENT ON COLUMN published_states.clean_version IS 'snapshot of clean_interactions';
COMMENT ON COLUMN published_states.inputs IS 'JSON: table -> snapshot version that was read';
COMMENT ON COLUMN published_states.outputs IS 'JSON: table -> snapshot version of the state';
