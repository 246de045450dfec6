-- Every event of an account in one order that skips none, however many transactions append at once.
--
-- `xact` is the transaction that wrote the row. Transactions end in another order than they begin, so a reader goes no
-- further than the oldest that is still open (pg_snapshot_xmin): below it nothing can appear any more.

ALTER TABLE events ADD COLUMN account text, ADD COLUMN xact xid8 NOT NULL DEFAULT pg_current_xact_id();
UPDATE events SET account = jobs.account FROM jobs WHERE jobs.id = events.job_id;
ALTER TABLE events ALTER COLUMN account SET NOT NULL;
CREATE INDEX events_in_order ON events (xact, job_id, seq);
CREATE INDEX events_of_account ON events (account, xact, job_id, seq);

ALTER TABLE notices ADD COLUMN account text, ADD COLUMN xact xid8 NOT NULL DEFAULT pg_current_xact_id();
COMMENT ON COLUMN notices.account IS 'whom it concerns; NULL: everybody';

ALTER TABLE installation ADD COLUMN feed_epoch integer NOT NULL DEFAULT 1;
COMMENT ON COLUMN installation.feed_epoch IS
    'raised when the rows come from another server (a restored dump), whose transactions were counted differently';
