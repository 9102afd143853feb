-- Where does the newest evaluation on this log lie (`iadsr evaluate`), and up to when did it read?
SELECT
    outputs ->> 'folder' AS folder,
    event_date AS as_of
FROM runs
WHERE step = 'evaluate' AND status IN ('succeeded', 'unchanged')
ORDER BY ended_at DESC
LIMIT 1;
