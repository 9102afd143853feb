-- What does each interaction weigh, if noise is to weigh less instead of being dropped?
-- 1 - noise probability; 1 where it was not judged. Rows that are not kept are learned by their weight,
-- but left out of histories, where most was gained (docs/results.md).
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
