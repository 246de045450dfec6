-- name: lock_sweep
-- One sweep at a time in the whole installation; a second one has nothing to add. A process that is stopped in the middle
-- of one keeps the others from it for $1 milliseconds only: then the server closes its session.
SELECT CASE WHEN pg_try_advisory_lock(hashtext('safelight.sweep'))
            THEN set_config('idle_session_timeout', $1::bigint::text, false) IS NOT NULL
            ELSE false END;

-- name: unlock_sweep
SELECT pg_advisory_unlock(hashtext('safelight.sweep')), set_config('idle_session_timeout', '0', false);

-- name: orphans
-- Live images whose owner's heartbeat is stale ($1 = lease in seconds), with the queue row that should bring them back.
-- `is_long_dead`: nobody who serves that row has come for two leases, so it brings nobody.
SELECT i.row_id, i.job_id, i.status, i.claim_token, i.queue_row_id,
       NOT worker_lives(i.worker_id, 2 * $1) AND i.changed_at <= safelight.now() - make_interval(secs => 2 * $1)
           AS is_long_dead
FROM images AS i
WHERE i.status IN ('processing', 'generating', 'uploading')
  AND NOT worker_lives(i.worker_id, $1);

-- name: requeue_orphan
-- The queue row is gone too, so nobody will claim the image by itself. Counts as a crash, as a claim would.
-- moves: processing, generating, uploading -> queued
UPDATE images
SET status = 'queued', claim_token = NULL, worker_id = NULL, queue_row_id = NULL, not_before = safelight.now(),
    crash_count = crash_count + (worker_id IS NOT NULL)::int, crash_owner = coalesce(worker_id, crash_owner),
    changed_at = safelight.now()
WHERE row_id = $1 AND status = $2 AND claim_token = $3 AND status IN ('processing', 'generating', 'uploading')
RETURNING row_id;

-- name: admitted
-- Images that were handed to dispatch and not claimed within $1 seconds; `is_stale` after $2, when nobody serves them.
SELECT row_id, generation, queue_row_id, admitted_at <= safelight.now() - make_interval(secs => $2) AS is_stale
FROM images
WHERE status = 'queued' AND admitted_at <= safelight.now() - make_interval(secs => $1);

-- name: unadmit
-- The queue row of an admitted image is gone: admission may hand it over again.
UPDATE images SET admitted_at = NULL, queue_row_id = NULL
WHERE row_id = $1 AND generation = $2 AND status = 'queued' AND admitted_at IS NOT NULL
RETURNING row_id;

-- name: book_unknown
-- Calls that can no longer answer, and jobs at the vendor that nobody asks after any more: their outcome is booked as lost.
-- The vendor's address of one goes with the job that was removed.
--
-- A job is wanted again by a retry of its image, which holds that meanwhile: what is held is left to the next sweep.
WITH lost AS MATERIALIZED (
    SELECT a.id FROM attempts AS a WHERE a.status = 'sent' AND a.resolve_at <= safelight.now()
    ORDER BY a.id FOR NO KEY UPDATE
), left_behind AS MATERIALIZED (
    SELECT a.id FROM attempts AS a JOIN images AS i ON i.row_id = a.image_row_id
    WHERE a.status = 'submitted' AND i.status IN ('completed', 'failed', 'refused', 'canceled', 'uncertain')
    ORDER BY a.id FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE attempts AS a
SET status = 'unknown', error_kind = 'UNKNOWN', error_code = 'NO_ANSWER', cost_basis = 'unknown',
    remote = CASE WHEN EXISTS (SELECT FROM images AS i JOIN jobs AS j ON j.id = i.job_id
                               WHERE i.row_id = a.image_row_id AND j.removed_at IS NOT NULL)
                  THEN NULL ELSE remote END
WHERE a.id IN (SELECT id FROM lost UNION ALL SELECT id FROM left_behind) AND a.status IN ('sent', 'submitted')
RETURNING a.id;

-- name: attempts_of_receipts
-- What is known of the attempts that staged bytes belong to; `in_hand`: the owner lives ($2 = lease in seconds) and is
-- about to say so itself, of a job at the vendor whoever asks after it by now; `is_needed`: the image may still be made
-- from these bytes, and its job was not removed.
SELECT a.id, a.status, a.image_row_id, i.status <> 'completed' AND j.removed_at IS NULL AS is_needed,
       (i.claim_token = a.claim_token OR a.status = 'submitted') AND worker_lives(i.worker_id, $2) AS in_hand
FROM attempts AS a JOIN images AS i ON i.row_id = a.image_row_id JOIN jobs AS j ON j.id = i.job_id
WHERE a.id = ANY($1::text[]);

-- name: late_receipts
-- Images that ended without a picture although a paid one is staged: not by the caller's wish nor by the run's end (then
-- it waits for the user's retry), and not because of that very picture.
SELECT i.row_id, i.job_id FROM images AS i
WHERE i.status IN ('uncertain', 'failed')
  AND EXISTS (SELECT FROM attempts AS a
              WHERE a.image_row_id = i.row_id AND a.status = 'received' AND a.fingerprint = i.fingerprint)
  AND coalesce(i.error ->> 'kind', '') NOT IN ('DEADLINE', 'CRASHED', 'STORAGE', 'INVALID_OUTPUT')
  AND coalesce(i.error ->> 'code', '') <> 'INTERNAL'
  AND NOT EXISTS (SELECT FROM jobs AS j WHERE j.id = i.job_id AND j.removed_at IS NOT NULL);

-- name: note_hint_of_adopted
-- Which queue row brings an image that was opened again for its late picture.
UPDATE images SET queue_row_id = $3 WHERE row_id = $1 AND generation = $2 AND status = 'uploading' AND worker_id IS NULL;

-- name: stopped_in_queue
-- Queued images that were asked to stop and wait for no open call.
SELECT i.row_id, i.job_id, i.stop FROM images AS i
WHERE i.status = 'queued' AND i.stop IS NOT NULL
  AND NOT EXISTS (SELECT FROM attempts AS a WHERE a.image_row_id = i.row_id AND a.status IN ('sent', 'submitted'));

-- name: jobs_past_deadline
SELECT id AS job_id FROM jobs
WHERE status IN ('pending', 'generating', 'canceling') AND NOT deadline_passed AND deadline_at <= safelight.now();

-- name: pass_deadline
UPDATE jobs SET deadline_passed = true
WHERE id = $1 AND NOT deadline_passed AND status IN ('pending', 'generating', 'canceling')
  AND deadline_at <= safelight.now()
RETURNING on_deadline;

-- name: drop_behind
-- What is left of a job whose deadline has passed waits behind everything else, in the same order as before.
UPDATE images SET priority = 3
WHERE row_id IN (SELECT row_id FROM images
                 WHERE job_id = $1 AND status IN ('queued', 'processing', 'generating', 'uploading')
                 ORDER BY position FOR NO KEY UPDATE);

-- name: jobs_past_end
-- Jobs whose run is over, with images that nobody has asked to stop yet.
SELECT j.id AS job_id FROM jobs AS j
WHERE j.status IN ('pending', 'generating', 'canceling') AND j.run_ends_at <= safelight.now()
  AND EXISTS (SELECT FROM images AS i WHERE i.job_id = j.id AND i.stop IS NULL
              AND i.status IN ('queued', 'processing', 'generating', 'uploading'));

-- name: unsettled_jobs
-- Open jobs whose images have all ended.
SELECT j.id AS job_id FROM jobs AS j
WHERE j.status IN ('pending', 'generating', 'canceling')
  AND NOT EXISTS (SELECT FROM images AS i WHERE i.job_id = j.id
                  AND i.status IN ('queued', 'processing', 'generating', 'uploading'));

-- name: forget_workers
-- Workers that have been silent for $1 seconds and own nothing.
DELETE FROM workers AS w
WHERE w.heartbeat_at <= safelight.now() - make_interval(secs => $1)
  AND NOT EXISTS (SELECT FROM images AS i WHERE i.worker_id = w.id
                  AND (i.status IN ('processing', 'generating', 'uploading')
                       OR (i.status = 'queued' AND i.admitted_at IS NOT NULL)));
