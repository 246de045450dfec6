-- name: lock_images
-- The images of a locked job, in their order, with what a cancel or a retry needs to know of them.
SELECT i.row_id, i.id, i.status, i.stop, i.queue_row_id, i.prompt, i.provider, i.model, i.options, i.run, i.retry_count,
       i.status = 'queued' AND EXISTS (SELECT FROM attempts AS a WHERE a.image_row_id = i.row_id AND a.status = 'sent')
           AS has_open_attempt
FROM images AS i WHERE i.job_id = $1 ORDER BY i.position FOR NO KEY UPDATE;

-- name: ask_to_stop
-- Asks the owner of an image, or the next one, to end it once its open call has answered ($2: cancel, abort, deadline).
UPDATE images SET stop = $2
WHERE row_id = $1 AND status IN ('queued', 'processing', 'generating', 'uploading') AND stop IS DISTINCT FROM 'abort'
RETURNING row_id;

-- name: retry_image
-- The user's retry: a new run of the image, what it bought so far kept.
-- moves: failed, refused, canceled, uncertain -> queued
UPDATE images
SET status = 'queued', run = run + 1, retry_count = retry_count + 1, failures = 0, broken_steps = 0, furthest_stage = 0, crash_count = 0,
    crash_owner = NULL, stop = NULL, error = NULL, failure_stage = NULL, prompt = $2, fingerprint = $3,
    not_before = safelight.now(), completed_at = NULL, changed_at = safelight.now()
WHERE row_id = $1 AND status IN ('failed', 'refused', 'canceled', 'uncertain')
RETURNING row_id;

-- name: job_exists
SELECT 1 FROM jobs WHERE id = $1 AND account = $2;
