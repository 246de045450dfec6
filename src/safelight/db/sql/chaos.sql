-- What a soak asks of the database from beside, while everything around it dies.

-- name: held_by_process
-- The images that the worker with this process id ($1) owns, each under its claim.
SELECT i.row_id, i.claim_token FROM images AS i
WHERE i.worker_id = (SELECT w.id FROM workers AS w WHERE w.pid = $1 ORDER BY w.started_at DESC LIMIT 1)
  AND i.status IN ('processing', 'generating', 'uploading');

-- name: claims
-- Under which claim these images are now; none once they wait or have ended. `brought_to` is who dispatch has brought
-- their queue row to, and `dropped_by` the same where that was since the image last moved, and a second ago: too long
-- for whoever is alive.
SELECT i.row_id, i.claim_token, q.queue_manager_id AS brought_to,
       CASE WHEN q.updated > i.changed_at AND q.updated < now() - interval '1 second' THEN q.queue_manager_id END
           AS dropped_by
FROM images AS i LEFT JOIN pgqueuer AS q ON q.id = i.queue_row_id AND q.status = 'picked'
WHERE i.row_id = ANY($1::bigint[]);

-- name: open_images
SELECT count(*) FROM images WHERE status IN ('queued', 'processing', 'generating', 'uploading');

-- name: unfinished
-- How many of each are still under way.
SELECT (SELECT count(*) FROM jobs WHERE status IN ('pending', 'generating', 'canceling')) AS jobs,
       (SELECT count(*) FROM images WHERE status IN ('queued', 'processing', 'generating', 'uploading')) AS images,
       (SELECT count(*) FROM attempts WHERE status IN ('sent', 'submitted')) AS calls,
       (SELECT count(*) FROM deliveries WHERE status = 'pending') AS messages,
       (SELECT count(*) FROM pgqueuer) AS "queue rows";

-- name: given_up
SELECT count(*) AS "messages given up" FROM deliveries WHERE status = 'dead';

-- name: completed
-- What can be fetched.
SELECT i.job_id, i.id FROM images AS i JOIN jobs AS j ON j.id = i.job_id
WHERE i.status = 'completed' AND j.removed_at IS NULL ORDER BY i.row_id;
