-- One row is a popularity stratum of a model: its threshold, and what it did to known noise.
CREATE OR REPLACE VIEW model_strata AS
WITH trained AS (
    SELECT
        model_version,
        arg_max(outputs -> 'calibration', ended_at) AS calibration
    FROM runs
    WHERE
        step = 'train'
        AND status IN ('succeeded', 'unchanged')
        AND (outputs ->> 'calibration') IS NOT NULL
    GROUP BY model_version
),

strata AS (
    SELECT
        model_version,
        (calibration ->> 'false_drop_budget')::DOUBLE AS false_drop_budget,
        unnest((calibration -> 'strata')::JSON[]) AS stratum
    FROM trained
)

SELECT
    model_version,
    stratum ->> 'stratum' AS stratum,
    (stratum ->> 'threshold')::DOUBLE AS threshold,
    false_drop_budget,
    (stratum ->> 'rows')::BIGINT AS rehearsed_rows,
    (stratum ->> 'noise_share')::DOUBLE AS noise_share,
    (stratum ->> 'noise_share_most')::DOUBLE AS noise_share_most,
    (stratum ->> 'false_drop_rate')::DOUBLE AS false_drop_rate,
    (stratum ->> 'false_drop_upper')::DOUBLE AS false_drop_upper,
    (stratum ->> 'recall')::DOUBLE AS recall,
    (stratum ->> 'precision')::DOUBLE AS precision
FROM strata;

COMMENT ON VIEW model_strata IS
'One row is a popularity stratum of a model: its threshold, and what it did to known noise.';
COMMENT ON COLUMN model_strata.model_version IS 'model that was trained';
COMMENT ON COLUMN model_strata.stratum IS
'interactions of the item in training (1-5, 6-20, 21+), or new, or no text';
COMMENT ON COLUMN model_strata.threshold IS
'noise probability from which on a row is removed; null: nothing of the stratum is';
COMMENT ON COLUMN model_strata.false_drop_budget IS
'share of genuine interactions that may be removed';
COMMENT ON COLUMN model_strata.rehearsed_rows IS 'users'' own rows that the threshold was set on';
COMMENT ON COLUMN model_strata.noise_share IS
'share of them that is noise already: what genuine rows that look like it do not explain';
COMMENT ON COLUMN model_strata.noise_share_most IS
'share of them that is noise already at most: so many look like it';
COMMENT ON COLUMN model_strata.false_drop_rate IS 'share of the others that it removes';
COMMENT ON COLUMN model_strata.false_drop_upper IS
'upper end of the 95 % interval of false_drop_rate';
COMMENT ON COLUMN model_strata.recall IS 'share of the injected noise that it removes';
COMMENT ON COLUMN model_strata.precision IS 'share of what it removes that is injected noise';
