-- What did the promotion gate measure when the model was put in use? None for the first model.
-- (variable model)
WITH promoted AS (
    SELECT
        inputs ->> 'champion' AS champion,
        unnest((inputs -> 'measures')::JSON[]) AS measure
    FROM runs
    WHERE
        step = 'promote' AND status = 'succeeded' AND model_version = getvariable('model')
    QUALIFY row_number() OVER (ORDER BY ended_at DESC) = 1
)

SELECT
    champion,
    measure ->> 'measure' AS measure,
    (measure ->> 'challenger')::DOUBLE AS challenger_value,
    (measure ->> 'champion')::DOUBLE AS champion_value,
    (measure ->> 'limit')::DOUBLE AS bound,
    (measure ->> 'kept')::BOOLEAN AS kept
FROM promoted;
