-- name: fence_image
-- The image as its owner holds it, locked; no row when the lease is lost.
SELECT row_id, stop FROM images WHERE row_id = $1 AND status = $2 AND claim_token = $3 FOR NO KEY UPDATE;

-- name: attempts_of
-- Every attempt of an image so far, oldest first.
SELECT id, run, provider, model, status, fingerprint, unbilled_by_policy, error_kind, resolve_at,
       coalesce(cost_microusd > 0, cost_basis = 'unknown', false) AS is_charged
FROM attempts WHERE image_row_id = $1 ORDER BY number;

-- name: cost_of_attempt
SELECT cost_microusd, cost_basis, price_ref FROM attempts WHERE id = $1;

-- name: billed_so_far
-- Whether this run of an image has cost anything: yes, perhaps (NULL), or no.
SELECT CASE WHEN coalesce(bool_or(a.cost_microusd > 0 OR a.status IN ('received', 'settled', 'no_image')), false) THEN true
            WHEN coalesce(bool_or(a.status IN ('sent', 'submitted', 'unknown')), false) THEN NULL
            ELSE false END
FROM attempts AS a JOIN images AS i ON i.row_id = a.image_row_id
WHERE i.row_id = $1 AND a.run = i.run;

-- name: provider_has_worked
-- Whether any call to this provider has ever brought a picture: then its key was good once.
SELECT EXISTS (SELECT FROM attempts WHERE provider = $1 AND status IN ('received', 'settled'));

-- name: now
SELECT safelight.now();

-- name: open_attempt
-- Intent before money: each image ($2, of the claim $3) is generating, and the row ($1) of the call that is about to be made
-- for it is there, with the moment after which it cannot answer ($4 = seconds from now that the call may take, $5 = grace).
-- No row comes back of an image whose lease is lost, that was asked to stop, or whose gate is shut; what it had set aside of
-- a budget is the call's now; `is_watched`: some gate of the provider takes note of answers.
-- moves: processing -> generating
WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::float8[]) AS a (id, row_id, token, seconds)
), moved AS (
    UPDATE images AS i
    SET status = 'generating', attempt_count = attempt_count + 1, started_at = coalesce(started_at, safelight.now()),
        crash_count = CASE WHEN furthest_stage < 2 THEN 0 ELSE crash_count END,
        reserved_microusd = CASE WHEN reserved_microusd IS NOT NULL THEN 0 END,
        furthest_stage = greatest(furthest_stage, 2), changed_at = safelight.now()
    FROM asked AS a
    WHERE i.row_id = a.row_id AND i.status = 'processing' AND i.claim_token = a.token AND i.stop IS NULL
      AND NOT gate_is_shut(i.provider, i.model, i.row_id)
    RETURNING i.*, a.id AS attempt_id, a.seconds
)
INSERT INTO attempts (id, image_row_id, number, run, provider, model, fingerprint, claim_token, worker_id,
                      sent_at, deadline_at, resolve_at, estimate_microusd, is_budgeted, budget_day)
SELECT m.attempt_id, m.row_id, m.attempt_count, m.run, m.provider, m.model, m.fingerprint, m.claim_token, m.worker_id,
       m.changed_at, m.changed_at + make_interval(secs => m.seconds), m.changed_at + make_interval(secs => m.seconds + $5),
       m.estimate_microusd, m.reserved_microusd IS NOT NULL, m.reserved_on
FROM moved AS m
RETURNING id, number, EXISTS (SELECT FROM gates AS g WHERE g.provider = attempts.provider) AS is_watched;

-- name: keep_handle
-- The vendor has taken the call as a job of its own: how to ask after it. Like a receipt it needs no lease.
UPDATE attempts
SET status = 'submitted', remote = $2, submitted_at = safelight.now(), cost_basis = NULL, error_kind = NULL, error_code = NULL
WHERE id = $1 AND status IN ('sent', 'unknown')
RETURNING id;

-- name: note_handle
-- The same for a call whose image is at another one by now: it stays unknown, and can be asked after by a retry.
UPDATE attempts SET remote = $2, submitted_at = safelight.now() WHERE id = $1;

-- name: handle_of
SELECT remote, provider, model, fingerprint FROM attempts WHERE id = $1 AND status = 'submitted';

-- name: is_served
-- Whether a worker lives that knows a provider ($2 = lease in seconds).
SELECT EXISTS (SELECT FROM workers AS w WHERE $1 = ANY(w.providers) AND NOT w.draining AND worker_lives(w.id, $2));

-- name: standing
-- Whether an image is still in these hands, and whether it was asked to stop.
SELECT stop FROM images WHERE row_id = $1 AND status = $2 AND claim_token = $3;

-- name: is_open
-- Whether an attempt whose commit was not confirmed is there, with its image still in the same hands.
SELECT true FROM attempts AS a JOIN images AS i ON i.row_id = a.image_row_id
WHERE a.id = $1 AND a.status = 'sent' AND i.status = 'generating' AND i.claim_token = $2;

-- name: start_uploading
-- The state ($2) of an image is processing when the bytes of an earlier attempt were found, generating when they have just
-- come. One that was asked to stop does not move.
-- moves: processing, generating -> uploading
UPDATE images AS i
SET status = 'uploading', failures = 0,
    broken_steps = CASE WHEN furthest_stage < 3 THEN 0 ELSE broken_steps END,
    crash_count = CASE WHEN furthest_stage < 3 THEN 0 ELSE crash_count END, furthest_stage = greatest(furthest_stage, 3),
    changed_at = safelight.now()
FROM unnest($1::bigint[], $2::text[], $3::uuid[]) AS a (row_id, status, token)
WHERE i.row_id = a.row_id AND i.status = a.status AND i.claim_token = a.token
  AND i.status IN ('processing', 'generating') AND i.stop IS NULL
RETURNING i.claim_token;

-- name: receive
-- The receipts of attempts, unique per attempt: whoever inserts one first, from the answer or from a staged sidecar.
-- It needs no lease: a worker that lost its own still saves what was paid for.
UPDATE attempts AS t
SET status = 'received', ended_at = coalesce(t.ended_at, safelight.now()), sha256 = r.sha256, length = r.length,
    cost_microusd = r.cost_microusd, cost_basis = r.cost_basis, price_ref = r.price_ref, usage = r.usage,
    request_id = r.request_id, error_kind = NULL, error_code = NULL
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::jsonb[], $8::text[])
    AS r (id, sha256, length, cost_microusd, cost_basis, price_ref, usage, request_id)
WHERE t.id = r.id AND t.status IN ('sent', 'submitted', 'unknown')
RETURNING t.image_row_id;

-- name: close_attempt
-- What became of a call that brought no picture. An attempt with a receipt is left alone unless $10 says that its
-- staged bytes turned out to be no image.
UPDATE attempts
SET status = $2, ended_at = coalesce(ended_at, safelight.now()), cost_microusd = $3, cost_basis = $4, price_ref = $5,
    usage = $6, error_kind = $7, error_code = $8, http_status = $9, unbilled_by_policy = $11, request_id = $12
WHERE id = $1 AND (status IN ('sent', 'submitted', 'unknown') OR ($10 AND status = 'received'))
RETURNING id;

-- name: book_unknown_of
-- Attempts of one image that can no longer answer: their outcome is lost and booked as such.
UPDATE attempts SET status = 'unknown', error_kind = 'UNKNOWN', error_code = 'NO_ANSWER', cost_basis = 'unknown'
WHERE image_row_id = $1 AND status = 'sent' AND resolve_at <= safelight.now()
RETURNING id;
