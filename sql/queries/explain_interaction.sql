-- Why was each interaction of a user kept or removed? (user_id; item_id, event_date; count: nearest, 3)
-- Plain cosines of texts; `iadsr explain` compares as the model does, and tells behaviour, too.
WITH asked AS (
    SELECT *
    FROM scored_interactions
    WHERE
        user_id = getvariable('user_id')
        AND item_id = coalesce(getvariable('item_id'), item_id)
        AND event_date = coalesce(getvariable('event_date')::DATE, event_date)
),

measured AS (
    UNPIVOT (SELECT interaction_id, strongest_signals, COLUMNS('^signal_') FROM asked)
    ON COLUMNS('^signal_')
    INTO NAME signal VALUE measurement
),

against AS (
    SELECT
        measured.interaction_id,
        string_agg(
            format('{} ({} {:.3f})', signals.compared_with, signals.signal[8:], measurement), '; '
            ORDER BY list_position(string_split(strongest_signals, ', '), measured.signal)
        ) AS disagrees_most_with
    FROM measured
    INNER JOIN signals USING (signal)
    WHERE list_contains(string_split(strongest_signals, ', '), measured.signal)
    GROUP BY measured.interaction_id
),

own AS (
    SELECT
        interactions.event_date,
        interactions.item_id,
        any_value(items.title) AS title,
        any_value(items.text_hash) AS text_hash
    FROM interactions
    INNER JOIN items ON items.item_id = interactions.item_id
    WHERE interactions.user_id = getvariable('user_id')
    GROUP BY interactions.event_date, interactions.item_id
),

near AS (
    SELECT
        asked.interaction_id,
        own.item_id,
        any_value(own.title) AS title,
        round(any_value(list_cosine_similarity(here.vector, there.vector)), 3) AS cosine
    FROM asked
    INNER JOIN items USING (item_id)
    INNER JOIN item_embeddings AS here
        ON here.encoder_id = asked.encoder_id AND here.text_hash = items.text_hash
    INNER JOIN own ON own.item_id <> asked.item_id AND own.event_date <= asked.event_date
    INNER JOIN item_embeddings AS there
        ON there.encoder_id = asked.encoder_id AND there.text_hash = own.text_hash
    GROUP BY asked.interaction_id, own.item_id
    QUALIFY
        row_number() OVER (PARTITION BY asked.interaction_id ORDER BY cosine DESC, own.item_id)
        <= coalesce(getvariable('count')::INT, 3)
),

nearest AS (
    SELECT
        interaction_id,
        string_agg(format('{} "{}" ({:.3f})', item_id, title, cosine), ', ' ORDER BY cosine DESC)
            AS nearest_by_text
    FROM near
    GROUP BY interaction_id
)

SELECT
    asked.event_date,
    asked.event_time,
    asked.item_id,
    explained.title,
    asked.decision,
    explained.explanation,
    against.disagrees_most_with,
    nearest.nearest_by_text,
    CASE WHEN asked.decision = 'remove' THEN asked.noise_probability - asked.threshold END
        AS kept_if_lower_by,
    asked.history_length,
    asked.model_version,
    asked.interaction_id
FROM asked
INNER JOIN explained_interactions AS explained USING (event_date, user_id, interaction_id)
LEFT JOIN against USING (interaction_id)
LEFT JOIN nearest USING (interaction_id)
ORDER BY asked.event_time, asked.item_id, asked.interaction_id;
