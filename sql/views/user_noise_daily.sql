-- One row is a user on a cleaned date: how much of what they did was noise?
CREATE OR REPLACE VIEW user_noise_daily AS
SELECT
    event_date,
    user_id,
    count(*) AS interactions,
    count(noise_probability) AS judged,
    count(*) FILTER (decision = 'remove') AS removed,
    count(*) FILTER (decision = 'remove') / count(*) AS removed_share,
    avg(noise_probability) AS mean_noise_probability,
    max(noise_probability) AS highest_noise_probability
FROM scored_interactions
GROUP BY event_date, user_id;

COMMENT ON VIEW user_noise_daily IS
'One row is a user on a cleaned date: how much of what they did was noise?';
COMMENT ON COLUMN user_noise_daily.event_date IS 'UTC date';
COMMENT ON COLUMN user_noise_daily.user_id IS 'as given in the source';
COMMENT ON COLUMN user_noise_daily.interactions IS 'accepted interactions of the user on the date';
COMMENT ON COLUMN user_noise_daily.judged IS 'those of them that have a noise probability';
COMMENT ON COLUMN user_noise_daily.removed IS 'those of them that were removed';
COMMENT ON COLUMN user_noise_daily.removed_share IS 'removed / interactions, from 0 to 1';
COMMENT ON COLUMN user_noise_daily.mean_noise_probability IS 'of the judged; null without any';
COMMENT ON COLUMN user_noise_daily.highest_noise_probability IS 'of the judged; null without any';
