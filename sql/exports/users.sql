-- One row is a user with decided interactions; the place in this order is the user's number.
SELECT
    user_id,
    count(*) AS interactions
FROM scored_interactions
WHERE event_date BETWEEN getvariable('first')::DATE AND getvariable('last')::DATE
GROUP BY user_id
ORDER BY user_id;
