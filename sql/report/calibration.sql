-- Of rows that the model called noise we had put in with probability p, how many were?
-- With the 95 % Wilson interval of each bin. (variable model)
WITH trained AS (
    SELECT arg_max(outputs -> 'calibration', ended_at) AS calibration
    FROM runs
    WHERE
        step = 'train'
        AND status IN ('succeeded', 'unchanged')
        AND model_version = getvariable('model')
),

bins AS (
    SELECT unnest((calibration -> 'curve')::JSON[]) AS bin
    FROM trained
),

numbers AS (
    SELECT
        (bin ->> 'stated')::DOUBLE AS stated,
        (bin ->> 'true')::DOUBLE AS noise_share,
        (bin ->> 'rows')::BIGINT AS judged,
        1.96 ^ 2 / (bin ->> 'rows')::BIGINT AS z2_n
    FROM bins
),

wilson AS (
    SELECT
        *,
        (noise_share + z2_n / 2) / (1 + z2_n) AS middle,
        sqrt(z2_n * noise_share * (1 - noise_share) + (z2_n / 2) ^ 2) / (1 + z2_n) AS reach
    FROM numbers
)

SELECT
    stated,
    noise_share,
    judged,
    greatest(middle - reach, 0) AS lower_end,
    least(middle + reach, 1) AS upper_end
FROM wilson
ORDER BY stated;
