-- Which decisions changed since an earlier state, and why? (variable event_date: only this date)
-- The earlier state: `iadsr catalog --as-of RUN`, then ATTACH 'that file' AS before (READ_ONLY);
WITH earlier AS (
    FROM before.scored_interactions
    WHERE event_date = coalesce(getvariable('event_date')::DATE, event_date)
),

later AS (
    FROM scored_interactions
    WHERE event_date = coalesce(getvariable('event_date')::DATE, event_date)
),

-- A date that only one state has was cleaned for the first time, or not yet: nothing changed.
in_both AS (SELECT event_date FROM earlier INTERSECT SELECT event_date FROM later),

changed AS (
    SELECT
        event_date,
        interaction_id,
        coalesce(later.user_id, earlier.user_id) AS user_id,
        coalesce(later.item_id, earlier.item_id) AS item_id,
        coalesce(later.event_time, earlier.event_time) AS event_time,
        earlier.decision AS decision_before,
        later.decision,
        CASE
            WHEN earlier.decision IS NULL THEN 'late data'
            WHEN later.decision IS NULL THEN 'taken away'
            WHEN
                earlier.model_version = later.model_version
                AND earlier.history_length <> later.history_length
                THEN 'late data'
            WHEN earlier.model_version = later.model_version THEN 'other history or item text'
            WHEN
                (later.noise_probability >= earlier.threshold) = (earlier.decision = 'remove')
                THEN 'new threshold'
            ELSE 'new model'
        END AS why,
        earlier.noise_probability AS probability_before,
        later.noise_probability AS probability,
        earlier.threshold AS threshold_before,
        later.threshold,
        earlier.history_length AS history_before,
        later.history_length AS history,
        earlier.reason AS reason_before,
        later.reason,
        earlier.model_version AS model_before,
        later.model_version AS model
    FROM earlier
    FULL JOIN later USING (event_date, interaction_id)
    WHERE earlier.decision IS DISTINCT FROM later.decision
)

SELECT
    changed.event_date,
    changed.user_id,
    changed.item_id,
    items.title,
    changed.* EXCLUDE (event_date, user_id, item_id)
FROM changed
INNER JOIN in_both USING (event_date)
LEFT JOIN items USING (item_id)
ORDER BY changed.event_date, changed.user_id, changed.event_time, changed.interaction_id;
