-- name: claim_lanes
-- Takes lanes whose time has come, at most $1 of them and $2 at a time of one site, under a lease of $3 seconds; one at a
-- time of a site that has failed for $4 seconds, more than $5 of a site only among the first $6, and more than one only among
-- the first $7, so that many which hang do not fill a process. Sites are looked up one after the other in the index, so that
-- what waits at one is passed over and not walked; their lanes are taken in turns, and only what is taken is locked. One
-- process asks at a time; the answer to others is nothing, and nobody waits. While a lane was due and not taken, it was not
-- its receiver who failed.
WITH RECURSIVE turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtext('safelight.courier')) AS is_ours
), sites AS (
    (SELECT l.site FROM webhook_lanes AS l WHERE l.next_at IS NOT NULL AND (SELECT is_ours FROM turn)
     ORDER BY l.site LIMIT 1)
    UNION ALL
    SELECT following.site FROM sites,
         LATERAL (SELECT l.site FROM webhook_lanes AS l WHERE l.next_at IS NOT NULL AND l.site > sites.site
                  ORDER BY l.site LIMIT 1) AS following
), due AS (
    SELECT l.endpoint_id, l.lane, l.next_at,
           busy.lanes + row_number() OVER (PARTITION BY sites.site ORDER BY l.next_at) AS in_turn
    FROM sites,
         LATERAL (SELECT count(*) AS lanes FROM webhook_lanes AS b
                  WHERE b.site = sites.site AND b.claim_token IS NOT NULL AND b.next_at > safelight.now()) AS busy,
         LATERAL (SELECT CASE WHEN EXISTS (
                             SELECT FROM webhook_endpoints AS e
                             WHERE e.site = sites.site AND e.disabled_at IS NULL AND e.deleted_at IS NULL
                               AND e.failing_since <= safelight.now() - make_interval(secs => $4))
                         THEN 1 WHEN $6 > 0 THEN $2::int ELSE least($2, $5) END AS most) AS bound,
         LATERAL (SELECT w.endpoint_id, w.lane, w.next_at FROM webhook_lanes AS w
                  WHERE w.site = sites.site AND w.next_at <= safelight.now()
                  ORDER BY w.next_at LIMIT greatest(bound.most - busy.lanes, 0)) AS l
), ranked AS (
    SELECT endpoint_id, lane, in_turn, row_number() OVER (ORDER BY in_turn, next_at) AS place FROM due
), taken AS (
    SELECT l.endpoint_id, l.lane FROM ranked AS r,
         LATERAL (SELECT w.endpoint_id, w.lane FROM webhook_lanes AS w
                  WHERE w.endpoint_id = r.endpoint_id AND w.lane = r.lane AND w.next_at <= safelight.now()
                  FOR NO KEY UPDATE SKIP LOCKED) AS l
    WHERE r.place <= $1 AND (r.in_turn <= $5 OR r.place <= $6) AND (r.in_turn = 1 OR r.place <= $7)
)
UPDATE webhook_lanes AS l
SET claim_token = gen_random_uuid(), next_at = safelight.now() + make_interval(secs => $3),
    failing_since = l.failing_since + (safelight.now() - l.next_at)
FROM taken
WHERE l.endpoint_id = taken.endpoint_id AND l.lane = taken.lane AND l.next_at <= safelight.now()
RETURNING l.endpoint_id, l.lane, l.claim_token;

-- name: look
-- What a claimed lane holds, its first $4 messages in order, in one snapshot with its revision and with the address, the
-- secrets and what the messages are about. Without messages there is one row without an id.
SELECT l.revision, coalesce(l.progress_due_at <= safelight.now(), false) AS progress_is_due,
       extract(epoch FROM safelight.now() - l.failing_since)::float8 AS failing_seconds,
       e.account, e.url, e.retry_seconds, e.job_id IS NOT NULL AS is_of_job,
       e.id IS NOT NULL AND e.disabled_at IS NULL AND e.deleted_at IS NULL AS is_open,
       ARRAY(SELECT s.ciphertext FROM webhook_secrets AS s
             WHERE s.account = e.account AND s.endpoint_id IS NOT DISTINCT FROM CASE WHEN e.job_id IS NULL THEN e.id END
               AND (s.expires_at IS NULL OR s.expires_at > safelight.now())
             ORDER BY s.id DESC) AS secrets,
       d.id, d.message_id, d.type, d.attempt_count, d.created_at, d.job_id, d.seq,
       extract(epoch FROM safelight.now() - d.wanted_at)::float8 AS age_seconds,
       v.image_id, v.data, v.created_at AS happened_at, n.at AS noticed_at,
       CASE d.type WHEN 'image.completed' THEN (SELECT j.link_key FROM jobs AS j WHERE j.id = d.job_id) END AS link_key,
       EXISTS (SELECT FROM api_keys) AS needs_keys,
       (SELECT j.trace_context FROM jobs AS j WHERE j.id = coalesce(d.job_id, l.lane)) AS trace_context,
       jsonb_strip_nulls(jsonb_build_object('provider', n.provider, 'model', nullif(n.model, ''), 'code', n.code,
                                            'message', n.message)) || n.data AS notice
FROM webhook_lanes AS l
LEFT JOIN webhook_endpoints AS e ON e.id = l.endpoint_id
LEFT JOIN LATERAL (SELECT * FROM deliveries AS p
                   WHERE p.endpoint_id = l.endpoint_id AND p.lane = l.lane AND p.status = 'pending'
                   ORDER BY p.id LIMIT $4) AS d ON true
LEFT JOIN events AS v ON v.job_id = d.job_id AND v.seq = d.seq
LEFT JOIN notices AS n ON n.id = d.notice_id
WHERE l.endpoint_id = $1 AND l.lane = $2 AND l.claim_token = $3
ORDER BY d.id;

-- name: begin_progress
-- The wish for a job.progress becomes a message, which is about to be sent; the next one is not due before $4 seconds
-- have passed. A wish that comes meanwhile is another one.
WITH lane AS (
    UPDATE webhook_lanes SET progress_due_at = NULL, progress_again_at = safelight.now() + make_interval(secs => $4)
    WHERE endpoint_id = $1 AND lane = $2 AND claim_token = $3 AND progress_due_at IS NOT NULL
    RETURNING endpoint_id, lane
)
INSERT INTO deliveries (account, endpoint_id, lane, type, job_id, created_at, wanted_at, due_at)
SELECT $5, lane.endpoint_id, lane.lane, 'job.progress', lane.lane, safelight.now(), safelight.now(), safelight.now()
FROM lane
RETURNING id, message_id;

-- name: drop_progress
-- The job has ended, or the endpoint is closed: nobody needs to hear how far it was.
UPDATE webhook_lanes SET progress_due_at = NULL
WHERE endpoint_id = $1 AND lane = $2 AND claim_token = $3 AND progress_due_at IS NOT NULL;

-- name: mark_delivered
-- The message ($4) was answered with success. With $7 the lane is let go: until its next progress if nothing was put into
-- it since revision $8 was seen, else it is due at once; without, its lease is renewed for $9 seconds. What has taken this is
-- the whole site: addresses of other jobs there do not fail any more either, a thousand at a time and without waiting for any;
-- they may fail again. Says whether the endpoint is still open, and at the address $10.
WITH lane AS (
    UPDATE webhook_lanes
    SET failing_since = NULL, claim_token = CASE WHEN $7 THEN NULL ELSE claim_token END,
        next_at = CASE WHEN NOT $7 THEN safelight.now() + make_interval(secs => $9)
                       WHEN revision = $8 THEN progress_due_at ELSE safelight.now() END
    WHERE endpoint_id = $1 AND lane = $2 AND claim_token = $3
    RETURNING endpoint_id
), works AS (
    UPDATE webhook_endpoints SET failing_since = NULL
    WHERE id IN (SELECT endpoint_id FROM lane) AND failing_since IS NOT NULL
), works_beside AS (
    UPDATE webhook_endpoints SET failing_since = NULL
    WHERE id IN (
        SELECT b.id FROM lane
        JOIN webhook_endpoints AS e ON e.id = lane.endpoint_id AND e.failing_since IS NULL
        JOIN webhook_endpoints AS b ON b.site = e.site
        WHERE b.failing_since IS NOT NULL AND b.disabled_at IS NULL AND b.deleted_at IS NULL
        LIMIT 1000 FOR NO KEY UPDATE OF b SKIP LOCKED)
)
UPDATE deliveries
SET status = 'delivered', attempt_count = attempt_count + 1, attempted_at = safelight.now(), ended_at = safelight.now(),
    http_status = $5, error = NULL, reply = $6
WHERE id = $4 AND status = 'pending' AND EXISTS (SELECT FROM lane)
RETURNING EXISTS (SELECT FROM webhook_endpoints AS e
                  WHERE e.id = $1 AND e.url = $10 AND e.disabled_at IS NULL AND e.deleted_at IS NULL);

-- name: mark_failed
-- The message ($4) was not taken, why is in $6. It is tried again $8 seconds from now, and until then its lane rests; but
-- not when it, or one before it, was to be sent anew meanwhile: $9 are the attempts that this one came after. The endpoint
-- has been failing since its first failure, unless the one before this is longer ago than any pause.
WITH lane AS (
    UPDATE webhook_lanes
    SET claim_token = NULL, failing_since = coalesce(failing_since, safelight.now()),
        next_at = CASE WHEN EXISTS (SELECT FROM deliveries AS d
                                    WHERE d.endpoint_id = $1 AND d.lane = $2 AND d.status = 'pending'
                                      AND (d.id < $4 OR (d.id = $4 AND d.attempt_count <> $9)))
                       THEN safelight.now() ELSE safelight.now() + make_interval(secs => $8) END
    WHERE endpoint_id = $1 AND lane = $2 AND claim_token = $3
    RETURNING endpoint_id, next_at
), fails AS (
    UPDATE webhook_endpoints
    SET failed_at = safelight.now(),
        failing_since = CASE WHEN failed_at > safelight.now() - make_interval(secs => greatest(
                                      108000, 1.25 * (SELECT max(pause) FROM unnest(retry_seconds) AS pause)))
                             THEN coalesce(failing_since, safelight.now()) ELSE safelight.now() END
    WHERE id IN (SELECT endpoint_id FROM lane)
      AND (failing_since IS NULL OR failed_at IS NULL OR failed_at <= safelight.now() - interval '1 minute')
)
UPDATE deliveries
SET attempt_count = attempt_count + 1, attempted_at = safelight.now(), due_at = lane.next_at,
    http_status = $5, error = $6, reply = $7
FROM lane
WHERE id = $4 AND status = 'pending' AND attempt_count = $9
RETURNING id;

-- name: mark_dead
-- The message ($4) was not taken and is given up, why is in $6, unless it was to be sent anew meanwhile: $11 are the
-- attempts that this one came after. The lane rests for $8 seconds, or stays claimed for $9.
WITH lane AS (
    UPDATE webhook_lanes
    SET failing_since = CASE WHEN $10 THEN coalesce(failing_since, safelight.now()) ELSE failing_since END,
        claim_token = CASE WHEN $8::float8 IS NULL THEN claim_token END,
        next_at = safelight.now() + make_interval(secs => coalesce($8, $9))
    WHERE endpoint_id = $1 AND lane = $2 AND claim_token = $3
    RETURNING endpoint_id
), fails AS (
    UPDATE webhook_endpoints
    SET failed_at = safelight.now(),
        failing_since = CASE WHEN failed_at > safelight.now() - make_interval(secs => greatest(
                                      108000, 1.25 * (SELECT max(pause) FROM unnest(retry_seconds) AS pause)))
                             THEN coalesce(failing_since, safelight.now()) ELSE safelight.now() END
    WHERE $10 AND id IN (SELECT endpoint_id FROM lane)
      AND (failing_since IS NULL OR failed_at IS NULL OR failed_at <= safelight.now() - interval '1 minute')
)
UPDATE deliveries
SET status = 'dead', attempt_count = attempt_count + CASE WHEN $10 THEN 1 ELSE 0 END, ended_at = safelight.now(),
    attempted_at = CASE WHEN $10 THEN safelight.now() ELSE attempted_at END,
    http_status = $5, error = $6, reply = $7
WHERE id = $4 AND status = 'pending' AND attempt_count = $11 AND EXISTS (SELECT FROM lane)
RETURNING id;

-- name: give_up_older
-- With a message that was given up go those behind it that are as old as $4 seconds and not of the types in $5: a lane
-- that has failed for so long does not keep a job's end waiting.
UPDATE deliveries AS d SET status = 'dead', ended_at = safelight.now(), error = $6
WHERE d.endpoint_id = $1 AND d.lane = $2 AND d.status = 'pending' AND d.type <> ALL ($5::text[])
  AND d.wanted_at <= safelight.now() - make_interval(secs => $4)
  AND EXISTS (SELECT FROM webhook_lanes AS l
              WHERE l.endpoint_id = $1 AND l.lane = $2 AND l.claim_token = $3
                AND l.failing_since <= safelight.now() - make_interval(secs => $4))
RETURNING d.id;

-- name: abandon
-- Nobody hears what a lane of a closed endpoint still holds.
UPDATE deliveries AS d SET status = 'dead', ended_at = safelight.now(), error = $4
WHERE d.endpoint_id = $1 AND d.lane = $2 AND d.status = 'pending'
  AND EXISTS (SELECT FROM webhook_lanes AS l WHERE l.endpoint_id = $1 AND l.lane = $2 AND l.claim_token = $3)
RETURNING d.id;

-- name: put_off
-- The first message ($4) cannot be sent by us, why is in $5: nobody failed, and it is looked at again in $6 seconds.
WITH lane AS (
    UPDATE webhook_lanes SET claim_token = NULL, next_at = safelight.now() + make_interval(secs => $6)
    WHERE endpoint_id = $1 AND lane = $2 AND claim_token = $3
    RETURNING next_at
)
UPDATE deliveries SET due_at = lane.next_at, error = $5 FROM lane WHERE id = $4 AND status = 'pending';

-- name: let_go
-- The lane is anybody's: when its next progress is due, or at once if something was put into it since revision $4 was seen.
UPDATE webhook_lanes
SET claim_token = NULL, next_at = CASE WHEN revision = $4 THEN progress_due_at ELSE safelight.now() END
WHERE endpoint_id = $1 AND lane = $2 AND claim_token = $3;

-- name: discard
-- A lane that nothing waits in and that never had a message is gone.
DELETE FROM webhook_lanes AS l
WHERE l.endpoint_id = $1 AND l.lane = $2 AND l.claim_token = $3 AND l.revision = $4 AND l.progress_due_at IS NULL
  AND NOT EXISTS (SELECT FROM deliveries AS d WHERE d.job_id = l.lane AND d.endpoint_id = l.endpoint_id)
RETURNING true;

-- name: hand_back
-- The lane is anybody's at once: its courier stops.
UPDATE webhook_lanes SET claim_token = NULL, next_at = safelight.now()
WHERE endpoint_id = $1 AND lane = $2 AND claim_token = $3;

-- name: disable_endpoint
-- Nothing more is sent to an endpoint: its address $4 said that it is gone ($3 NULL), or has failed for $3 seconds. What
-- another address said before does not count. Its lanes are due, so that what they hold is given up.
WITH endpoint AS (
    UPDATE webhook_endpoints SET disabled_at = safelight.now(), disabled_reason = $2
    WHERE id = $1 AND url = $4 AND disabled_at IS NULL AND deleted_at IS NULL
      AND ($3::float8 IS NULL OR failing_since <= safelight.now() - make_interval(secs => $3))
    RETURNING id
), hastened AS (
    UPDATE webhook_lanes SET next_at = safelight.now()
    WHERE endpoint_id IN (SELECT id FROM endpoint) AND claim_token IS NULL AND next_at > safelight.now()
)
SELECT id FROM endpoint;

-- name: forget_deliveries
-- Messages that ended $1 ago, $2 of them at most, and their lanes if nothing waits there: a lane that is missing is made.
WITH forgotten AS (
    DELETE FROM deliveries WHERE id IN (
        SELECT id FROM deliveries WHERE ended_at < safelight.now() - $1::interval ORDER BY ended_at LIMIT $2)
    RETURNING endpoint_id, lane
), emptied AS (
    DELETE FROM webhook_lanes WHERE next_at IS NULL AND (endpoint_id, lane) IN (SELECT endpoint_id, lane FROM forgotten)
)
SELECT count(*) FROM forgotten;

-- name: forget_secrets
-- Secrets that sign no more.
DELETE FROM webhook_secrets WHERE expires_at <= safelight.now();
