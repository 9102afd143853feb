-- every row names its user, item, model, encoder, configuration and run, one of each a night
SELECT
    count(DISTINCT run_id) AS runs,
    count(DISTINCT model_version) AS models,
    count(DISTINCT encoder_id) AS encoders,
    count(DISTINCT config_digest) AS configs,
    count(*) FILTER (
        user_id IS NULL OR item_id IS NULL OR run_id IS NULL
        OR model_version IS NULL OR encoder_id IS NULL OR config_digest IS NULL
    ) AS incomplete_rows
FROM scored
HAVING runs > 1 OR models > 1 OR encoders > 1 OR configs > 1 OR incomplete_rows > 0;
