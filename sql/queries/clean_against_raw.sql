-- How many interactions has each day, raw and clean? Null: the day has not been cleaned.
WITH raw AS (
    SELECT
        event_date,
        count(*) AS interactions,
        count(DISTINCT user_id) AS users
    FROM interactions
    GROUP BY event_date
),

clean AS (
    SELECT
        event_date,
        count(*) AS interactions,
        count(DISTINCT user_id) AS users
    FROM clean_interactions
    GROUP BY event_date
)

SELECT
    raw.event_date,
    raw.interactions AS raw_interactions,
    clean.interactions AS clean_interactions,
    1 - clean.interactions / raw.interactions AS missing_share,
    raw.users AS raw_users,
    clean.users AS clean_users
FROM raw
LEFT JOIN clean USING (event_date)
ORDER BY raw.event_date;
