-- name: lock_job
-- First in every transaction that changes a job or its images; everything else waits behind it.
SELECT id, status, run_ends_at <= safelight.now() AS run_is_over,
       (SELECT paused_at IS NOT NULL FROM installation) AS is_paused
FROM jobs WHERE id = $1 FOR NO KEY UPDATE;

-- name: append_event
-- The next event of a locked job. seq comes from the job's row, so the log has no gap and no duplicate.
WITH counted AS (UPDATE jobs SET seq = seq + 1 WHERE id = $1 RETURNING id, seq, account)
INSERT INTO events (job_id, seq, account, type, image_id, data, created_at)
SELECT counted.id, counted.seq, counted.account, $2, $3, $4, safelight.now() FROM counted
RETURNING seq;

-- name: start_job
-- moves job: pending -> generating
UPDATE jobs SET status = 'generating', started_at = coalesce(started_at, safelight.now())
WHERE id = $1 AND status = 'pending'
RETURNING id;

-- name: cancel_job
-- moves job: pending, generating -> canceling
UPDATE jobs SET status = 'canceling' WHERE id = $1 AND status IN ('pending', 'generating')
RETURNING id;

-- name: end_job
-- The end of a run whose images have all ended.
-- moves job: pending, generating, canceling -> completed, partial, failed, canceled
UPDATE jobs SET status = $2, completed_at = safelight.now()
WHERE id = $1 AND status IN ('pending', 'generating', 'canceling')
RETURNING id;

-- name: reopen_job
-- The next run: the user's retry ($2 = 1), or a late receipt ($2 = 0).
-- moves job: completed, partial, failed, canceled -> generating
UPDATE jobs AS j
SET status = 'generating', run = run + 1, retry_count = retry_count + $2, completed_at = NULL, deadline_passed = false,
    run_started_at = t.at, deadline_at = t.at + make_interval(secs => deadline_seconds),
    run_ends_at = t.at + make_interval(secs => CASE on_deadline WHEN 'fail' THEN deadline_seconds ELSE $3 END)
FROM (SELECT safelight.now() AS at) AS t
WHERE id = $1 AND status IN ('completed', 'partial', 'failed', 'canceled')
RETURNING j.run;

-- name: count_images
-- How many images of the job stand where.
SELECT status, count(*)::int AS images FROM images WHERE job_id = $1 GROUP BY status;

-- name: has_open_images
SELECT EXISTS (SELECT FROM images WHERE job_id = $1 AND status IN ('queued', 'processing', 'generating', 'uploading'));
