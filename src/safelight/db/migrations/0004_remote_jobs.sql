-- Vendors that answer a call with a job of their own: its handle is kept, and it is asked after until it ends.

ALTER TABLE attempts
    ADD COLUMN remote jsonb,
    ADD COLUMN submitted_at timestamptz,
    DROP CONSTRAINT attempts_status_check,
    ADD CONSTRAINT attempts_status_check CHECK (status IN
        ('sent', 'submitted', 'received', 'settled', 'unbilled', 'no_image', 'refused', 'unknown')),
    ADD CONSTRAINT attempts_submitted_has_handle CHECK (status <> 'submitted' OR remote IS NOT NULL);

COMMENT ON COLUMN attempts.remote IS 'how to ask after the vendor''s job: its id and addresses, no key';

DROP INDEX attempts_one_unresolved;
CREATE UNIQUE INDEX attempts_one_unresolved ON attempts (image_row_id) WHERE status IN ('sent', 'submitted');
DROP INDEX attempts_open;
CREATE INDEX attempts_open ON attempts (image_row_id) WHERE status IN ('sent', 'submitted', 'received');
