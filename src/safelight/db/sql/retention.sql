-- name: forget_events
-- Events of jobs that ended, whose newest one is older than $1 and for which no message waits: from the front of each log,
-- $2 of them at most. A job that is in use just now is left for later. Its row keeps `seq`, and a log that is cut off
-- whole is noted there.
WITH job AS MATERIALIZED (
    SELECT j.id, j.completed_at, j.seq FROM jobs AS j
    WHERE j.completed_at < safelight.now() - $1::interval AND (j.log_cut_at IS NULL OR j.log_cut_at < j.completed_at)
      AND j.status IN ('completed', 'partial', 'failed', 'canceled')
      AND NOT EXISTS (SELECT FROM events AS e
                      WHERE e.job_id = j.id AND e.seq = j.seq AND e.created_at >= safelight.now() - $1::interval)
      AND NOT EXISTS (SELECT FROM deliveries AS d WHERE d.job_id = j.id AND d.status = 'pending')
    ORDER BY j.completed_at, j.id LIMIT 100
    FOR NO KEY UPDATE SKIP LOCKED
), doomed AS MATERIALIZED (
    SELECT job.id AS job_id, e.seq, e.seq = job.seq AS is_last
    FROM job CROSS JOIN LATERAL (SELECT seq FROM events WHERE events.job_id = job.id ORDER BY seq LIMIT $2) AS e
    ORDER BY job.completed_at, job.id, e.seq LIMIT $2
), forgotten AS (
    DELETE FROM events AS e USING doomed WHERE e.job_id = doomed.job_id AND e.seq = doomed.seq
    RETURNING 1
), noted AS (
    UPDATE jobs SET log_cut_at = safelight.now()
    WHERE id IN (SELECT job_id FROM doomed WHERE is_last)
      AND status IN ('completed', 'partial', 'failed', 'canceled')
)
SELECT count(*) FROM forgotten;

-- name: take_turn_at_walking
-- The store is walked by one process at a time, $1 seconds after the last time at the earliest.
UPDATE installation SET blobs_walked_at = safelight.now()
WHERE blobs_walked_at IS NULL OR blobs_walked_at <= safelight.now() - make_interval(secs => $1)
RETURNING true;

-- name: unnamed_blobs
-- Those of the keys $1, made for the images $2 and put at $3, that no rendition names. `job_id` is NULL when such an image
-- is unknown here, younger than its blob, or one that would be stored under another key: then the blob is of another time
-- of this database, or of another one, where another image has that number. Of a job that was removed, the caller's own
-- prefix is not known any more.
SELECT k.key, k.row_id, i.job_id
FROM unnest($1::text[], $2::bigint[], $3::timestamptz[]) AS k (key, row_id, put_at)
LEFT JOIN (images AS i JOIN jobs AS j ON j.id = i.job_id
           CROSS JOIN LATERAL concat_ws('/', nullif(i.image_group, ''), i.id || '.') AS named)
  ON i.row_id = k.row_id AND i.created_at <= k.put_at
 AND (starts_with(k.key, coalesce(j.storage_prefix, j.id) || '/' || named)
      OR (j.removed_at IS NOT NULL AND strpos(k.key, '/' || named) > 0
          AND k.key !~ '(^|/)job_[0-9A-HJKMNP-TV-Z]{26}/'))
WHERE NOT EXISTS (SELECT FROM renditions AS r WHERE r.key = k.key);

-- name: is_orphan
-- Whether nothing names the blob $2 of image $1 and, since its job is locked, nothing can begin to: it has ended, and
-- nobody stores anything for it.
SELECT EXISTS (SELECT FROM images AS i
               WHERE i.row_id = $1 AND i.status IN ('completed', 'failed', 'refused', 'canceled', 'uncertain'))
   AND NOT EXISTS (SELECT FROM renditions AS r WHERE r.key = $2);
