-- name: suspects
-- Images that have not moved for $5 seconds although nothing explains it, with what seems to be the matter. `since` is the
-- moment from which on the database knows of no explanation: the last move, or the end of a call's deadline and grace.
--
-- To buy, an image may wait for its time, for its parents, for a pause or a gate, or for its place: while its provider ($1)
-- has as many calls as it is allowed at once ($2) or in a minute ($3, NULL for no limit), all slots of living workers
-- ($4 = lease in seconds), or of those that serve the provider, are taken, or its account has as many made as it may, what
-- waits is explained. As in admission what is waited for is found by stepping over the index; of a line that does not move
-- only the first 256 accounts are looked at, and of each the first hundred of each priority: the others wait behind them.
--
-- What was bought is finished whatever keeps others from buying. A vendor's job is followed in place for as long as an
-- attempt may take and the last question for $6 seconds.
WITH RECURSIVE live AS MATERIALIZED (
    SELECT providers, slots, finish_slots FROM workers
    WHERE NOT draining AND heartbeat_at > safelight.now() - make_interval(secs => $4)
), leaving AS MATERIALIZED (
    SELECT id FROM workers WHERE draining AND heartbeat_at > safelight.now() - make_interval(secs => $4)
), held AS MATERIALIZED (
    SELECT row_id, provider, account, lane, status,
           lane = 'buy' AND (worker_id IN (SELECT id FROM leaving)) IS NOT TRUE AS takes_slot
    FROM images
    WHERE status IN ('processing', 'generating', 'uploading') OR (status = 'queued' AND admitted_at IS NOT NULL)
), full_account AS MATERIALIZED (
    SELECT a.id FROM accounts AS a
    WHERE a.max_concurrency <= (
        SELECT count(*) FROM (
            SELECT held.row_id FROM held WHERE held.lane = 'buy' AND held.account = a.id
            UNION
            SELECT i.row_id FROM attempts AS c
            CROSS JOIN LATERAL (SELECT * FROM images WHERE images.row_id = c.image_row_id OFFSET 0) AS i
            WHERE c.status IN ('sent', 'submitted') AND i.account = a.id
        ) AS made)
), open AS MATERIALIZED (
    SELECT image_row_id, max(resolve_at) FILTER (WHERE status = 'sent') AS answer_until,
           max(submitted_at) FILTER (WHERE status = 'submitted') AS submitted_at,
           max(provider) FILTER (WHERE status = 'submitted') AS at_provider,
           array_agg(fingerprint) FILTER (WHERE status = 'received') AS received
    FROM attempts WHERE status IN ('sent', 'submitted', 'received') GROUP BY image_row_id
), room AS MATERIALIZED (
    SELECT coalesce(sum(slots), 0) - (SELECT count(*) FROM held WHERE takes_slot) AS to_buy,
           coalesce(sum(finish_slots), 0) - (SELECT count(*) FROM held WHERE lane = 'finish') AS to_finish,
           count(*) > 0 AS has_workers
    FROM live
), line AS (
    (SELECT i.provider, i.model FROM images AS i
     WHERE i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents ORDER BY i.provider, i.model LIMIT 1)
    UNION ALL
    SELECT following.provider, following.model FROM line AS l
    CROSS JOIN LATERAL (
        SELECT i.provider, i.model FROM images AS i
        WHERE (i.provider, i.model) > (l.provider, l.model)
          AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
        ORDER BY i.provider, i.model LIMIT 1
    ) AS following
), standing AS MATERIALIZED (
    SELECT l.provider, l.model, served.is_served
    FROM line AS l
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM live WHERE l.provider = ANY (live.providers)) AS is_served) AS served
    LEFT JOIN unnest($1::text[], $2::int[], $3::int[]) AS p (name, cap, per_minute) ON p.name = l.provider
    WHERE NOT (SELECT paused_at IS NOT NULL FROM installation)
      AND (NOT served.is_served
           OR ((SELECT to_buy FROM room) > 0
               AND (SELECT sum(slots) FROM live WHERE l.provider = ANY (live.providers))
                   > (SELECT count(*) FROM held WHERE held.provider = l.provider AND held.takes_slot)
               AND coalesce(p.cap > (SELECT count(*) FROM held WHERE held.provider = l.provider AND held.lane = 'buy')
                                    + (SELECT count(*) FROM attempts AS a
                                       WHERE a.status IN ('sent', 'submitted') AND a.provider = l.provider
                                         AND NOT EXISTS (SELECT FROM held
                                                         WHERE held.row_id = a.image_row_id
                                                           AND held.provider = l.provider AND held.lane = 'buy')), true)
               AND (p.per_minute IS NULL
                    OR p.per_minute > (SELECT count(*) FROM held
                                       WHERE held.provider = l.provider AND held.lane = 'buy'
                                         AND held.status IN ('queued', 'processing'))
                                      + (SELECT count(*) FROM attempts AS a
                                         WHERE a.provider = l.provider
                                           AND a.sent_at > safelight.now() - interval '60 s'))
               AND NOT EXISTS (
                   SELECT FROM gates AS g
                   WHERE g.provider = l.provider AND g.model IN ('', l.model)
                     AND (g.limited_until > safelight.now()
                          OR (g.shut_at IS NOT NULL
                              AND (g.probe_at > safelight.now() - make_interval(secs => $5) OR probe_is_out(g)))))))
), whose AS (
    SELECT s.provider, s.model, s.is_served, first.account, 1 AS nth FROM standing AS s
    CROSS JOIN LATERAL (
        SELECT i.account FROM images AS i
        WHERE i.provider = s.provider AND i.model = s.model
          AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
        ORDER BY i.account LIMIT 1
    ) AS first
    UNION ALL
    SELECT w.provider, w.model, w.is_served, following.account, w.nth + 1 FROM whose AS w
    CROSS JOIN LATERAL (
        SELECT i.account FROM images AS i
        WHERE i.provider = w.provider AND i.model = w.model AND i.account > w.account
          AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
        ORDER BY i.account LIMIT 1
    ) AS following
    WHERE w.nth < 256
), to_buy AS MATERIALIZED (
    SELECT c.row_id, s.provider, greatest(c.changed_at, c.not_before) AS since,
           CASE WHEN NOT s.is_served THEN 'unserved' WHEN c.stop IS NOT NULL THEN 'not_ended' ELSE 'not_handed_out' END
               AS cause
    FROM whose AS s
    CROSS JOIN (VALUES (0::smallint), (1::smallint), (2::smallint), (3::smallint)) AS level (priority)
    CROSS JOIN LATERAL (
        SELECT i.row_id, i.fingerprint, i.changed_at, i.not_before, i.stop FROM images AS i
        WHERE i.provider = s.provider AND i.model = s.model AND i.account = s.account AND i.priority = level.priority
          AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
          AND i.not_before <= safelight.now() - make_interval(secs => $5)
        ORDER BY i.not_before, i.job_id, i.position LIMIT 100
    ) AS c
    LEFT JOIN open ON open.image_row_id = c.row_id
    WHERE (NOT s.is_served OR s.account NOT IN (SELECT id FROM full_account))
      AND NOT coalesce(open.answer_until IS NOT NULL OR open.submitted_at IS NOT NULL
                       OR c.fingerprint = ANY (open.received), false)
), to_finish AS MATERIALIZED (
    SELECT i.row_id, coalesce(open.at_provider, i.provider) AS provider,
           greatest(i.changed_at, i.not_before, open.answer_until) AS since,
           CASE WHEN NOT room.has_workers THEN 'unserved' WHEN open.submitted_at IS NOT NULL THEN 'not_asked'
                ELSE 'not_finished' END AS cause
    FROM room, open
    CROSS JOIN LATERAL (SELECT * FROM images WHERE images.row_id = open.image_row_id OFFSET 0) AS i
    WHERE i.status = 'queued' AND i.admitted_at IS NULL AND (room.to_finish > 0 OR NOT room.has_workers)
      AND (open.answer_until IS NOT NULL OR open.submitted_at IS NOT NULL OR i.fingerprint = ANY (open.received))
), handed_out AS (
    SELECT i.row_id, coalesce(open.at_provider, i.provider) AS provider,
           CASE WHEN i.status = 'queued' THEN greatest(i.changed_at, i.not_before)
                ELSE greatest(i.changed_at, open.answer_until,
                              CASE WHEN open.submitted_at IS NOT NULL
                                   THEN i.changed_at + make_interval(secs => i.timeout_seconds + $6) END) END AS since,
           CASE WHEN i.status <> 'queued' THEN CASE WHEN worker_lives(i.worker_id, $4) THEN 'not_worked_on' ELSE 'abandoned' END
                WHEN i.lane = 'buy' AND NOT EXISTS (SELECT FROM live WHERE i.provider = ANY (live.providers)) THEN 'unserved'
                WHEN i.lane = 'finish' AND NOT room.has_workers THEN 'unserved'
                ELSE 'not_taken' END AS cause
    FROM room, held
    CROSS JOIN LATERAL (SELECT * FROM images WHERE images.row_id = held.row_id OFFSET 0) AS i
    LEFT JOIN open ON open.image_row_id = i.row_id
), unasked AS (
    SELECT open.image_row_id AS row_id, open.at_provider AS provider, open.submitted_at AS since, 'unserved' AS cause
    FROM open
    WHERE open.submitted_at IS NOT NULL
      AND NOT EXISTS (SELECT FROM live WHERE open.at_provider = ANY (live.providers))
), suspect AS MATERIALIZED (
    SELECT DISTINCT ON (row_id) row_id, provider, since, cause
    FROM (SELECT * FROM unasked UNION ALL SELECT * FROM to_buy UNION ALL SELECT * FROM to_finish
          UNION ALL SELECT * FROM handed_out) AS found
    WHERE since <= safelight.now() - make_interval(secs => $5)
    ORDER BY row_id, since
)
SELECT i.row_id, i.job_id, i.id, i.status, i.changed_at, s.provider, s.since, s.cause,
       coalesce(i.stuck_since = s.since, false) AS is_told, (SELECT has_workers FROM room) AS has_workers,
       safelight.now() AS now
FROM suspect AS s
CROSS JOIN LATERAL (SELECT * FROM images WHERE images.row_id = s.row_id OFFSET 0) AS i
WHERE i.status IN ('queued', 'processing', 'generating', 'uploading')
ORDER BY s.since, i.job_id, i.position;

-- name: note_stuck
-- The standstill of an image that still stands where it was seen is told of.
UPDATE images SET stuck_since = $4
WHERE row_id = $1 AND status = $2 AND changed_at = $3
  AND status IN ('queued', 'processing', 'generating', 'uploading') AND stuck_since IS DISTINCT FROM $4
RETURNING id;
