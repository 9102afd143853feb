-- One row is a popularity stratum of a cleaned date: how much of it was removed?
CREATE OR REPLACE VIEW removal_by_popularity AS
WITH daily AS (
    SELECT
        event_date,
        coalesce(stratum, 'unknown') AS stratum,
        min(model_version) AS model_version,
        count(*) AS interactions,
        count(noise_probability) AS judged,
        count(*) FILTER (decision = 'remove') AS removed,
        min(threshold) AS threshold
    FROM scored_interactions
    GROUP BY event_date, coalesce(stratum, 'unknown')
)

SELECT
    daily.event_date,
    daily.stratum,
    try_cast(regexp_extract(daily.stratum, '^\d+') AS BIGINT) AS least_popularity,
    daily.interactions,
    daily.judged,
    daily.removed,
    daily.removed / daily.interactions AS removed_share,
    daily.threshold,
    model_strata.false_drop_budget,
    model_strata.false_drop_rate AS expected_false_drop_rate,
    daily.model_version
FROM daily
LEFT JOIN model_strata USING (model_version, stratum);

COMMENT ON VIEW removal_by_popularity IS
'One row is a popularity stratum of a cleaned date: how much of it was removed?';
COMMENT ON COLUMN removal_by_popularity.event_date IS 'UTC date';
COMMENT ON COLUMN removal_by_popularity.stratum IS
'interactions of the item in training (1-5, 6-20, 21+); new; no text; unknown: new without text';
COMMENT ON COLUMN removal_by_popularity.least_popularity IS
'lower end of the stratum, to sort by; null for the kinds that have none';
COMMENT ON COLUMN removal_by_popularity.interactions IS 'accepted interactions with such items';
COMMENT ON COLUMN removal_by_popularity.judged IS 'those of them that have a noise probability';
COMMENT ON COLUMN removal_by_popularity.removed IS 'those of them that were removed';
COMMENT ON COLUMN removal_by_popularity.removed_share IS 'removed / interactions, from 0 to 1';
COMMENT ON COLUMN removal_by_popularity.threshold IS
'noise probability from which on they are removed; null: none is';
COMMENT ON COLUMN removal_by_popularity.false_drop_budget IS
'share of genuine interactions that may be removed';
COMMENT ON COLUMN removal_by_popularity.expected_false_drop_rate IS
'share of genuine interactions that the threshold removed when the model was calibrated';
COMMENT ON COLUMN removal_by_popularity.model_version IS 'model that cleaned the date';
