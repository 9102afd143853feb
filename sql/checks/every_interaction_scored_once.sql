-- every accepted interaction of the date has exactly one decision, and nothing else has one
WITH decisions AS (
    SELECT interaction_id, count(*) AS decisions FROM scored GROUP BY interaction_id
),

accepted AS (
    SELECT interaction_id, count(*) AS accepted FROM interactions GROUP BY interaction_id
)

SELECT
    interaction_id,
    coalesce(accepted.accepted, 0) AS accepted,
    coalesce(decisions.decisions, 0) AS decisions
FROM accepted
FULL JOIN decisions USING (interaction_id)
WHERE coalesce(accepted.accepted, 0) <> 1 OR coalesce(decisions.decisions, 0) <> 1
ORDER BY interaction_id;
