-- How pictures are served, and how they go: links that last, erasure, retention.

ALTER TABLE jobs
    ADD COLUMN link_key bytea CHECK (octet_length(link_key) = 32),
    ADD COLUMN removed_at timestamptz,
    ADD COLUMN cleared_at timestamptz,
    ADD COLUMN prompts_removed_at timestamptz,
    ADD CHECK (removed_at IS NULL OR (prompts_removed_at IS NOT NULL
                                      AND status IN ('completed', 'partial', 'failed', 'canceled'))),
    ADD CHECK (cleared_at IS NULL OR removed_at IS NOT NULL);

COMMENT ON COLUMN jobs.link_key IS 'what the lasting links to its pictures are derived from; NULL: it has none (visibility private)';
COMMENT ON COLUMN jobs.removed_at IS 'since then nothing of it is served; its texts went in the same transaction';
COMMENT ON COLUMN jobs.cleared_at IS 'its stored pictures are deleted, every one; NULL after removed_at: somebody still has to';
COMMENT ON COLUMN jobs.prompts_removed_at IS 'its prompts are gone, with or without the rest; it cannot be retried';

CREATE INDEX jobs_to_clear ON jobs (removed_at) WHERE removed_at IS NOT NULL AND cleared_at IS NULL;
-- What retention has yet to remove, oldest first.
CREATE INDEX jobs_kept ON jobs (completed_at) WHERE completed_at IS NOT NULL AND removed_at IS NULL;
CREATE INDEX jobs_with_prompts ON jobs (completed_at) WHERE completed_at IS NOT NULL AND prompts_removed_at IS NULL;
