-- name: lock_free
-- Those of some images that nobody has locked; from now on this transaction has.
SELECT row_id FROM images WHERE row_id = ANY($1::bigint[]) FOR NO KEY UPDATE SKIP LOCKED;

-- name: claim
-- Gives each image ($1) to this worker ($4) under a new token, if its queue row ($3) still means anything: the image is
-- queued and was admitted with this generation ($2); or it is live and its owner's heartbeat is stale ($5 = lease in
-- seconds); or this same queue row was brought to another worker. A claim taken from a dead owner counts as a crash.
-- Every condition is asked of the row itself and not of a join with other rows, so that a claim that waited for another
-- one's commit asks again and finds the image taken.
-- moves: queued, processing, generating, uploading -> processing
UPDATE images AS i
SET status = 'processing', claim_token = gen_random_uuid(), queue_row_id = h.queue_row_id, worker_id = $4, admitted_at = NULL,
    crash_count = i.crash_count + (i.status <> 'queued' AND i.worker_id IS NOT NULL AND NOT worker_lives(i.worker_id, $5))::int,
    crash_owner = CASE WHEN i.status <> 'queued' AND NOT worker_lives(i.worker_id, $5) THEN i.worker_id
                       ELSE i.crash_owner END,
    furthest_stage = greatest(i.furthest_stage, 1), changed_at = safelight.now()
FROM unnest($1::bigint[], $2::int[], $3::bigint[]) AS h (row_id, generation, queue_row_id)
WHERE i.row_id = h.row_id
  AND ((i.status = 'queued' AND i.admitted_at IS NOT NULL AND i.generation = h.generation)
       OR (i.status IN ('processing', 'generating', 'uploading')
           AND (NOT worker_lives(i.worker_id, $5) OR (i.queue_row_id = h.queue_row_id AND i.worker_id <> $4))))
RETURNING i.row_id, i.job_id, i.id, i.image_group, i.provider, i.model, i.prompt, i.options, i.fingerprint,
          i.estimate_microusd, i.timeout_seconds, i.max_attempts, i.max_rebuys, i.on_uncertain, i.run, i.failures,
          i.broken_steps, i.lane, i.claim_token, i.worker_id, i.status, i.crash_count, i.furthest_stage,
          i.attempt_count, i.stop, i.on_refusal,
          i.target + 1 < jsonb_array_length(i.targets) AS has_next_provider,
          i.alternate_prompt IS NOT NULL AND i.original_prompt IS NULL AS has_alternate_prompt,
          EXISTS (SELECT FROM image_references AS r WHERE r.child_row_id = i.row_id) AS has_references,
          EXISTS (SELECT FROM image_references AS r WHERE r.parent_row_id = i.row_id) AS is_referenced,
          (SELECT outputs FROM jobs AS j WHERE j.id = i.job_id) AS outputs,
          (SELECT storage_prefix FROM jobs AS j WHERE j.id = i.job_id) AS storage_prefix,
          (SELECT trace_context FROM jobs AS j WHERE j.id = i.job_id) AS trace_context;

-- name: hand_back
-- Back to the backlog, due at $4, because a step broke off; the answer is how many have in a row.
-- moves: processing, generating, uploading -> queued
UPDATE images
SET status = 'queued', claim_token = NULL, worker_id = NULL, queue_row_id = NULL, not_before = $4,
    broken_steps = broken_steps + 1, changed_at = safelight.now()
WHERE row_id = $1 AND status = $2 AND claim_token = $3
  AND status IN ('processing', 'generating', 'uploading')
RETURNING broken_steps;

-- name: owned_by
-- What a worker owns, with the same columns as a claim.
SELECT row_id, job_id, id, image_group, provider, model, prompt, options, fingerprint, estimate_microusd,
       timeout_seconds, max_attempts, max_rebuys, on_uncertain, run, failures, broken_steps, lane, claim_token, worker_id, status,
       crash_count, furthest_stage, attempt_count, stop, on_refusal,
       target + 1 < jsonb_array_length(targets) AS has_next_provider,
       alternate_prompt IS NOT NULL AND original_prompt IS NULL AS has_alternate_prompt,
       EXISTS (SELECT FROM image_references AS r WHERE r.child_row_id = row_id) AS has_references,
       EXISTS (SELECT FROM image_references AS r WHERE r.parent_row_id = row_id) AS is_referenced,
       (SELECT outputs FROM jobs AS j WHERE j.id = job_id) AS outputs,
       (SELECT storage_prefix FROM jobs AS j WHERE j.id = job_id) AS storage_prefix,
       (SELECT trace_context FROM jobs AS j WHERE j.id = job_id) AS trace_context
FROM images WHERE worker_id = $1 AND status IN ('processing', 'generating', 'uploading');

-- name: owner
SELECT worker_id FROM images WHERE row_id = $1;

-- name: refund_crashes
-- A worker that was counted as crashed turned out to live: its leases were lost, but it did not die.
UPDATE images SET crash_count = greatest(crash_count - 1, 0), crash_owner = NULL
WHERE row_id IN (SELECT row_id FROM images
                 WHERE crash_owner = $1 AND status IN ('queued', 'processing', 'generating', 'uploading')
                 ORDER BY job_id, position FOR NO KEY UPDATE);

-- name: release
-- Back to the backlog, due at $4. $5 counts failures in a row; the claim ends, and with a step that came to its end the row of
-- those that broke off. A job at the vendor that was asked to stop
-- meanwhile is not left to run until it was to be asked after next.
-- moves: processing, generating, uploading -> queued
UPDATE images
SET status = 'queued', claim_token = NULL, worker_id = NULL, queue_row_id = NULL, failures = $5, broken_steps = 0,
    not_before = CASE WHEN stop IS NOT NULL
                           AND EXISTS (SELECT FROM attempts AS a WHERE a.image_row_id = images.row_id AND a.status = 'submitted')
                      THEN least($4, safelight.now() + interval '1 s') ELSE $4 END,
    changed_at = safelight.now()
WHERE row_id = $1 AND status = $2 AND claim_token = $3
  AND status IN ('processing', 'generating', 'uploading')
RETURNING row_id;
