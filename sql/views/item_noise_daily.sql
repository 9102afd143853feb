-- One row is an item on a cleaned date: how often was it noise in its users' histories?
CREATE OR REPLACE VIEW item_noise_daily AS
WITH daily AS (
    SELECT
        event_date,
        item_id,
        min(stratum) AS stratum,
        count(*) AS interactions,
        count(noise_probability) AS judged,
        count(*) FILTER (decision = 'remove') AS removed,
        avg(noise_probability) AS mean_noise_probability
    FROM scored_interactions
    GROUP BY event_date, item_id
)

SELECT
    daily.event_date,
    daily.item_id,
    items.title,
    daily.stratum,
    daily.interactions,
    daily.judged,
    daily.removed,
    daily.removed / daily.interactions AS removed_share,
    daily.mean_noise_probability
FROM daily
LEFT JOIN items USING (item_id);

COMMENT ON VIEW item_noise_daily IS
'One row is an item on a cleaned date: how often was it noise in its users'' histories?';
COMMENT ON COLUMN item_noise_daily.event_date IS 'UTC date';
COMMENT ON COLUMN item_noise_daily.item_id IS 'as given in the source';
COMMENT ON COLUMN item_noise_daily.title IS 'latest title; null where the catalogue has none';
COMMENT ON COLUMN item_noise_daily.stratum IS
'popularity of the item when the model was trained; or what is not known of it';
COMMENT ON COLUMN item_noise_daily.interactions IS 'accepted interactions with it on the date';
COMMENT ON COLUMN item_noise_daily.judged IS 'those of them that have a noise probability';
COMMENT ON COLUMN item_noise_daily.removed IS 'those of them that were removed';
COMMENT ON COLUMN item_noise_daily.removed_share IS 'removed / interactions, from 0 to 1';
COMMENT ON COLUMN item_noise_daily.mean_noise_probability IS 'of the judged; null without any';
