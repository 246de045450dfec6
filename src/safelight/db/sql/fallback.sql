-- name: next_target
-- Back to the backlog, at the next provider in the image's chain, due at once.
-- moves: processing, generating, uploading -> queued
UPDATE images
SET status = 'queued', claim_token = NULL, worker_id = NULL, queue_row_id = NULL, not_before = safelight.now(), failures = 0,
    target = target + 1, provider = targets -> (target + 1) ->> 'provider', model = targets -> (target + 1) ->> 'model',
    options = targets -> (target + 1) -> 'options',
    timeout_seconds = (targets -> (target + 1) ->> 'timeout_seconds')::float8,
    estimate_microusd = (targets -> (target + 1) ->> 'estimate_microusd')::bigint, changed_at = safelight.now()
WHERE row_id = $1 AND status = $2 AND claim_token = $3 AND status IN ('processing', 'generating', 'uploading')
  AND target + 1 < jsonb_array_length(targets)
RETURNING provider, model;

-- name: alternate_prompt
-- Back to the backlog with the prompt that was given for a refusal, due at once.
-- moves: processing, generating, uploading -> queued
UPDATE images
SET status = 'queued', claim_token = NULL, worker_id = NULL, queue_row_id = NULL, not_before = safelight.now(), failures = 0,
    original_prompt = prompt, prompt = alternate_prompt, changed_at = safelight.now()
WHERE row_id = $1 AND status = $2 AND claim_token = $3 AND status IN ('processing', 'generating', 'uploading')
  AND alternate_prompt IS NOT NULL AND original_prompt IS NULL
RETURNING provider, model;

-- name: waiting_at_shut_gates
-- Waiting images with another provider to go to, whose present one is paused, or limited for more than $1 seconds. Those
-- that a call was made for stay until it is known how it ended, and those that could not begin yet until they can. A picture
-- that was made for another prompt keeps nobody.
SELECT i.row_id FROM images AS i JOIN jobs AS j ON j.id = i.job_id
WHERE i.status = 'queued' AND i.admitted_at IS NULL AND i.stop IS NULL AND i.target + 1 < jsonb_array_length(i.targets)
  AND NOT i.awaits_parents AND (j.run_started_at <= safelight.now() OR i.not_before <= safelight.now())
  AND EXISTS (SELECT FROM gates AS g
              WHERE g.provider = i.provider AND g.model IN ('', i.model)
                AND (g.shut_at IS NOT NULL OR g.limited_until > safelight.now() + make_interval(secs => $1)))
  AND NOT EXISTS (SELECT FROM attempts AS a
                  WHERE a.image_row_id = i.row_id
                    AND (a.status IN ('sent', 'submitted')
                         OR (a.status = 'received' AND a.fingerprint = i.fingerprint)))
ORDER BY i.job_id, i.position;

-- name: leave_shut_gates
-- Those of the images that still wait go on to their next provider.
UPDATE images
SET target = target + 1, provider = targets -> (target + 1) ->> 'provider', model = targets -> (target + 1) ->> 'model',
    options = targets -> (target + 1) -> 'options',
    timeout_seconds = (targets -> (target + 1) ->> 'timeout_seconds')::float8,
    estimate_microusd = (targets -> (target + 1) ->> 'estimate_microusd')::bigint, failures = 0,
    not_before = least(not_before, safelight.now())
WHERE row_id IN (SELECT row_id FROM images WHERE row_id = ANY($1::bigint[]) AND status = 'queued' AND admitted_at IS NULL
                 ORDER BY job_id, position FOR UPDATE)
  AND target + 1 < jsonb_array_length(targets)
RETURNING row_id;
