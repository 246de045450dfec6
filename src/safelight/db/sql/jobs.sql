-- name: lock_job
-- First in every transaction that changes a job or its images; everything else waits behind it.
SELECT id, status, run_ends_at <= safelight.now() AS run_is_over,
       (SELECT paused_at IS NOT NULL FROM installation) AS is_paused,
       max_cost_microusd IS NOT NULL
           OR (SELECT a.daily_budget_microusd IS NOT NULL FROM accounts AS a WHERE a.id = jobs.account) IS TRUE AS is_budgeted
FROM jobs WHERE id = $1 FOR NO KEY UPDATE;

-- name: append_events
-- The next events of a locked job, in order: types, the images that they are about, and data. seq comes from the job's row,
-- so the log has no gap and no duplicate; the answer is the last one, and whether somebody wants to hear of them by webhook.
WITH told AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::jsonb[]) WITH ORDINALITY AS t (type, image_id, data, nth)
), counted AS (
    UPDATE jobs SET seq = seq + cardinality($2::text[]) WHERE id = $1
    RETURNING id, seq, seq - cardinality($2::text[]) AS seq_before, account
), logged AS (
    INSERT INTO events (job_id, seq, account, type, image_id, data, created_at)
    SELECT c.id, c.seq_before + t.nth, c.account, t.type, t.image_id, t.data, safelight.now()
    FROM counted AS c, told AS t ORDER BY t.nth
)
SELECT seq, EXISTS (SELECT FROM webhook_endpoints AS e
                    WHERE e.account = counted.account AND e.job_id IS NULL AND e.disabled_at IS NULL AND e.deleted_at IS NULL)
            OR EXISTS (SELECT FROM webhook_endpoints AS e
                       WHERE e.job_id = counted.id AND e.disabled_at IS NULL AND e.deleted_at IS NULL) AS is_listened_to,
       account
FROM counted;

-- name: post_events
-- Whoever wants to hear of a job's last events ($2 = types, in order; the first has seq $3 + 1) by webhook has a message for
-- each, from the moment that the event is there, in the lane of the endpoint and the job; and where an image has ended, a wish
-- for a job.progress. A lane that rests after a failure is not hastened. $4 is the job's account: its row is not looked for, by
-- a plan that was made when there were few.
WITH told AS (
    SELECT * FROM unnest($2::text[]) WITH ORDINALITY AS t (type, nth)
), listening AS (
    SELECT e.id, e.account, e.site, e.events
    FROM webhook_endpoints AS e
    WHERE e.account = $4 AND e.job_id IS NULL AND e.disabled_at IS NULL AND e.deleted_at IS NULL
    UNION ALL
    SELECT e.id, e.account, e.site, e.events FROM webhook_endpoints AS e
    WHERE e.job_id = $1 AND e.disabled_at IS NULL AND e.deleted_at IS NULL
), addressed AS (
    SELECT l.id, l.account, l.site, t.nth, t.type, (l.events IS NULL OR t.type = ANY (l.events)) AS wants_event,
           (t.type IN ('image.completed', 'image.failed', 'image.refused', 'image.canceled', 'image.uncertain')
            AND (l.events IS NULL OR 'job.progress' = ANY (l.events))) AS wants_progress
    FROM listening AS l, told AS t
), posted AS (
    INSERT INTO deliveries (account, endpoint_id, lane, type, job_id, seq, created_at, wanted_at, due_at)
    SELECT a.account, a.id, $1, a.type, $1, $3 + a.nth, safelight.now(), safelight.now(), safelight.now()
    FROM addressed AS a WHERE a.wants_event ORDER BY a.nth, a.id
), wishes AS (
    SELECT id, site, bool_or(wants_event) AS wants_event, bool_or(wants_progress) AS wants_progress
    FROM addressed GROUP BY id, site
)
INSERT INTO webhook_lanes AS l (endpoint_id, lane, site, next_at, progress_due_at)
SELECT a.id, $1, a.site, CASE WHEN a.wants_event THEN safelight.now() ELSE soon.at END,
       CASE WHEN a.wants_progress THEN soon.at END
FROM wishes AS a LEFT JOIN webhook_lanes AS w ON w.endpoint_id = a.id AND w.lane = $1,
     LATERAL (SELECT greatest(safelight.now(), w.progress_again_at) AS at) AS soon
WHERE a.wants_event OR a.wants_progress
ORDER BY a.id
ON CONFLICT (endpoint_id, lane) DO UPDATE
SET revision = l.revision + 1, site = EXCLUDED.site,
    progress_due_at = coalesce(l.progress_due_at, EXCLUDED.progress_due_at),
    next_at = CASE WHEN l.claim_token IS NULL AND l.failing_since IS NULL THEN least(l.next_at, EXCLUDED.next_at)
                   ELSE coalesce(l.next_at, EXCLUDED.next_at) END;

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

-- name: unfinished
-- `awaiting` when an image of the job awaits the picture of another, `open` when any has not ended, else NULL.
SELECT CASE WHEN EXISTS (SELECT FROM images WHERE job_id = $1 AND awaits_parents) THEN 'awaiting'
            WHEN EXISTS (SELECT FROM images WHERE job_id = $1 AND status IN ('queued', 'processing', 'generating', 'uploading'))
                THEN 'open' END;
