-- One row is a run whose decisions are exported: with which model, and how many rows it kept.
SELECT
    run_id,
    model_version,
    encoder_id,
    config_digest,
    count(*) AS interactions,
    count(*) FILTER (WHERE decision = 'keep') AS kept
FROM scored_interactions
WHERE event_date BETWEEN getvariable('first')::DATE AND getvariable('last')::DATE
GROUP BY run_id, model_version, encoder_id, config_digest
ORDER BY ALL;
