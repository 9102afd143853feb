-- How well was noise of each kind found, that was put into sequences of users it had not seen?
-- (variable model)
WITH trained AS (
    SELECT arg_max(outputs -> 'calibration', ended_at) -> 'detection' AS detection
    FROM runs
    WHERE
        step = 'train'
        AND status IN ('succeeded', 'unchanged')
        AND model_version = getvariable('model')
),

kinds AS (
    SELECT
        kind,
        json_extract(trained.detection, '$."' || kind || '"') AS measured
    FROM trained
    CROSS JOIN unnest(json_keys(trained.detection)) AS kinds (kind)
)

SELECT
    kind,
    (measured ->> 'auroc')::DOUBLE AS auroc,
    (measured ->> 'average_precision')::DOUBLE AS average_precision
FROM kinds
WHERE (measured ->> 'auroc') IS NOT NULL
ORDER BY kind;
