-- What does each interaction weigh, if noise is to weigh less instead of being dropped?
-- 1 - noise probability; 1 where it was not judged. Most was gained (docs/results.md) where rows that
-- are not kept were learned by their weight, but left out of histories.
SELECT
    interactions.event_date,
    interactions.user_id,
    interactions.item_id,
    interactions.event_time,
    interactions.interaction_id,
    scored.decision = 'keep' AS kept,
    1 - coalesce(scored.noise_probability, 0) AS weight
FROM interactions
INNER JOIN scored_interactions AS scored USING (event_date, interaction_id)
ORDER BY
    interactions.user_id, interactions.event_time, interactions.item_id,
    interactions.interaction_id;
