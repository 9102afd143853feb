-- One row is an item with decided interactions; the place in this order is the item's number.
WITH decided AS (
    SELECT DISTINCT item_id
    FROM scored_interactions
    WHERE event_date BETWEEN getvariable('first')::DATE AND getvariable('last')::DATE
)

SELECT
    decided.item_id,
    items.title
FROM decided
LEFT JOIN items USING (item_id)
ORDER BY decided.item_id;
