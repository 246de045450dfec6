-- name: lock_admission
-- One admission at a time in the whole installation; held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtext('safelight.admission'));

-- name: survey
-- Who waits for what, and what there is to share: for each account and model one row, with the urgency of its first image.
-- With the first row of each model come the books: how many may begin there and in all, what the accounts have running
-- there and in all, how far their clocks are (that of nobody: how far the last that was served had been), for the slots
-- only where these are few, and who has another weight than one, or a cap.
--
-- Nothing comes back where nothing can start: no more than a provider's free concurrency ($1, $2), what is left of its
-- requests per minute ($3, NULL for no limit) and the free slots of live workers ($4 = lease in seconds) in all, and of
-- those that serve the provider. What a worker that drains still makes takes no slot of theirs. A call that may still
-- answer counts against its provider and its account, whoever
-- made it. Nothing is bought behind a shut gate, but for one image as its probe when that is due. A gate of a whole account
-- at the vendor that is shut gets one probe over all of its models.
--
-- The shape keeps the planner from walking the whole backlog when its statistics are old: what is waited for is found by
-- stepping over the index, by provider and model and then by account. Of each model at most $5 accounts are looked at, or
-- twice as many as can start: those that come after $8 (by provider and model, $6 and $7) and, round the end, those before.
WITH RECURSIVE live AS (
    SELECT providers, slots FROM workers
    WHERE NOT draining AND heartbeat_at > safelight.now() - make_interval(secs => $4)
), leaving AS MATERIALIZED (
    SELECT id FROM workers WHERE draining AND heartbeat_at > safelight.now() - make_interval(secs => $4)
), held AS MATERIALIZED (
    SELECT row_id, provider, account, lane, status,
           lane = 'buy' AND (worker_id IN (SELECT id FROM leaving)) IS NOT TRUE AS takes_slot
    FROM images
    WHERE status IN ('processing', 'generating', 'uploading') OR (status = 'queued' AND admitted_at IS NOT NULL)
), room AS MATERIALIZED (
    SELECT greatest(coalesce(sum(slots), 0) - (SELECT count(*) FROM held WHERE takes_slot), 0)::int AS to_buy FROM live
), busy AS MATERIALIZED (
    SELECT provider, account, row_id FROM held WHERE lane = 'buy'
    UNION
    SELECT a.provider, i.account, a.image_row_id FROM attempts AS a
    CROSS JOIN LATERAL (SELECT images.account FROM images WHERE images.row_id = a.image_row_id OFFSET 0) AS i
    WHERE a.status IN ('sent', 'submitted')
), provider AS MATERIALIZED (
    SELECT p.name,
           least(p.cap - (SELECT count(*) FROM busy WHERE busy.provider = p.name),
                 (SELECT sum(slots) FROM live WHERE p.name = ANY(live.providers))
                     - (SELECT count(*) FROM held WHERE held.provider = p.name AND held.takes_slot),
                 p.per_minute - (SELECT count(*) FROM held
                                 WHERE held.provider = p.name AND held.lane = 'buy'
                                   AND held.status IN ('queued', 'processing'))
                              - CASE WHEN p.per_minute IS NOT NULL
                                     THEN (SELECT count(*) FROM attempts AS a
                                           WHERE a.provider = p.name AND a.sent_at > safelight.now() - interval '60 s')
                                END)::int AS free
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
    SELECT w.provider, w.model, p.free, gate.is_shut, gate.is_account_shut, coalesce(c.after, '') AS begins_after,
           greatest($5, 2 * least(p.free, (SELECT to_buy FROM room))) AS most
    FROM waiting AS w JOIN provider AS p ON p.name = w.provider
    LEFT JOIN unnest($6::text[], $7::text[], $8::text[]) AS c (provider, model, after)
        ON c.provider = w.provider AND c.model = w.model
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(g.shut_at IS NOT NULL), false) AS is_shut,
               coalesce(bool_or(g.shut_at IS NOT NULL AND g.model = ''), false) AS is_account_shut,
               coalesce(bool_or(g.limited_until > safelight.now()
                                OR (g.shut_at IS NOT NULL AND (g.probe_at > safelight.now() OR probe_is_out(g)))),
                        false) AS lets_nothing_pass
        FROM gates AS g WHERE g.provider = w.provider AND g.model IN ('', w.model)
    ) AS gate
    WHERE NOT gate.lets_nothing_pass
), line AS (
    SELECT t.provider, t.model, t.most, t.begins_after, t.begins_after AS account, NULL::smallint AS priority,
           NULL::timestamptz AS not_before, false AS is_round, 0 AS nth
    FROM target AS t
    UNION ALL
    SELECT l.provider, l.model, l.most, l.begins_after, next.account, next.priority, next.not_before, next.is_round,
           l.nth + 1
    FROM line AS l
    CROSS JOIN LATERAL (
        (SELECT i.account, i.priority, i.not_before, l.is_round AS is_round FROM images AS i
         WHERE i.provider = l.provider AND i.model = l.model AND i.account > l.account
           AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
         ORDER BY i.account, i.priority, i.not_before LIMIT 1)
        UNION ALL
        (SELECT i.account, i.priority, i.not_before, true FROM images AS i
         WHERE i.provider = l.provider AND i.model = l.model AND l.begins_after <> '' AND NOT l.is_round
           AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
         ORDER BY i.account, i.priority, i.not_before LIMIT 1)
        LIMIT 1
    ) AS next
    WHERE l.nth < l.most AND (NOT next.is_round OR next.account <= l.begins_after)
), looked_at AS MATERIALIZED (
    SELECT DISTINCT account FROM line
)
SELECT l.provider, l.model, l.account, l.priority, l.not_before, l.nth,
       CASE WHEN l.nth = 1 THEN jsonb_build_object(
           'free', t.free, 'to_buy', (SELECT to_buy FROM room), 'most', t.most,
           'is_shut', t.is_shut, 'is_account_shut', t.is_account_shut,
           'running', (SELECT jsonb_object_agg(b.account, b.images)
                       FROM (SELECT account, count(*) AS images FROM busy
                             WHERE busy.provider = l.provider GROUP BY account) AS b),
           'running_in_all', (SELECT jsonb_object_agg(b.account, b.images)
                              FROM (SELECT account, count(DISTINCT row_id) AS images FROM busy GROUP BY account) AS b),
           'turns', (SELECT jsonb_object_agg(turns.account, turns.at) FROM turns
                     WHERE turns.provider = l.provider
                       AND turns.account = ANY(''::text || ARRAY(SELECT account FROM looked_at))),
           'slot_turns', CASE WHEN (SELECT to_buy FROM room) < (SELECT sum(greatest(free, 0)) FROM provider) THEN
                         (SELECT jsonb_object_agg(turns.account, turns.at) FROM turns
                          WHERE turns.provider = ''
                            AND turns.account = ANY(''::text || ARRAY(SELECT account FROM looked_at))) END,
           'shares', (SELECT jsonb_object_agg(a.id, jsonb_build_array(a.weight, a.max_concurrency)) FROM accounts AS a
                      WHERE a.id = ANY(ARRAY(SELECT account FROM looked_at))
                        AND (a.weight <> 1 OR a.max_concurrency IS NOT NULL))
       )::text END AS books
FROM line AS l JOIN target AS t ON t.provider = l.provider AND t.model = l.model
WHERE l.nth > 0;

-- name: candidates
-- The first images, by urgency, that an account may begin at a model: so many ($5) of each line ($1, $2, $3), in which
-- nothing is more urgent than $4. An image with a call that may still answer, with staged bytes, or that awaits the picture
-- of another is not among them.
--
-- Each of the four priorities is looked into for itself: one whose images are not due yet costs no more than an empty one.
SELECT l.nth::int, c.* FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::int[]) WITH ORDINALITY
    AS l (provider, model, account, first_priority, most, nth)
JOIN (VALUES (0::smallint), (1::smallint), (2::smallint), (3::smallint)) AS level (priority)
    ON level.priority >= l.first_priority
CROSS JOIN LATERAL (
    SELECT i.row_id, i.priority, i.not_before, i.job_id, i.position FROM images AS i
    WHERE i.provider = l.provider AND i.model = l.model AND i.account = l.account AND i.priority = level.priority
      AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
      AND i.stop IS NULL AND i.not_before <= safelight.now()
      AND NOT EXISTS (SELECT FROM attempts AS a WHERE a.image_row_id = i.row_id
                      AND (a.status IN ('sent', 'submitted')
                           OR (a.status = 'received' AND a.fingerprint = i.fingerprint)))
    ORDER BY i.not_before, i.job_id, i.position
    LIMIT l.most
    FOR UPDATE SKIP LOCKED
) AS c;

-- name: admit
-- Marks the images that were chosen ($3) as admitted, and with them, as far as live workers ($1 = lease in seconds) have
-- slots for that, those with a call that may still answer or with staged bytes: the finish lane, which is never gated.
--
-- Of what was chosen, $4 are probes of a gate that is shut; a probe has its own timeout and $2 seconds of grace for its
-- answer. The clocks of the accounts that were served ($5, $6) go on ($7).
WITH room AS MATERIALIZED (
    SELECT greatest(coalesce(sum(finish_slots), 0)
                    - (SELECT count(*) FROM images
                       WHERE (status IN ('processing', 'generating', 'uploading')
                              OR (status = 'queued' AND admitted_at IS NOT NULL)) AND lane = 'finish'), 0) AS to_finish
    FROM workers WHERE NOT draining AND heartbeat_at > safelight.now() - make_interval(secs => $1)
), probe AS (
    UPDATE gates AS g
    SET probe_row_id = b.row_id, probe_given_at = safelight.now(),
        probe_until = safelight.now() + make_interval(secs => b.timeout_seconds + $2)
    FROM images AS b
    WHERE b.row_id = ANY($4::bigint[]) AND g.provider = b.provider AND g.model IN ('', b.model)
      AND g.shut_at IS NOT NULL
), served AS (
    INSERT INTO turns (provider, account, at)
    SELECT * FROM unnest($5::text[], $6::text[], $7::float8[])
    ON CONFLICT (provider, account) DO UPDATE SET at = excluded.at
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
WHERE i.row_id = ANY($3::bigint[] || ARRAY(SELECT row_id FROM finish_locked))
  AND (i.status || '' = 'queued') AND coalesce(i.admitted_at, '-infinity') = '-infinity'
RETURNING i.row_id, i.generation, i.lane, i.provider, i.priority, i.not_before, i.job_id, i.position;

-- name: note_queue_rows
-- Remembers which queue row carries which admitted image.
UPDATE images SET queue_row_id = ($3::bigint[])[array_position($1::bigint[], row_id)]
WHERE row_id = ANY($1::bigint[]) AND generation = ($2::int[])[array_position($1::bigint[], row_id)] AND status = 'queued';

-- name: forget_turns
-- A clock that is no further than one may be behind ($1) the last that was served is as good as none. One that is being
-- moved stays.
DELETE FROM turns AS gone WHERE (gone.provider, gone.account) IN (
    SELECT t.provider, t.account
    FROM turns AS t JOIN turns AS served ON served.provider = t.provider AND served.account = ''
    WHERE t.account <> '' AND t.at <= served.at - $1::float8
    FOR UPDATE OF t SKIP LOCKED
);
