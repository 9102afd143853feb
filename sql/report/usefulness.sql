-- Is a recommender better for the cleaning: trained on the log as it is, cleaned, or with as many
-- rows dropped by lot? NDCG@10 on items that were held out, and the difference to the log as it is.
-- (the table evaluation_results is what `iadsr evaluate` wrote)
WITH measured AS (
    SELECT *
    FROM evaluation_results
    WHERE part = 'usefulness' AND seed IS NULL AND metric = 'NDCG' AND k = 10
)

SELECT
    arm.backbone,
    CASE WHEN arm.noise = 'none' THEN 'the log as it is' ELSE concat(arm.noise, ' ', arm.rate) END
        AS log,
    arm.arm,
    arm.value AS ndcg,
    arm.low AS lower_end,
    arm.high AS upper_end,
    difference.value AS difference,
    difference.low AS difference_lower_end,
    difference.high AS difference_upper_end,
    arm.n AS users
FROM measured AS arm
LEFT JOIN measured AS difference
    ON
        difference.versus IS NOT NULL
        AND arm.backbone = difference.backbone
        AND arm.noise = difference.noise
        AND arm.rate IS NOT DISTINCT FROM difference.rate
        AND arm.arm = difference.arm
WHERE arm.versus IS NULL
ORDER BY arm.backbone, log, arm.arm NOT IN ('raw', 'noisy'), arm.value DESC;
