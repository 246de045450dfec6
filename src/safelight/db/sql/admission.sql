-- name: lock_admission
-- One admission at a time in the whole installation; held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtext('safelight.admission'));

-- name: admit
-- Picks the images that can start now, in order, and marks them admitted: never more than a provider's free
-- concurrency ($1, $2) and the free slots of live workers ($3 = lease in seconds). A call that may still answer counts
-- against its provider, whoever made it. An image with such a call or with staged bytes goes to the finish lane.
WITH live AS (
    SELECT coalesce(sum(slots), 0) AS slots, coalesce(sum(finish_slots), 0) AS finish_slots
    FROM workers WHERE NOT draining AND heartbeat_at > safelight.now() - make_interval(secs => $3)
), held AS (
    SELECT row_id, provider, lane FROM images
    WHERE status IN ('processing', 'generating', 'uploading') OR admitted_at IS NOT NULL
), provider AS (
    SELECT p.name,
           p.cap - (SELECT count(*) FROM held WHERE held.provider = p.name AND held.lane = 'buy')
                 - (SELECT count(*) FROM attempts AS a
                    WHERE a.status = 'sent' AND a.provider = p.name
                      AND NOT EXISTS (SELECT FROM held WHERE held.row_id = a.image_row_id AND held.lane = 'buy')) AS free
    FROM unnest($1::text[], $2::int[]) AS p (name, cap)
), buy AS (
    SELECT c.row_id FROM provider
    CROSS JOIN LATERAL (
        SELECT i.row_id, i.not_before, i.job_id, i.position FROM images AS i
        WHERE i.provider = provider.name AND i.status = 'queued' AND i.admitted_at IS NULL AND i.stop IS NULL
          AND i.not_before <= safelight.now()
          AND NOT EXISTS (SELECT FROM attempts AS a WHERE a.image_row_id = i.row_id
                          AND (a.status = 'sent' OR (a.status = 'received' AND a.fingerprint = i.fingerprint)))
        ORDER BY i.not_before, i.job_id, i.position
        LIMIT greatest(provider.free, 0)
        FOR UPDATE SKIP LOCKED
    ) AS c
    ORDER BY c.not_before, c.job_id, c.position
    LIMIT greatest((SELECT slots FROM live) - (SELECT count(*) FROM held WHERE lane = 'buy'), 0)
), finish AS (
    SELECT i.row_id FROM images AS i
    WHERE i.status = 'queued' AND i.admitted_at IS NULL AND i.not_before <= safelight.now()
      AND i.row_id IN (SELECT a.image_row_id FROM attempts AS a WHERE a.status IN ('sent', 'received'))
      AND EXISTS (SELECT FROM attempts AS a WHERE a.image_row_id = i.row_id
                  AND (a.status = 'sent' OR (a.status = 'received' AND a.fingerprint = i.fingerprint)))
    ORDER BY i.not_before, i.job_id, i.position
    LIMIT greatest((SELECT finish_slots FROM live) - (SELECT count(*) FROM held WHERE lane = 'finish'), 0)
    FOR UPDATE SKIP LOCKED
)
UPDATE images AS i
SET generation = generation + 1, admitted_at = safelight.now(), queue_row_id = NULL,
    lane = CASE WHEN i.row_id IN (SELECT row_id FROM finish) THEN 'finish' ELSE 'buy' END
WHERE i.row_id IN (SELECT row_id FROM buy UNION ALL SELECT row_id FROM finish)
  AND i.status = 'queued' AND i.admitted_at IS NULL
RETURNING i.row_id, i.generation, i.lane, i.provider, i.not_before, i.job_id, i.position;

-- name: note_queue_rows
-- Remembers which queue row carries which admitted image.
UPDATE images AS i SET queue_row_id = q.queue_row_id
FROM unnest($1::bigint[], $2::int[], $3::bigint[]) AS q (row_id, generation, queue_row_id)
WHERE i.row_id = q.row_id AND i.generation = q.generation AND i.status = 'queued';
