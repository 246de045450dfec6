-- The order of work: how urgent a job is, when it may begin, and which images wait for the pictures of others.

ALTER TABLE jobs
    ADD COLUMN priority smallint NOT NULL DEFAULT 1 CHECK (priority BETWEEN 0 AND 2),
    ADD COLUMN not_before timestamptz;

COMMENT ON COLUMN jobs.priority IS '0 high, 1 normal, 2 low';
COMMENT ON COLUMN jobs.not_before IS 'as ordered; a run that waited for it counts from it (run_started_at)';

ALTER TABLE images
    ADD COLUMN priority smallint NOT NULL DEFAULT 1 CHECK (priority BETWEEN 0 AND 3),
    ADD COLUMN awaits_parents boolean NOT NULL DEFAULT false,
    ADD CHECK (NOT awaits_parents OR (status = 'queued' AND admitted_at IS NULL));

COMMENT ON COLUMN images.priority IS 'the job''s; 3, behind everything, once its run''s deadline has passed and it goes on';
COMMENT ON COLUMN images.awaits_parents IS 'an image that it references has no picture yet: in no backlog, and never admitted';

CREATE TABLE image_references (
    child_row_id  bigint NOT NULL REFERENCES images ON DELETE CASCADE,
    position      smallint NOT NULL,
    parent_row_id bigint NOT NULL REFERENCES images ON DELETE CASCADE,
    role          text,
    PRIMARY KEY (child_row_id, position),
    UNIQUE (child_row_id, parent_row_id),
    CHECK (child_row_id <> parent_row_id)
);
CREATE INDEX image_references_by_parent ON image_references (parent_row_id);

COMMENT ON TABLE image_references IS 'which pictures of its own job an image is made from, in the order in which its vendor sees them';

-- The original of a referenced image lies beside its outputs, and is shown nowhere.
ALTER TABLE renditions ADD COLUMN is_internal boolean NOT NULL DEFAULT false;

DROP INDEX images_backlog;
CREATE INDEX images_backlog ON images (provider, model, priority, not_before, job_id, position)
    WHERE status = 'queued' AND admitted_at IS NULL AND NOT awaits_parents;
CREATE INDEX images_awaiting ON images (job_id) WHERE awaits_parents;
