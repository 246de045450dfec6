-- name: now
-- This moment, and when the step of $1 began that it is in: steps begin with the hours, and with the days (UTC).
SELECT safelight.now() AS at, date_bin($1::interval, safelight.now(), timestamptz '1970-01-01Z') AS step;

-- name: images
-- Images by state of the jobs of an account ($1; NULL: of all) that were created from $2 until before $3: in all, by
-- provider, and by steps of $4.
SELECT i.provider, date_bin($4::interval, j.created_at, $2::timestamptz) AS at, grouping(i.provider) = 0 AS has_provider,
       grouping(date_bin($4::interval, j.created_at, $2::timestamptz)) = 0 AS has_time,
       count(*) FILTER (WHERE i.status = 'completed')::int AS completed,
       count(*) FILTER (WHERE i.status = 'failed')::int AS failed,
       count(*) FILTER (WHERE i.status = 'refused')::int AS refused,
       count(*) FILTER (WHERE i.status = 'canceled')::int AS canceled,
       count(*) FILTER (WHERE i.status = 'uncertain')::int AS uncertain
FROM jobs AS j JOIN images AS i ON i.job_id = j.id
WHERE ($1::text IS NULL OR j.account = $1) AND j.created_at >= $2 AND j.created_at < $3
GROUP BY GROUPING SETS ((), (i.provider), (date_bin($4::interval, j.created_at, $2::timestamptz)));

-- name: calls
-- The provider book of those jobs, told apart in the same way, as in the statistics: what calls have cost, what of it
-- brought no delivered picture, what may have been spent besides, and how long calls took that brought one.
WITH calls AS (
    SELECT a.provider, date_bin($4::interval, j.created_at, $2::timestamptz) AS at, a.status, a.cost_microusd,
           a.estimate_microusd,
           a.status = 'unknown' OR (a.cost_microusd IS NULL AND a.status NOT IN ('sent', 'submitted', 'unbilled'))
               AS is_uncertain,
           a.status NOT IN ('settled', 'unknown')
               AND NOT (a.status = 'received' AND i.status IN ('queued', 'processing', 'generating', 'uploading')) AS is_wasted,
           CASE WHEN a.status = 'settled' THEN extract(epoch FROM a.ended_at - a.sent_at)::float8 END AS seconds
    FROM jobs AS j JOIN images AS i ON i.job_id = j.id JOIN attempts AS a ON a.image_row_id = i.row_id
    WHERE ($1::text IS NULL OR j.account = $1) AND j.created_at >= $2 AND j.created_at < $3
)
SELECT provider, at, grouping(provider) = 0 AS has_provider, grouping(at) = 0 AS has_time,
       coalesce(sum(cost_microusd) FILTER (WHERE status <> 'unknown'), 0)::bigint AS cost_microusd,
       coalesce(sum(cost_microusd) FILTER (WHERE is_wasted), 0)::bigint AS wasted_microusd,
       CASE WHEN NOT coalesce(bool_or(is_uncertain AND coalesce(cost_microusd, estimate_microusd) IS NULL), false)
            THEN coalesce(sum(coalesce(cost_microusd, estimate_microusd)) FILTER (WHERE is_uncertain), 0)::bigint END
           AS uncertain_microusd,
       avg(seconds) AS average_seconds, percentile_cont(0.9) WITHIN GROUP (ORDER BY seconds) AS p90_seconds
FROM calls GROUP BY GROUPING SETS ((), (provider), (at));

-- name: open_work
-- Jobs of an account ($1; NULL: of all) that have not ended, and their images; whether buying is paused.
SELECT count(DISTINCT j.id)::int AS jobs, count(*) FILTER (WHERE i.status = 'queued')::int AS queued,
       count(*) FILTER (WHERE i.status IN ('processing', 'generating', 'uploading'))::int AS active,
       (SELECT paused_at IS NOT NULL FROM installation) AS is_paused
FROM jobs AS j LEFT JOIN images AS i ON i.job_id = j.id AND i.status IN ('queued', 'processing', 'generating', 'uploading')
WHERE j.status IN ('pending', 'generating', 'canceling') AND ($1::text IS NULL OR j.account = $1);

-- name: jobs_of
-- How many of the jobs $2 are an account's ($1; NULL: anybody's).
SELECT count(*)::int FROM jobs WHERE id = ANY ($2::text[]) AND ($1::text IS NULL OR account = $1);

-- name: cost_today
-- What calls for an account ($1; NULL: for all) have cost that were sent since midnight, UTC. Providers are found by
-- stepping over the index.
WITH RECURSIVE called AS (
    (SELECT provider FROM attempts ORDER BY provider LIMIT 1)
    UNION ALL
    SELECT following.provider FROM called
    CROSS JOIN LATERAL (SELECT a.provider FROM attempts AS a WHERE a.provider > called.provider
                        ORDER BY a.provider LIMIT 1) AS following
)
SELECT coalesce(sum(a.cost_microusd), 0)::bigint
FROM called
CROSS JOIN LATERAL (
    SELECT c.cost_microusd, c.image_row_id FROM attempts AS c
    WHERE c.provider = called.provider AND c.sent_at >= date_trunc('day', safelight.now()) AND c.status <> 'unknown'
) AS a
WHERE $1::text IS NULL OR EXISTS (SELECT FROM images AS i WHERE i.row_id = a.image_row_id AND i.account = $1);

-- name: webhooks
-- Of an account ($1; NULL: of all): messages that were given up within 24 hours, and endpoints that took nothing the last
-- time or are sent nothing any more.
SELECT (SELECT count(*) FROM deliveries AS d
        WHERE d.status = 'dead' AND d.ended_at > safelight.now() - interval '24 hours'
          AND ($1::text IS NULL OR d.account = $1))::int AS given_up,
       (SELECT count(*) FROM webhook_endpoints AS e
        WHERE e.failing_since IS NOT NULL AND e.disabled_at IS NULL AND e.deleted_at IS NULL
          AND ($1::text IS NULL OR e.account = $1))::int
       + (SELECT count(*) FROM webhook_endpoints AS e
          WHERE e.job_id IS NULL AND e.deleted_at IS NULL AND e.disabled_at IS NOT NULL
            AND ($1::text IS NULL OR e.account = $1))::int AS failing;
