-- One row is a removed interaction, with its title and why it was removed.
CREATE OR REPLACE VIEW removed_interactions AS
SELECT
    event_date,
    event_time,
    user_id,
    item_id,
    title,
    reason,
    reason_in_words,
    explanation,
    noise_probability,
    threshold,
    stratum,
    history_length,
    nullif(split_part(strongest_signals, ', ', 1), '') AS strongest_signal,
    nullif(split_part(strongest_signals, ', ', 2), '') AS second_signal,
    nullif(split_part(strongest_signals, ', ', 3), '') AS third_signal,
    model_version,
    run_id,
    interaction_id
FROM explained_interactions
WHERE decision = 'remove';

COMMENT ON VIEW removed_interactions IS
'One row is a removed interaction, with its title and why it was removed.';
COMMENT ON COLUMN removed_interactions.event_date IS 'UTC date of event_time';
COMMENT ON COLUMN removed_interactions.event_time IS 'when it happened (UTC)';
COMMENT ON COLUMN removed_interactions.user_id IS 'as given in the source';
COMMENT ON COLUMN removed_interactions.item_id IS 'as given in the source';
COMMENT ON COLUMN removed_interactions.title IS 'latest title; null where the catalogue has none';
COMMENT ON COLUMN removed_interactions.reason IS 'reason code, named by what weighed most';
COMMENT ON COLUMN removed_interactions.reason_in_words IS 'the reason as half a sentence';
COMMENT ON COLUMN removed_interactions.explanation IS
'decision, reason, probability and threshold as one sentence';
COMMENT ON COLUMN removed_interactions.noise_probability IS 'calibrated; at or above threshold';
COMMENT ON COLUMN removed_interactions.threshold IS 'the stratum''s';
COMMENT ON COLUMN removed_interactions.stratum IS
'popularity of the item when the model was trained; or what is not known of it';
COMMENT ON COLUMN removed_interactions.history_length IS
'interactions of the user read for the decision';
COMMENT ON COLUMN removed_interactions.strongest_signal IS
'signal that raised the probability most; its words are in the view signals';
COMMENT ON COLUMN removed_interactions.second_signal IS 'the next; null where no other raised it';
COMMENT ON COLUMN removed_interactions.third_signal IS 'the next; null where no other raised it';
COMMENT ON COLUMN removed_interactions.model_version IS 'model that scored it';
COMMENT ON COLUMN removed_interactions.run_id IS 'run that scored it';
COMMENT ON COLUMN removed_interactions.interaction_id IS
'stable hash of user, item, time and type: the key of scored_interactions';
