-- Why was each interaction of $user_id kept or removed? ($item_id and $event_date narrow it.)
SELECT
    explained.event_date,
    explained.event_time,
    explained.item_id,
    explained.title,
    explained.decision,
    explained.reason,
    explained.explanation,
    explained.noise_probability,
    explained.threshold,
    scored.* LIKE 'signal_%'
FROM explained_interactions AS explained
INNER JOIN scored_interactions AS scored
    ON
        scored.user_id = explained.user_id
        AND scored.item_id = explained.item_id
        AND scored.event_time = explained.event_time
WHERE
    explained.user_id = $user_id::VARCHAR
    AND ($item_id::VARCHAR IS NULL OR explained.item_id = $item_id::VARCHAR)
    AND ($event_date::DATE IS NULL OR explained.event_date = $event_date::DATE)
ORDER BY explained.event_time, explained.item_id;
