-- removed means: a probability at or above its threshold; every decision has a known reason
SELECT interaction_id, decision, reason, noise_probability, threshold
FROM scored
WHERE
    decision NOT IN ('keep', 'remove')
    OR decision IS NULL
    OR reason IS NULL
    OR reason NOT IN (SELECT reason FROM reasons)
    OR (decision = 'remove' AND (noise_probability >= threshold) IS NOT TRUE)
    OR (reason = 'below_threshold' AND (noise_probability < threshold) IS NOT TRUE)
ORDER BY interaction_id;
