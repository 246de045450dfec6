-- name: plan_anew
-- Filters that are not given are gone from the plans of this transaction's statements, so that each has the index that suits
-- it: a plan for all filters would have none.
SET LOCAL plan_cache_mode = force_custom_plan;

-- name: clock
SELECT safelight.now();

-- name: jobs
-- Jobs by state, in all and by key ($4, see `pictures`): of an account ($1; NULL: of all), created from $2 until before $3.
-- A job is counted under each key that an image of it has.
WITH pictures AS (
    SELECT j.id, j.status,
           CASE $4::text
               WHEN 'account' THEN j.account
               WHEN 'provider' THEN i.provider
               WHEN 'model' THEN i.provider || '/' || i.model
               WHEN 'group' THEN i.image_group
               WHEN 'style' THEN coalesce(i.style ->> 'name', '')
               WHEN 'day' THEN to_char(j.created_at AT TIME ZONE $5::text, 'YYYY-MM-DD')
               WHEN 'hour' THEN extract(epoch FROM hour_of(j.created_at, $5))::bigint::text
           END AS key
    FROM jobs AS j JOIN images AS i ON i.job_id = j.id
    WHERE ($1::text IS NULL OR j.account = $1) AND j.created_at >= $2 AND j.created_at < $3
)
SELECT grouping(key) = 1 AS is_total, key, status, count(DISTINCT id)::int AS jobs
FROM pictures GROUP BY GROUPING SETS ((status), (key, status))
HAVING grouping(key) = 1 OR key = ANY ($6::text[]);

-- name: pictures
-- Images of those jobs by state, in all and by key: who had them last, or what they are, or when their jobs were created. And
-- p50, p90 and p99 of how long they waited until their first call, from when they might have been begun, and of how long it
-- took from then until the picture was stored: of images that nobody has retried, the former without those that waited for
-- others' pictures. At most $6 keys, those of a time in order, of others those with most images; the total comes first.
WITH pictures AS (
    SELECT i.status,
           CASE WHEN i.retry_count = 0 AND i.started_at IS NOT NULL
                     AND NOT EXISTS (SELECT FROM image_references AS r
                                     WHERE r.child_row_id = i.row_id AND r.parent_row_id IS NOT NULL)
                THEN extract(epoch FROM i.started_at - greatest(j.created_at, j.not_before))::float8 END AS waited_seconds,
           CASE WHEN i.retry_count = 0 AND i.status = 'completed'
                THEN extract(epoch FROM i.completed_at - greatest(j.created_at, j.not_before))::float8 END AS took_seconds,
           CASE $4::text
               WHEN 'account' THEN j.account
               WHEN 'provider' THEN i.provider
               WHEN 'model' THEN i.provider || '/' || i.model
               WHEN 'group' THEN i.image_group
               WHEN 'style' THEN coalesce(i.style ->> 'name', '')
               WHEN 'day' THEN to_char(j.created_at AT TIME ZONE $5::text, 'YYYY-MM-DD')
               WHEN 'hour' THEN extract(epoch FROM hour_of(j.created_at, $5))::bigint::text
           END AS key
    FROM jobs AS j JOIN images AS i ON i.job_id = j.id
    WHERE ($1::text IS NULL OR j.account = $1) AND j.created_at >= $2 AND j.created_at < $3
)
SELECT grouping(key) = 1 AS is_total, key,
       count(*) FILTER (WHERE status = 'queued')::int AS queued,
       count(*) FILTER (WHERE status IN ('processing', 'generating', 'uploading'))::int AS active,
       count(*) FILTER (WHERE status = 'completed')::int AS completed,
       count(*) FILTER (WHERE status = 'failed')::int AS failed,
       count(*) FILTER (WHERE status = 'refused')::int AS refused,
       count(*) FILTER (WHERE status = 'canceled')::int AS canceled,
       count(*) FILTER (WHERE status = 'uncertain')::int AS uncertain,
       percentile_cont(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (ORDER BY waited_seconds) AS waited_seconds,
       percentile_cont(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (ORDER BY took_seconds) AS took_seconds
FROM pictures GROUP BY GROUPING SETS ((), (key))
HAVING grouping(key) = 1 OR key IS NOT NULL
ORDER BY grouping(key) DESC, CASE WHEN $4 NOT IN ('day', 'hour') THEN count(*) END DESC NULLS LAST, key
LIMIT 1 + $6::int;

-- name: calls
-- The provider book of those jobs, in all and by key ($6: those alone, NULL: each), as in costs_of_jobs: whom a call went to is
-- what counts here. And how long the calls took that brought a picture, from their sending until it had arrived, and the tokens that
-- vendors counted, under whichever name, but for counts that no call can have.
WITH calls AS (
    SELECT a.status, a.cost_microusd, a.estimate_microusd,
           a.status = 'unknown' OR (a.cost_microusd IS NULL AND a.status NOT IN ('sent', 'submitted', 'unbilled'))
               AS is_uncertain,
           a.status NOT IN ('settled', 'unknown')
               AND NOT (a.status = 'received' AND i.status IN ('queued', 'processing', 'generating', 'uploading')) AS is_wasted,
           CASE WHEN a.status = 'settled' THEN extract(epoch FROM a.ended_at - a.sent_at)::float8 END AS made_seconds,
           CASE WHEN jsonb_typeof(a.usage -> 'promptTokenCount') = 'number' THEN (a.usage ->> 'promptTokenCount')::numeric
                WHEN jsonb_typeof(a.usage -> 'input_tokens') = 'number' THEN (a.usage ->> 'input_tokens')::numeric
           END AS input_tokens,
           CASE WHEN jsonb_typeof(a.usage -> 'candidatesTokenCount') = 'number'
                THEN (a.usage ->> 'candidatesTokenCount')::numeric
                     + CASE WHEN jsonb_typeof(a.usage -> 'thoughtsTokenCount') = 'number'
                            THEN (a.usage ->> 'thoughtsTokenCount')::numeric ELSE 0 END
                WHEN jsonb_typeof(a.usage -> 'output_tokens') = 'number' THEN (a.usage ->> 'output_tokens')::numeric
           END AS output_tokens,
           CASE $4::text
               WHEN 'account' THEN j.account
               WHEN 'provider' THEN a.provider
               WHEN 'model' THEN a.provider || '/' || a.model
               WHEN 'group' THEN i.image_group
               WHEN 'style' THEN coalesce(i.style ->> 'name', '')
               WHEN 'day' THEN to_char(j.created_at AT TIME ZONE $5::text, 'YYYY-MM-DD')
               WHEN 'hour' THEN extract(epoch FROM hour_of(j.created_at, $5))::bigint::text
           END AS key
    FROM jobs AS j JOIN images AS i ON i.job_id = j.id JOIN attempts AS a ON a.image_row_id = i.row_id
    WHERE ($1::text IS NULL OR j.account = $1) AND j.created_at >= $2 AND j.created_at < $3
)
SELECT grouping(key) = 1 AS is_total, key, count(*)::int AS calls,
       coalesce(sum(cost_microusd) FILTER (WHERE status <> 'unknown'), 0)::bigint AS actual_microusd,
       coalesce(sum(cost_microusd) FILTER (WHERE is_wasted), 0)::bigint AS wasted_microusd,
       CASE WHEN NOT coalesce(bool_or(is_uncertain AND coalesce(cost_microusd, estimate_microusd) IS NULL), false)
            THEN coalesce(sum(coalesce(cost_microusd, estimate_microusd)) FILTER (WHERE is_uncertain), 0)::bigint END
           AS uncertain_microusd,
       sum(input_tokens) FILTER (WHERE input_tokens BETWEEN 0 AND 1e12)::bigint AS input_tokens,
       sum(output_tokens) FILTER (WHERE output_tokens BETWEEN 0 AND 1e12)::bigint AS output_tokens,
       percentile_cont(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (ORDER BY made_seconds) AS made_seconds
FROM calls GROUP BY GROUPING SETS ((), (key))
HAVING grouping(key) = 1 OR key = ANY ($6::text[]) OR ($6 IS NULL AND key IS NOT NULL);

-- name: charges
-- The customers' book of those jobs, in all and by key ($6: those alone): what was captured for their pictures.
WITH charges AS (
    SELECT h.currency, h.amount,
           CASE $4::text
               WHEN 'account' THEN j.account
               WHEN 'provider' THEN i.provider
               WHEN 'model' THEN i.provider || '/' || i.model
               WHEN 'group' THEN i.image_group
               WHEN 'style' THEN coalesce(i.style ->> 'name', '')
               WHEN 'day' THEN to_char(j.created_at AT TIME ZONE $5::text, 'YYYY-MM-DD')
               WHEN 'hour' THEN extract(epoch FROM hour_of(j.created_at, $5))::bigint::text
           END AS key
    FROM jobs AS j JOIN holds AS h ON h.job_id = j.id JOIN images AS i ON i.row_id = h.image_row_id
    WHERE h.status = 'captured'
      AND ($1::text IS NULL OR j.account = $1) AND j.created_at >= $2 AND j.created_at < $3
)
SELECT grouping(key) = 1 AS is_total, key, currency, sum(amount)::bigint AS captured
FROM charges GROUP BY GROUPING SETS ((currency), (key, currency))
HAVING grouping(key) = 1 OR key = ANY ($6::text[]);

-- name: popular
-- What most images of those jobs were asked of, and what they are: the $4 first of each `kind`. Those without a group or a
-- style are in no list of these.
WITH counted AS (
    SELECT CASE grouping(provider, model, image_group, style)
               WHEN 3 THEN 'models' WHEN 7 THEN 'providers' WHEN 13 THEN 'groups' ELSE 'styles' END AS kind,
           provider, model, image_group, style, count(*)::int AS images,
           count(*) FILTER (WHERE status = 'completed')::int AS completed
    FROM (SELECT i.provider, i.model, nullif(i.image_group, '') AS image_group, i.style ->> 'name' AS style, i.status
          FROM jobs AS j JOIN images AS i ON i.job_id = j.id
          WHERE ($1::text IS NULL OR j.account = $1) AND j.created_at >= $2 AND j.created_at < $3) AS pictures
    GROUP BY GROUPING SETS ((provider, model), (provider), (image_group), (style))
)
SELECT kind, provider, model, image_group, style, images, completed
FROM (SELECT *, row_number() OVER (PARTITION BY kind ORDER BY images DESC, provider, model, image_group, style) AS place
      FROM counted WHERE coalesce(provider, image_group, style) IS NOT NULL) AS ranked
WHERE place <= $4::int
ORDER BY kind, place;
