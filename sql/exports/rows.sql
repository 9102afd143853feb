-- One row is a decided interaction of some users (from first_user to last_user, in byte order), with
-- its weight if noise is to weigh less, and all that its source said of it.
SELECT
    scored.interaction_id,
    scored.user_id,
    scored.item_id,
    scored.event_time,
    scored.decision = 'keep' AS kept,
    1 - coalesce(scored.noise_probability, 0) AS weight,
    accepted.* EXCLUDE (
        interaction_id, user_id, item_id, event_time, event_date, source_file, run_id
    )
FROM scored_interactions AS scored
LEFT JOIN interactions AS accepted USING (event_date, interaction_id)
WHERE
    scored.event_date BETWEEN getvariable('first')::DATE AND getvariable('last')::DATE
    AND scored.user_id BETWEEN getvariable('first_user') AND getvariable('last_user');
