-- name: lock_admission
-- One admission at a time in the whole installation; held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtext('safelight.admission'));

-- name: admit
-- Picks the images that can start now, in order, and marks them admitted: never more than a provider's free
-- concurrency ($1, $2) and the free slots of live workers ($3 = lease in seconds), and only of providers that a live
-- worker serves. A call that may still answer counts against its provider, whoever made it. An image with such a call or
-- with staged bytes goes to the finish lane. The shape keeps the planner from walking the whole backlog when its
-- statistics are old: candidates come by index and limit, and are then found again by their row ids.
WITH live AS (
    SELECT providers, slots, finish_slots FROM workers
    WHERE NOT draining AND heartbeat_at > safelight.now() - make_interval(secs => $3)
), held AS MATERIALIZED (
    SELECT row_id, provider, lane FROM images
    WHERE status IN ('processing', 'generating', 'uploading') OR admitted_at IS NOT NULL
), provider AS MATERIALIZED (
    SELECT p.name,
           p.cap - (SELECT count(*) FROM held WHERE held.provider = p.name AND held.lane = 'buy')
                 - (SELECT count(*) FROM attempts AS a
                    WHERE a.status = 'sent' AND a.provider = p.name
                      AND NOT EXISTS (SELECT FROM held WHERE held.row_id = a.image_row_id AND held.lane = 'buy')) AS free
    FROM unnest($1::text[], $2::int[]) AS p (name, cap)
    WHERE EXISTS (SELECT FROM live WHERE p.name = ANY(live.providers))
      AND NOT (SELECT paused_at IS NOT NULL FROM installation)
), buy AS MATERIALIZED (
    SELECT c.row_id FROM provider
    CROSS JOIN LATERAL (
        SELECT i.row_id, i.not_before, i.job_id, i.position FROM images AS i
        WHERE i.provider = provider.name AND i.status = 'queued' AND i.admitted_at IS NULL AND i.stop IS NULL
          AND i.not_before <= safelight.now()
          AND NOT EXISTS (SELECT FROM attempts AS a WHERE a.image_row_id = i.row_id
                          AND (a.status = 'sent' OR (a.status = 'received' AND a.fingerprint = i.fingerprint)))
        ORDER BY i.not_before, i.job_id, i.position
        LIMIT least(greatest(provider.free, 0),
                    greatest((SELECT coalesce(sum(slots), 0) FROM live)
                             - (SELECT count(*) FROM held WHERE lane = 'buy'), 0))
        FOR UPDATE SKIP LOCKED
    ) AS c
    ORDER BY c.not_before, c.job_id, c.position
    LIMIT greatest((SELECT coalesce(sum(slots), 0) FROM live) - (SELECT count(*) FROM held WHERE lane = 'buy'), 0)
), bought AS MATERIALIZED (
    SELECT image_row_id, array_agg(fingerprint) FILTER (WHERE status = 'received') AS received, bool_or(status = 'sent') AS is_open
    FROM attempts WHERE status IN ('sent', 'received') GROUP BY image_row_id
), finish AS MATERIALIZED (
    SELECT i.row_id FROM bought
    CROSS JOIN LATERAL (SELECT * FROM images WHERE images.row_id = bought.image_row_id OFFSET 0) AS i
    WHERE i.status = 'queued' AND i.admitted_at IS NULL AND i.not_before <= safelight.now()
      AND (bought.is_open OR i.fingerprint = ANY(bought.received))
    ORDER BY i.not_before, i.job_id, i.position
    LIMIT greatest((SELECT coalesce(sum(finish_slots), 0) FROM live)
                   - (SELECT count(*) FROM held WHERE lane = 'finish'), 0)
), finish_locked AS MATERIALIZED (
    SELECT i.row_id FROM images AS i WHERE i.row_id = ANY(ARRAY(SELECT row_id FROM finish)) FOR UPDATE SKIP LOCKED
)
UPDATE images AS i
SET generation = generation + 1, admitted_at = safelight.now(), queue_row_id = NULL,
    lane = CASE WHEN i.row_id = ANY(ARRAY(SELECT row_id FROM finish_locked)) THEN 'finish' ELSE 'buy' END
WHERE i.row_id = ANY(ARRAY(SELECT row_id FROM buy UNION ALL SELECT row_id FROM finish_locked))
  AND (i.status || '' = 'queued') AND coalesce(i.admitted_at, '-infinity') = '-infinity'
RETURNING i.row_id, i.generation, i.lane, i.provider, i.not_before, i.job_id, i.position;

-- name: note_queue_rows
-- Remembers which queue row carries which admitted image.
UPDATE images AS i SET queue_row_id = q.queue_row_id
FROM unnest($1::bigint[], $2::int[], $3::bigint[]) AS q (row_id, generation, queue_row_id)
WHERE i.row_id = q.row_id AND i.generation = q.generation AND i.status = 'queued';
