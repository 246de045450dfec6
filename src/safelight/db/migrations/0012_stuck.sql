-- What stands still is told of once, and what is old is forgotten.

ALTER TABLE images ADD COLUMN stuck_since timestamptz;
COMMENT ON COLUMN images.stuck_since IS
    'image.stuck was told of the standstill that began then; a standstill that began at another time has not been told';

-- Jobs that ended and still have their log, so that those long without one are not looked at again. A later run, with an
-- end of its own, brings a job back.
ALTER TABLE jobs ADD COLUMN log_cut_at timestamptz;
COMMENT ON COLUMN jobs.log_cut_at IS 'when the last of its events was forgotten; events since begin above it, seq goes on';
CREATE INDEX jobs_with_log ON jobs (completed_at)
    WHERE completed_at IS NOT NULL AND (log_cut_at IS NULL OR log_cut_at < completed_at);

ALTER TABLE installation ADD COLUMN blobs_walked_at timestamptz;
COMMENT ON COLUMN installation.blobs_walked_at IS 'when the store was last walked in search of blobs that nothing names';
