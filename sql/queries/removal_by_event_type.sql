-- Which event types, and which source files, hold most noise?
SELECT
    interactions.event_type,
    interactions.source_file,
    count(*) AS interactions,
    count(*) FILTER (scored.decision = 'remove') AS removed,
    count(*) FILTER (scored.decision = 'remove') / count(*) AS removed_share,
    avg(scored.noise_probability) AS mean_noise_probability
FROM interactions
INNER JOIN scored_interactions AS scored USING (event_date, interaction_id)
GROUP BY interactions.event_type, interactions.source_file
ORDER BY removed_share DESC, interactions.event_type, interactions.source_file;
