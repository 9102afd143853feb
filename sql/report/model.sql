-- Which model cleaned the last of these dates, what was it trained on, how is it set?
-- (variables first, last: dates)
WITH used AS (
    SELECT arg_max(model_version, (event_date, published_at)) AS model_version
    FROM published_states
    WHERE event_date BETWEEN getvariable('first')::DATE AND getvariable('last')::DATE
),

trained AS (
    SELECT
        model_version,
        arg_max(event_date, ended_at) AS trained_as_of,
        arg_max((counts ->> 'interactions')::BIGINT, ended_at) AS interactions,
        arg_max((counts ->> 'users')::BIGINT, ended_at) AS users,
        arg_max((counts ->> 'items')::BIGINT, ended_at) AS items,
        arg_max(encoder_id, ended_at) AS encoder_id,
        arg_max(outputs -> 'calibration', ended_at) AS calibration
    FROM runs
    WHERE step = 'train' AND status IN ('succeeded', 'unchanged')
    GROUP BY model_version
)

SELECT
    used.model_version,
    trained.trained_as_of,
    trained.interactions,
    trained.users,
    trained.items,
    trained.encoder_id,
    (trained.calibration ->> 'false_drop_budget')::DOUBLE AS false_drop_budget,
    (trained.calibration ->> 'rows_judged')::BIGINT AS rows_judged,
    (trained.calibration ->> 'calibration_error')::DOUBLE AS calibration_error
FROM used
LEFT JOIN trained USING (model_version);
