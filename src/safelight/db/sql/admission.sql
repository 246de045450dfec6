-- name: lock_admission
-- One admission at a time in the whole installation; held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtext('safelight.admission'));

-- name: admit
-- Picks the images that can start now, in order (priority, then time due, job, importance within it), and marks them
-- admitted: never more than a provider's free concurrency ($1, $2), what is left of its requests per minute ($3, NULL
-- for no limit) and the free slots of live workers ($4 = lease in seconds), and only of providers that a live worker
-- serves. A call that may still answer counts against its provider, whoever made it. An image with such a call or with
-- staged bytes goes to the finish lane, and one that awaits the picture of another nowhere.
--
-- Nothing is bought behind a shut gate, but for one image as its probe when that is due; the probe has its own timeout
-- and $5 seconds of grace for its answer. A gate of a whole account that is shut gets one probe over all of its models.
--
-- The shape keeps the planner from walking the whole backlog when its statistics are old: what is waited for is found by
-- stepping over the index, by provider and model, and each of the four priorities is looked into for itself: one whose
-- images are not due yet costs no more than an empty one. Candidates come by index and limit, and are then found again by
-- their row ids.
WITH RECURSIVE live AS (
    SELECT providers, slots, finish_slots FROM workers
    WHERE NOT draining AND heartbeat_at > safelight.now() - make_interval(secs => $4)
), held AS MATERIALIZED (
    SELECT row_id, provider, lane, status FROM images
    WHERE status IN ('processing', 'generating', 'uploading') OR (status = 'queued' AND admitted_at IS NOT NULL)
), room AS MATERIALIZED (
    SELECT greatest(coalesce(sum(slots), 0) - (SELECT count(*) FROM held WHERE lane = 'buy'), 0) AS to_buy,
           greatest(coalesce(sum(finish_slots), 0) - (SELECT count(*) FROM held WHERE lane = 'finish'), 0) AS to_finish
    FROM live
), provider AS MATERIALIZED (
    SELECT p.name,
           least(p.cap - (SELECT count(*) FROM held WHERE held.provider = p.name AND held.lane = 'buy')
                       - (SELECT count(*) FROM attempts AS a
                          WHERE a.status IN ('sent', 'submitted') AND a.provider = p.name
                            AND NOT EXISTS (SELECT FROM held
                                            WHERE held.row_id = a.image_row_id AND held.provider = p.name
                                              AND held.lane = 'buy')),
                 p.per_minute - (SELECT count(*) FROM held
                                 WHERE held.provider = p.name AND held.lane = 'buy'
                                   AND held.status IN ('queued', 'processing'))
                              - CASE WHEN p.per_minute IS NOT NULL
                                     THEN (SELECT count(*) FROM attempts AS a
                                           WHERE a.provider = p.name AND a.sent_at > safelight.now() - interval '60 s')
                                END) AS free
    FROM unnest($1::text[], $2::int[], $3::int[]) AS p (name, cap, per_minute)
    WHERE EXISTS (SELECT FROM live WHERE p.name = ANY(live.providers))
      AND NOT (SELECT paused_at IS NOT NULL FROM installation)
), waiting AS (
    SELECT p.name AS provider, first.model FROM provider AS p
    CROSS JOIN LATERAL (
        SELECT i.model FROM images AS i
        WHERE i.provider = p.name AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
        ORDER BY i.provider, i.model LIMIT 1
    ) AS first
    WHERE p.free > 0 AND (SELECT to_buy FROM room) > 0
    UNION ALL
    SELECT w.provider, next.model FROM waiting AS w
    CROSS JOIN LATERAL (
        SELECT i.model FROM images AS i
        WHERE i.provider = w.provider AND i.model > w.model
          AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
        ORDER BY i.provider, i.model LIMIT 1
    ) AS next
), target AS MATERIALIZED (
    SELECT w.provider, w.model,
           CASE WHEN gate.is_shut THEN 1 ELSE p.free END AS most,
           CASE WHEN gate.is_account_shut THEN 1 ELSE p.free END AS most_of_provider
    FROM waiting AS w JOIN provider AS p ON p.name = w.provider
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(g.shut_at IS NOT NULL), false) AS is_shut,
               coalesce(bool_or(g.shut_at IS NOT NULL AND g.model = ''), false) AS is_account_shut,
               coalesce(bool_or(g.limited_until > safelight.now()
                                OR (g.shut_at IS NOT NULL AND (g.probe_at > safelight.now() OR probe_is_out(g)))),
                        false) AS lets_nothing_pass
        FROM gates AS g WHERE g.provider = w.provider AND g.model IN ('', w.model)
    ) AS gate
    WHERE NOT gate.lets_nothing_pass
), candidate AS MATERIALIZED (
    SELECT t.provider, t.model, t.most, t.most_of_provider, c.* FROM target AS t
    CROSS JOIN (VALUES (0::smallint), (1::smallint), (2::smallint), (3::smallint)) AS level (priority)
    CROSS JOIN LATERAL (
        SELECT i.row_id, i.timeout_seconds, i.priority, i.not_before, i.job_id, i.position FROM images AS i
        WHERE i.provider = t.provider AND i.model = t.model AND i.priority = level.priority
          AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
          AND i.stop IS NULL AND i.not_before <= safelight.now()
          AND NOT EXISTS (SELECT FROM attempts AS a WHERE a.image_row_id = i.row_id
                          AND (a.status IN ('sent', 'submitted')
                               OR (a.status = 'received' AND a.fingerprint = i.fingerprint)))
        ORDER BY i.not_before, i.job_id, i.position
        LIMIT least(t.most, (SELECT to_buy FROM room))
        FOR UPDATE SKIP LOCKED
    ) AS c
), buy AS MATERIALIZED (
    SELECT * FROM (
        SELECT *, row_number() OVER (PARTITION BY provider ORDER BY priority, not_before, job_id, position) AS place
        FROM (SELECT *, row_number() OVER (PARTITION BY provider, model ORDER BY priority, not_before, job_id, position)
                         AS place_at_model
              FROM candidate) AS c
        WHERE c.place_at_model <= c.most
    ) AS c
    WHERE c.place <= c.most_of_provider
    ORDER BY c.priority, c.not_before, c.job_id, c.position
    LIMIT (SELECT to_buy FROM room)
), probe AS (
    UPDATE gates AS g
    SET probe_row_id = b.row_id, probe_given_at = safelight.now(),
        probe_until = safelight.now() + make_interval(secs => b.timeout_seconds + $5)
    FROM buy AS b
    WHERE g.provider = b.provider AND g.model IN ('', b.model) AND g.shut_at IS NOT NULL
), bought AS MATERIALIZED (
    SELECT image_row_id, array_agg(fingerprint) FILTER (WHERE status = 'received') AS received,
           bool_or(status IN ('sent', 'submitted')) AS is_open
    FROM attempts WHERE status IN ('sent', 'submitted', 'received') GROUP BY image_row_id
), finish AS MATERIALIZED (
    SELECT i.row_id FROM bought
    CROSS JOIN LATERAL (SELECT * FROM images WHERE images.row_id = bought.image_row_id OFFSET 0) AS i
    WHERE i.status = 'queued' AND i.admitted_at IS NULL AND i.not_before <= safelight.now()
      AND (bought.is_open OR i.fingerprint = ANY(bought.received))
    ORDER BY i.priority, i.not_before, i.job_id, i.position
    LIMIT (SELECT to_finish FROM room)
), finish_locked AS MATERIALIZED (
    SELECT i.row_id FROM images AS i WHERE i.row_id = ANY(ARRAY(SELECT row_id FROM finish)) FOR UPDATE SKIP LOCKED
)
UPDATE images AS i
SET generation = generation + 1, admitted_at = safelight.now(), queue_row_id = NULL,
    lane = CASE WHEN i.row_id = ANY(ARRAY(SELECT row_id FROM finish_locked)) THEN 'finish' ELSE 'buy' END
WHERE i.row_id = ANY(ARRAY(SELECT row_id FROM buy UNION ALL SELECT row_id FROM finish_locked))
  AND (i.status || '' = 'queued') AND coalesce(i.admitted_at, '-infinity') = '-infinity'
RETURNING i.row_id, i.generation, i.lane, i.provider, i.priority, i.not_before, i.job_id, i.position;

-- name: note_queue_rows
-- Remembers which queue row carries which admitted image.
UPDATE images AS i SET queue_row_id = q.queue_row_id
FROM unnest($1::bigint[], $2::int[], $3::bigint[]) AS q (row_id, generation, queue_row_id)
WHERE i.row_id = q.row_id AND i.generation = q.generation AND i.status = 'queued';
