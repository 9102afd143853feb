-- clean_interactions holds each kept interaction once, unaltered, and no removed one
WITH kept AS (
    SELECT interactions.*
    FROM interactions
    INNER JOIN scored USING (interaction_id)
    WHERE scored.decision = 'keep'
),

missing AS (SELECT * FROM kept EXCEPT ALL SELECT * FROM clean),

extra AS (SELECT * FROM clean EXCEPT ALL SELECT * FROM kept)

SELECT 'missing from clean' AS fault, interaction_id, item_id FROM missing
UNION ALL
SELECT 'not among the kept' AS fault, interaction_id, item_id FROM extra
ORDER BY fault, interaction_id;
