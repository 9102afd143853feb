-- Which removed interactions from $first to $last have the highest noise probability?
SELECT event_date, user_id, item_id, title, noise_probability, threshold, explanation
FROM removed_interactions
WHERE event_date BETWEEN $first::DATE AND $last::DATE
ORDER BY noise_probability DESC, event_date, user_id, item_id
LIMIT $count::INT;
