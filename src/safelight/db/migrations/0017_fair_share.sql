-- Fair share: places are shared between accounts by weight, and no account has more of its images made at once than it may.

ALTER TABLE images ADD COLUMN account text NOT NULL DEFAULT 'default';
UPDATE images AS i SET account = j.account FROM jobs AS j WHERE j.id = i.job_id AND j.account <> 'default';
COMMENT ON COLUMN images.account IS 'the job''s, here so that admission finds by index who waits';

DROP INDEX images_backlog;
CREATE INDEX images_backlog ON images (provider, model, account, priority, not_before, job_id, position)
    WHERE status = 'queued' AND admitted_at IS NULL AND NOT awaits_parents;

-- How much of what waits is whose. In words that no other statement uses: with old statistics the planner would take the
-- whole of it for little, and find single images by it.
CREATE INDEX images_queued ON images (account) WHERE lower(status) = 'queued';

CREATE TABLE turns (
    provider text NOT NULL,
    account  text NOT NULL,
    at       double precision NOT NULL,
    PRIMARY KEY (provider, account)
) WITH (fillfactor = 50);
COMMENT ON TABLE turns IS 'clocks of accounts: each image that is begun moves its account''s on by one over its weight';
COMMENT ON COLUMN turns.provider IS 'empty: the slots of all workers together';
COMMENT ON COLUMN turns.account IS 'empty: how far the clock of the last that was served had been when it was';

ALTER TABLE accounts ADD COLUMN max_queued int CHECK (max_queued >= 0);
COMMENT ON COLUMN accounts.max_queued IS 'its images that may wait; NULL: no limit of its own';
