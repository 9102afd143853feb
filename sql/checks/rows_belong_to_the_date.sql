-- every row is of the date that is cleaned, by its event_date and by its event_time in UTC
SELECT interaction_id, scored.event_date, scored.event_time
FROM scored
CROSS JOIN settings
WHERE
    scored.event_date <> settings.event_date
    OR epoch_us(scored.event_time) < epoch_us(settings.event_date::TIMESTAMP)
    OR epoch_us(scored.event_time) >= epoch_us((settings.event_date + 1)::TIMESTAMP)
    OR scored.event_date IS NULL
    OR scored.event_time IS NULL
ORDER BY interaction_id;
