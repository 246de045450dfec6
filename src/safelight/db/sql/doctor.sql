-- name: server
-- The server itself. Connections are counted over all of its databases, as its limit is.
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_num,
       extract(epoch FROM clock_timestamp())::float8 AS clock_seconds, pg_is_in_recovery() AS is_standby,
       (SELECT sum(numbackends)::int FROM pg_stat_database) AS connections_used,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
           AS connections_allowed;

-- name: newest_migration
SELECT max(version) FROM safelight.migrations;

-- name: installation
SELECT store_marker, extract(epoch FROM clock_shift)::float8 AS clock_shift_seconds,
       extract(epoch FROM safelight.now() - paused_at)::float8 AS paused_seconds, pause_reason
FROM installation;

-- name: workers
-- Every worker that has not signed off, the liveliest first.
SELECT host, pid, providers, slots, draining, worker_lives(id, $1) AS lives,
       extract(epoch FROM safelight.now() - heartbeat_at)::float8 AS silent_seconds
FROM workers ORDER BY heartbeat_at DESC;

-- name: backlog
SELECT count(*) FILTER (WHERE status = 'queued') AS queued,
       count(*) FILTER (WHERE status <> 'queued') AS in_work
FROM images WHERE status IN ('queued', 'processing', 'generating', 'uploading');

-- name: longest_waiting
-- The image that has been queued longest, with all that can keep it there ($1 = lease in seconds): one that could go, if
-- there is any. Slots and calls are counted as admission counts them.
WITH i AS (
    SELECT * FROM images WHERE status = 'queued'
    ORDER BY awaits_parents, not_before > safelight.now(), changed_at, row_id LIMIT 1
)
SELECT i.job_id, i.id, i.provider, i.model, i.stop IS NOT NULL AS is_to_stop, i.admitted_at IS NOT NULL AS is_admitted,
       extract(epoch FROM safelight.now() - i.changed_at)::float8 AS waited_seconds,
       extract(epoch FROM i.not_before - safelight.now())::float8 AS waits_seconds,
       i.awaits_parents, i.not_before = (SELECT j.not_before FROM jobs AS j WHERE j.id = i.job_id) AS is_job_not_due,
       (SELECT extract(epoch FROM max(a.resolve_at) - safelight.now())::float8 FROM attempts AS a
        WHERE a.image_row_id = i.row_id AND a.status = 'sent') AS answer_open_seconds,
       EXISTS (SELECT FROM attempts AS a WHERE a.image_row_id = i.row_id AND a.status = 'submitted') AS is_at_vendor,
       (SELECT paused_at IS NOT NULL FROM installation) AS is_paused,
       live.slots, live.provider_slots, live.serves_provider,
       held.slots_taken, held.provider_slots_taken, held.provider_calls,
       held.unsent_calls + recent.calls AS minute_calls
FROM i
CROSS JOIN LATERAL (
    SELECT coalesce(sum(w.slots), 0)::int AS slots,
           coalesce(sum(w.slots) FILTER (WHERE i.provider = ANY(w.providers)), 0)::int AS provider_slots,
           coalesce(bool_or(i.provider = ANY(w.providers)), false) AS serves_provider
    FROM workers AS w WHERE NOT w.draining AND worker_lives(w.id, $1)
) AS live
CROSS JOIN LATERAL (
    SELECT (count(*) FILTER (WHERE NOT leaves.with_it))::int AS slots_taken,
           (count(*) FILTER (WHERE NOT leaves.with_it AND h.provider = i.provider))::int AS provider_slots_taken,
           (count(*) FILTER (WHERE h.provider = i.provider))::int AS provider_calls,
           (count(*) FILTER (WHERE h.provider = i.provider AND h.status IN ('queued', 'processing')))::int AS unsent_calls
    FROM images AS h
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM workers AS w WHERE w.id = h.worker_id AND w.draining
                                       AND worker_lives(w.id, $1)) AS with_it) AS leaves
    WHERE h.lane = 'buy' AND h.row_id <> i.row_id
      AND (h.status IN ('processing', 'generating', 'uploading') OR (h.status = 'queued' AND h.admitted_at IS NOT NULL))
) AS held
CROSS JOIN LATERAL (
    SELECT count(*)::int AS calls FROM attempts AS a
    WHERE a.provider = i.provider AND a.sent_at > safelight.now() - interval '60 s'
) AS recent;

-- name: closed_gates
-- Gates that keep calls back now.
SELECT g.provider, g.model, g.code, g.message, g.shut_at IS NOT NULL AS is_shut,
       extract(epoch FROM safelight.now() - g.shut_at)::float8 AS shut_seconds,
       g.shut_at IS NOT NULL AND probe_is_out(g) AS is_probing,
       extract(epoch FROM g.probe_at - safelight.now())::float8 AS probe_seconds,
       extract(epoch FROM g.limited_until - safelight.now())::float8 AS limited_seconds
FROM gates AS g WHERE g.shut_at IS NOT NULL OR g.limited_until > safelight.now()
ORDER BY g.provider, g.model;

-- name: unknown_calls
-- Calls of the last day whose outcome was lost, and what they may have cost at most; NULL when nobody can say.
SELECT count(*) AS calls,
       CASE WHEN bool_and(cost_microusd IS NOT NULL OR estimate_microusd IS NOT NULL)
            THEN sum(coalesce(cost_microusd, estimate_microusd))::bigint END AS at_most_microusd
FROM attempts WHERE status = 'unknown' AND sent_at > safelight.now() - interval '1 day';

-- name: overdue_calls
-- What the sweep's `book_unknown` would book.
SELECT count(*) FROM attempts AS a
WHERE (a.status = 'sent' AND a.resolve_at <= safelight.now())
   OR (a.status = 'submitted' AND a.image_row_id IN (
           SELECT i.row_id FROM images AS i
           WHERE i.row_id = a.image_row_id AND i.status IN ('completed', 'failed', 'refused', 'canceled', 'uncertain')));

-- name: known_attempts
SELECT id FROM attempts WHERE id = ANY($1::text[]);
