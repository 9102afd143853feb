-- One row is one execution of a step, with its counts as columns.
CREATE OR REPLACE VIEW run_history AS
SELECT
    started_at,
    step,
    event_date,
    status,
    duration_s,
    (counts ->> 'rows_read')::BIGINT AS rows_read,
    coalesce(counts ->> 'accepted', counts ->> 'interactions', counts ->> 'scored')::BIGINT
        AS interactions,
    (counts ->> 'duplicates')::BIGINT AS duplicates,
    (counts ->> 'quarantined')::BIGINT AS quarantined,
    (counts ->> 'embedded')::BIGINT AS embedded,
    (counts ->> 'kept')::BIGINT AS kept,
    (counts ->> 'removed')::BIGINT AS removed,
    (counts ->> 'erased')::BIGINT AS erased,
    coalesce(inputs ->> 'interactions', inputs ->> 'interactions_version')::BIGINT
        AS read_interactions_version,
    inputs ->> 'file' AS read_file,
    inputs ->> 'shard' AS shard,
    model_version,
    encoder_id,
    peak_memory_bytes,
    code_version,
    config_digest,
    error,
    run_id
FROM runs;

COMMENT ON VIEW run_history IS 'One row is one execution of a step, with its counts as columns.';
COMMENT ON COLUMN run_history.started_at IS 'when it began (UTC)';
COMMENT ON COLUMN run_history.step IS
'ingest, embed, train, compare, promote, models rollback, score, audit, publish, report, rollback, evaluate, drop, ...';
COMMENT ON COLUMN run_history.event_date IS 'cleaned or as-of date; null for a step without one';
COMMENT ON COLUMN run_history.status IS 'succeeded, unchanged or failed';
COMMENT ON COLUMN run_history.duration_s IS 'seconds';
COMMENT ON COLUMN run_history.rows_read IS 'rows of the source file (ingest)';
COMMENT ON COLUMN run_history.interactions IS
'rows accepted (ingest), trained on (train), scored (score) or published (publish)';
COMMENT ON COLUMN run_history.duplicates IS 'rows that were there already (ingest)';
COMMENT ON COLUMN run_history.quarantined IS 'rows that were rejected (ingest)';
COMMENT ON COLUMN run_history.embedded IS 'texts that were embedded (embed)';
COMMENT ON COLUMN run_history.kept IS 'interactions that were kept (publish, rollback)';
COMMENT ON COLUMN run_history.removed IS
'interactions that were removed (score, publish, rollback)';
COMMENT ON COLUMN run_history.erased IS
'rows of erased users: not taken in (ingest), or interactions that went (erase)';
COMMENT ON COLUMN run_history.read_interactions_version IS 'snapshot of interactions that it read';
COMMENT ON COLUMN run_history.read_file IS 'file that it read (ingest)';
COMMENT ON COLUMN run_history.shard IS 'part of the users, i/n (score)';
COMMENT ON COLUMN run_history.model_version IS 'model that was used or made';
COMMENT ON COLUMN run_history.encoder_id IS 'encoder that was used';
COMMENT ON COLUMN run_history.peak_memory_bytes IS 'peak resident memory of the process';
COMMENT ON COLUMN run_history.code_version IS 'version of this package';
COMMENT ON COLUMN run_history.config_digest IS 'digest of the whole effective configuration';
COMMENT ON COLUMN run_history.error IS 'the one line that ended a failed run';
COMMENT ON COLUMN run_history.run_id IS 'names the work: equal inputs give an equal run_id';
