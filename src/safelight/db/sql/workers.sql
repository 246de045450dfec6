-- name: register_worker
INSERT INTO workers (id, host, pid, providers, slots, finish_slots, started_at, heartbeat_at)
VALUES ($1, $2, $3, $4, $5, $6, safelight.now(), safelight.now());

-- name: beat
-- This worker lives; `was_stale` says that others may have taken its images meanwhile ($2 = lease in seconds). A row
-- that housekeeping removed is put back by registering again.
UPDATE workers AS w SET heartbeat_at = safelight.now()
FROM (SELECT heartbeat_at <= safelight.now() - make_interval(secs => $2) AS was_stale FROM workers WHERE id = $1) AS old
WHERE w.id = $1
RETURNING old.was_stale;

-- name: drain_worker
-- No new work is admitted on behalf of this worker.
UPDATE workers SET draining = true WHERE id = $1;

-- name: remove_worker
DELETE FROM workers WHERE id = $1;

-- name: images_to_stop
-- Images of this worker whose caller wants the open call closed.
SELECT row_id FROM images WHERE worker_id = $1 AND stop = 'abort' AND status IN ('processing', 'generating', 'uploading');

-- name: claim_store
-- The first worker's store becomes the installation's; the answer is the installation's store, whoever was first.
UPDATE installation SET store_marker = coalesce(store_marker, $1) RETURNING store_marker;
