-- name: complete_image
-- Each image ($1, of the claim $2) is completed for ever, and the attempt ($3) whose bytes it is made of is settled.
-- moves: uploading -> completed
WITH completed AS (
    UPDATE images AS i
    SET status = 'completed', claim_token = NULL, worker_id = NULL, queue_row_id = NULL, stop = NULL, error = NULL,
        failure_stage = NULL, failures = 0, completed_at = safelight.now(), changed_at = safelight.now()
    FROM unnest($1::bigint[], $2::uuid[], $3::text[]) AS a (row_id, token, attempt_id)
    WHERE i.row_id = a.row_id AND i.status = 'uploading' AND i.claim_token = a.token
    RETURNING i.row_id, a.token, a.attempt_id
), settled AS (
    UPDATE attempts AS t SET status = 'settled' FROM completed AS c
    WHERE t.id = c.attempt_id AND t.status = 'received' AND t.image_row_id = c.row_id
)
SELECT token FROM completed;

-- name: is_settled
SELECT status = 'settled' FROM attempts WHERE id = $1;

-- name: insert_renditions
-- The stored outputs of images that are being completed in this transaction.
INSERT INTO renditions (image_row_id, name, key, format, mime, width_px, height_px, length, sha256, is_internal)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::int[], $8::bigint[],
                     $9::text[], $10::bool[]);

-- name: end_image
-- An owned image ends without a picture; $4 is how, $5 where, $6 why.
-- moves: processing, generating, uploading -> failed, canceled
-- moves: processing, generating -> refused, uncertain
UPDATE images
SET status = $4, claim_token = NULL, worker_id = NULL, queue_row_id = NULL, stop = NULL, failure_stage = $5, error = $6,
    completed_at = safelight.now(), changed_at = safelight.now()
WHERE row_id = $1 AND status = $2 AND claim_token = $3
  AND (status IN ('processing', 'generating')
       OR (status = 'uploading' AND $4 IN ('failed', 'canceled')))
RETURNING row_id;

-- name: end_queued_image
-- An image that nobody owns ends without a picture: canceled, past the end of its run, or without a picture that it was
-- to be made from. A queue row that it was admitted with finds nothing to claim.
-- moves: queued -> failed, canceled
UPDATE images
SET status = $2, stop = NULL, admitted_at = NULL, queue_row_id = NULL, awaits_parents = false,
    failure_stage = 'processing', error = $3,
    completed_at = safelight.now(), changed_at = safelight.now()
WHERE row_id = $1 AND status = 'queued' AND $2 IN ('failed', 'canceled')
RETURNING row_id, id;

-- name: adopt_receipt
-- A paid picture came after the image had ended without one: the image opens again, owned by nobody, so that the next
-- claim finishes it. It takes its job's own priority, whose next run begins.
-- moves: uncertain, failed -> uploading
UPDATE images
SET status = 'uploading', claim_token = gen_random_uuid(), worker_id = NULL, queue_row_id = NULL, lane = 'finish',
    generation = generation + 1, completed_at = NULL, crash_count = 0, changed_at = safelight.now(),
    priority = (SELECT j.priority FROM jobs AS j WHERE j.id = images.job_id)
WHERE row_id = $1 AND status IN ('uncertain', 'failed')
  AND EXISTS (SELECT FROM attempts AS a
              WHERE a.image_row_id = $1 AND a.status = 'received' AND a.fingerprint = images.fingerprint)
  AND NOT EXISTS (SELECT FROM jobs AS j WHERE j.id = images.job_id AND j.removed_at IS NOT NULL)
RETURNING row_id, id, generation;

-- name: hasten
-- A picture has come for an image that waits: it need not wait any longer.
UPDATE images SET not_before = safelight.now()
WHERE row_id = $1 AND status = 'queued' AND not_before > safelight.now()
RETURNING row_id;
