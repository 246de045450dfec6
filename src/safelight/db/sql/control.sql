-- name: lock_images
-- The images of a locked job, in their order, with what a cancel or a retry needs to know of them.
SELECT i.row_id, i.id, i.status, i.error ->> 'kind' AS error_kind, i.stop, i.queue_row_id, coalesce(i.original_prompt, i.prompt) AS prompt,
       coalesce(i.targets -> 0 ->> 'provider', i.provider) AS provider, coalesce(i.targets -> 0 ->> 'model', i.model) AS model,
       coalesce(i.targets -> 0 -> 'options', i.options) AS options, i.style, i.run, i.retry_count,
       i.position, i.targets, i.timeout_seconds, i.estimate_microusd,
       i.status = 'queued' AND EXISTS (SELECT FROM attempts AS a WHERE a.image_row_id = i.row_id
                                          AND a.status IN ('sent', 'submitted'))
           AS has_open_attempt
FROM images AS i WHERE i.job_id = $1 ORDER BY i.position FOR NO KEY UPDATE;

-- name: ask_to_stop
-- Asks the owner of an image, or the next one, to end it once its open call has answered ($2: cancel, abort, deadline).
-- A job at the vendor is to be stopped now, and not when it was to be asked after next.
UPDATE images
SET stop = $2, not_before = CASE status WHEN 'queued' THEN least(not_before, safelight.now()) ELSE not_before END
WHERE row_id = $1 AND status IN ('queued', 'processing', 'generating', 'uploading') AND stop IS DISTINCT FROM 'abort'
RETURNING row_id;

-- name: retry_image
-- The user's retry: a new run of the image, from the first provider of its chain, with its job's own priority, at once or
-- when the images that it references have their pictures; what it bought so far is kept.
-- moves: failed, refused, canceled, uncertain -> queued
UPDATE images
SET status = 'queued', run = run + 1, retry_count = retry_count + 1, failures = 0, broken_steps = 0, furthest_stage = 0, crash_count = 0,
    crash_owner = NULL, stop = NULL, error = NULL, failure_stage = NULL, prompt = $2, fingerprint = $3,
    original_prompt = NULL, target = 0, provider = coalesce(targets -> 0 ->> 'provider', provider),
    model = coalesce(targets -> 0 ->> 'model', model), options = coalesce(targets -> 0 -> 'options', options),
    timeout_seconds = coalesce((targets -> 0 ->> 'timeout_seconds')::float8, timeout_seconds),
    estimate_microusd = CASE WHEN targets IS NULL THEN estimate_microusd
                             ELSE (targets -> 0 ->> 'estimate_microusd')::bigint END,
    priority = (SELECT j.priority FROM jobs AS j WHERE j.id = images.job_id),
    awaits_parents = EXISTS (SELECT FROM image_references AS r JOIN images AS p ON p.row_id = r.parent_row_id
                             WHERE r.child_row_id = images.row_id AND p.status <> 'completed'),
    quote = NULL, reserved_microusd = NULL, reserved_on = NULL,
    not_before = safelight.now(), completed_at = NULL, changed_at = safelight.now()
WHERE row_id = $1 AND status IN ('failed', 'refused', 'canceled', 'uncertain')
RETURNING row_id;

-- name: lock_attempts
-- What ask_again may be about, before the first hold is given back: whoever books a late answer has its call first and the
-- account after it.
SELECT FROM attempts WHERE image_row_id = ANY($1::bigint[]) AND status = 'unknown' AND remote IS NOT NULL
ORDER BY id FOR NO KEY UPDATE;

-- name: ask_again
-- A job at the vendor whose outcome was given up may have brought the picture that is wanted now: it is asked after again.
-- Not one of which the vendor has said that no other try will help: it would say so again, and end the image every time.
UPDATE attempts SET status = 'submitted', error_kind = NULL, error_code = NULL, cost_basis = NULL
WHERE id = (SELECT id FROM attempts WHERE image_row_id = $1 AND status = 'unknown' AND remote IS NOT NULL AND fingerprint = $2
              AND error_kind IS DISTINCT FROM 'PERMANENT' AND error_kind IS DISTINCT FROM 'AUTH_ERROR'
            ORDER BY number DESC LIMIT 1)
  AND NOT EXISTS (SELECT FROM attempts WHERE image_row_id = $1 AND status IN ('sent', 'submitted'))
RETURNING id;

-- name: job_exists
-- Whether there is a job of one account ($2), or of any (NULL).
SELECT 1 FROM jobs WHERE id = $1 AND ($2::text IS NULL OR account = $2);

-- name: has_no_prompts
-- Whether a locked job has lost its prompts, alone or with everything else.
SELECT prompts_removed_at IS NOT NULL FROM jobs WHERE id = $1;
