-- Which removed interactions are the surest? (variables first, last: dates; count: how many, 20)
SELECT event_date, user_id, item_id, title, noise_probability, threshold, explanation
FROM removed_interactions
WHERE
    event_date >= coalesce(getvariable('first')::DATE, '-infinity'::DATE)
    AND event_date <= coalesce(getvariable('last')::DATE, 'infinity'::DATE)
ORDER BY noise_probability DESC, event_date, user_id, item_id, interaction_id
LIMIT coalesce(getvariable('count')::INT, 20);
