-- One row is a decision with its title and its reason in words.
CREATE OR REPLACE VIEW explained_interactions AS
WITH scored AS (
    SELECT
        *,
        CASE stratum
            WHEN 'new' THEN 'items that were new to the model'
            WHEN 'no text' THEN 'items without text'
            ELSE concat('items with ', stratum, ' interactions')
        END AS such_items
    FROM scored_interactions
)
SELECT
    scored.event_date,
    scored.event_time,
    scored.user_id,
    scored.item_id,
    items.title,
    scored.decision,
    scored.reason,
    CASE
        WHEN scored.noise_probability IS NULL OR scored.threshold IS NULL
            THEN concat('Kept: ', reasons.words, '.')
        WHEN scored.decision = 'remove'
            THEN format(
                'Removed: {}; noise probability {:.3f} is at or above {:.3f}, the threshold for '
                || '{}.',
                reasons.words, scored.noise_probability, scored.threshold, scored.such_items
            )
        ELSE format(
            'Kept: {}; noise probability {:.3f} against the threshold {:.3f} for {}.',
            reasons.words, scored.noise_probability, scored.threshold, scored.such_items
        )
    END AS explanation,
    scored.noise_probability,
    scored.threshold,
    scored.stratum,
    scored.history_length,
    scored.model_version,
    scored.run_id
FROM scored
LEFT JOIN reasons USING (reason)
LEFT JOIN items USING (item_id);

COMMENT ON VIEW explained_interactions IS
'One row is a decision with its title and its reason in words.';
