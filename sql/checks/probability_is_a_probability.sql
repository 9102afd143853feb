-- noise_probability and threshold are finite numbers in [0, 1], or null where nothing was scored
SELECT interaction_id, noise_probability, threshold
FROM scored
WHERE
    isnan(noise_probability)
    OR noise_probability NOT BETWEEN 0 AND 1
    OR isnan(threshold)
    OR threshold NOT BETWEEN 0 AND 1
ORDER BY interaction_id;
