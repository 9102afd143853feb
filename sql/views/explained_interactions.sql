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
    reasons.words AS reason_in_words,
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
    scored.strongest_signals,
    scored.model_version,
    scored.run_id,
    scored.interaction_id
FROM scored
LEFT JOIN reasons USING (reason)
LEFT JOIN items USING (item_id);

COMMENT ON VIEW explained_interactions IS
'One row is a decision with its title and its reason in words.';
COMMENT ON COLUMN explained_interactions.event_date IS 'UTC date of event_time';
COMMENT ON COLUMN explained_interactions.event_time IS 'when it happened (UTC)';
COMMENT ON COLUMN explained_interactions.user_id IS 'as given in the source';
COMMENT ON COLUMN explained_interactions.item_id IS 'as given in the source';
COMMENT ON COLUMN explained_interactions.title IS 'latest title; null where the catalogue has none';
COMMENT ON COLUMN explained_interactions.decision IS 'keep or remove';
COMMENT ON COLUMN explained_interactions.reason IS 'reason code of the decision';
COMMENT ON COLUMN explained_interactions.reason_in_words IS 'the reason as half a sentence';
COMMENT ON COLUMN explained_interactions.explanation IS
'decision, reason, probability and threshold as one sentence';
COMMENT ON COLUMN explained_interactions.noise_probability IS 'calibrated; null where not judged';
COMMENT ON COLUMN explained_interactions.threshold IS
'the stratum''s; removed at or above it; null where the stratum has none';
COMMENT ON COLUMN explained_interactions.stratum IS
'popularity of the item when the model was trained; or what is not known of it';
COMMENT ON COLUMN explained_interactions.history_length IS
'interactions of the user read for the decision';
COMMENT ON COLUMN explained_interactions.strongest_signals IS
'up to three signals that raised the probability most, separated by a comma; null where kept';
COMMENT ON COLUMN explained_interactions.model_version IS 'model that scored it';
COMMENT ON COLUMN explained_interactions.run_id IS 'run that scored it';
COMMENT ON COLUMN explained_interactions.interaction_id IS
'stable hash of user, item, time and type';
