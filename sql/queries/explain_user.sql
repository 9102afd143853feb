-- What did a user do, what of it was removed, and why? (variables user_id; item_id, event_date)
-- A row without a decision is of a date that has not been cleaned.
SELECT
    interactions.event_date,
    interactions.event_time,
    interactions.item_id,
    items.title,
    scored.decision,
    scored.reason,
    explained.explanation,
    scored.noise_probability,
    scored.threshold,
    scored.noise_probability - scored.threshold AS kept_if_lower_by,
    scored.stratum,
    scored.history_length,
    scored.strongest_signals,
    scored.* LIKE 'signal_%',
    scored.model_version,
    scored.run_id,
    interactions.interaction_id
FROM interactions
LEFT JOIN scored_interactions AS scored USING (event_date, user_id, interaction_id)
LEFT JOIN explained_interactions AS explained USING (event_date, user_id, interaction_id)
LEFT JOIN items ON items.item_id = interactions.item_id
WHERE
    interactions.user_id = getvariable('user_id')
    AND interactions.item_id = coalesce(getvariable('item_id'), interactions.item_id)
    AND interactions.event_date
    = coalesce(getvariable('event_date')::DATE, interactions.event_date)
ORDER BY interactions.event_time, interactions.item_id, interactions.interaction_id;
