-- Which of a user's own items are nearest to each removed one, by text? (user_id; count: 3)
-- Plain cosines; `iadsr explain` takes the catalogue's mean off before, and tells behaviour, too.
WITH removed AS (
    SELECT
        scored.interaction_id,
        scored.event_date,
        scored.encoder_id,
        scored.item_id,
        items.title,
        item_embeddings.vector
    FROM scored_interactions AS scored
    INNER JOIN items USING (item_id)
    INNER JOIN item_embeddings USING (encoder_id, text_hash)
    WHERE scored.user_id = getvariable('user_id') AND scored.decision = 'remove'
),

own AS (
    SELECT
        interactions.event_date,
        items.item_id,
        items.title,
        item_embeddings.encoder_id,
        item_embeddings.vector
    FROM interactions
    INNER JOIN items USING (item_id)
    INNER JOIN item_embeddings USING (text_hash)
    WHERE interactions.user_id = getvariable('user_id')
)

SELECT
    removed.event_date,
    removed.item_id,
    removed.title,
    own.item_id AS near_item_id,
    own.title AS near_title,
    max(list_cosine_similarity(removed.vector, own.vector)) AS cosine
FROM removed
INNER JOIN own
    ON
        own.encoder_id = removed.encoder_id
        AND own.item_id <> removed.item_id
        AND own.event_date <= removed.event_date
GROUP BY removed.interaction_id, removed.event_date, removed.item_id, removed.title, own.item_id,
    own.title
QUALIFY
    row_number() OVER (PARTITION BY removed.interaction_id ORDER BY cosine DESC, own.item_id)
    <= coalesce(getvariable('count')::INT, 3)
ORDER BY removed.event_date, removed.item_id, cosine DESC, near_item_id;
