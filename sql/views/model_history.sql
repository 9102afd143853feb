-- One row is a model version: when and on what it was trained, how good it is, what it cleaned.
CREATE OR REPLACE VIEW model_history AS
WITH trained AS (
    SELECT
        model_version,
        arg_min(event_date, started_at) AS trained_as_of,
        arg_min(encoder_id, started_at) AS encoder_id,
        min(ended_at) AS trained_at,
        arg_min(run_id, started_at) AS run_id,
        arg_min(duration_s, started_at) AS duration_s,
        arg_min((inputs ->> 'interactions_version')::BIGINT, started_at) AS interactions_version,
        arg_min((counts ->> 'interactions')::BIGINT, started_at) AS interactions,
        arg_min((counts ->> 'users')::BIGINT, started_at) AS users,
        arg_min((counts ->> 'items')::BIGINT, started_at) AS items,
        arg_max(outputs -> 'calibration', ended_at) AS calibration
    FROM runs
    WHERE step = 'train' AND status IN ('succeeded', 'unchanged')
    GROUP BY model_version
),

used AS (
    SELECT
        model_version,
        count(DISTINCT event_date) AS dates_cleaned,
        min(event_date) AS first_date,
        max(event_date) AS last_date,
        count(*) AS decisions,
        count(*) FILTER (decision = 'remove') AS removed
    FROM scored_interactions
    GROUP BY model_version
)

SELECT
    model_version,
    trained.trained_as_of,
    trained.trained_at,
    trained.duration_s,
    trained.interactions,
    trained.users,
    trained.items,
    trained.interactions_version,
    trained.encoder_id,
    (trained.calibration ->> 'false_drop_budget')::DOUBLE AS false_drop_budget,
    list_avg((trained.calibration -> '$.detection.*.auroc')::DOUBLE[]) AS auroc,
    list_avg((trained.calibration -> '$.detection.*.average_precision')::DOUBLE[])
        AS average_precision,
    (trained.calibration ->> 'calibration_error')::DOUBLE AS calibration_error,
    coalesce(used.dates_cleaned, 0) AS dates_cleaned,
    used.first_date,
    used.last_date,
    coalesce(used.decisions, 0) AS decisions,
    coalesce(used.removed, 0) AS removed,
    used.removed / used.decisions AS removed_share,
    trained.run_id
FROM trained
FULL JOIN used USING (model_version);

COMMENT ON VIEW model_history IS
'One row is a model version: when and on what it was trained, how good it is, what it cleaned.';
COMMENT ON COLUMN model_history.model_version IS 'its name: backbone, as-of date, digest';
COMMENT ON COLUMN model_history.trained_as_of IS 'last date that it has seen';
COMMENT ON COLUMN model_history.trained_at IS 'when the training ended (UTC)';
COMMENT ON COLUMN model_history.duration_s IS 'seconds that the training took';
COMMENT ON COLUMN model_history.interactions IS 'interactions that it was trained on';
COMMENT ON COLUMN model_history.users IS 'users that it was trained on, held-out ones included';
COMMENT ON COLUMN model_history.items IS 'items that it knows';
COMMENT ON COLUMN model_history.interactions_version IS 'snapshot of interactions that it read';
COMMENT ON COLUMN model_history.encoder_id IS 'encoder of the semantic view';
COMMENT ON COLUMN model_history.false_drop_budget IS
'share of genuine interactions that may be removed';
COMMENT ON COLUMN model_history.auroc IS
'chance that injected noise scores above a genuine row, mean over the kinds of noise';
COMMENT ON COLUMN model_history.average_precision IS 'of injected noise, mean over its kinds';
COMMENT ON COLUMN model_history.calibration_error IS
'mean distance of the stated probability from the true share of noise';
COMMENT ON COLUMN model_history.dates_cleaned IS 'dates that stand as it cleaned them';
COMMENT ON COLUMN model_history.first_date IS 'the first of them';
COMMENT ON COLUMN model_history.last_date IS 'the last of them';
COMMENT ON COLUMN model_history.decisions IS 'its decisions that stand';
COMMENT ON COLUMN model_history.removed IS 'those of them that removed';
COMMENT ON COLUMN model_history.removed_share IS 'removed / decisions, from 0 to 1';
COMMENT ON COLUMN model_history.run_id IS 'the training run';
