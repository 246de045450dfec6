-- name: latencies
-- How long the latest calls of each provider ($1) have taken, model by model, from their sending until the picture was
-- stored: of at most $2 of them, found by index, newest first, of the last 24 hours. The row without a model is of all.
SELECT p.name AS provider, c.model,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY c.seconds) AS p50_seconds,
       percentile_cont(0.9) WITHIN GROUP (ORDER BY c.seconds) AS p90_seconds
FROM unnest($1::text[]) AS p (name)
CROSS JOIN LATERAL (
    SELECT a.model, greatest(extract(epoch FROM i.completed_at - a.sent_at), 0)::float8 AS seconds
    FROM (SELECT model, status, sent_at, image_row_id FROM attempts
          WHERE provider = p.name AND sent_at > safelight.now() - interval '24 hours'
          ORDER BY sent_at DESC LIMIT $2) AS a
    JOIN images AS i ON i.row_id = a.image_row_id
    WHERE a.status = 'settled' AND i.completed_at IS NOT NULL
) AS c
GROUP BY GROUPING SETS ((p.name, c.model), (p.name));

-- name: waits
-- How long the images had waited whose first call is among the latest $2 of their provider, in seconds from the moment
-- from which they could have been called. Those that are made from others are left out: they wait for pictures, not for
-- their turn. Of one account ($3) or of all (NULL).
SELECT p.name AS provider, count(*)::int AS images, sum(c.seconds)::float8 AS seconds
FROM unnest($1::text[]) AS p (name)
CROSS JOIN LATERAL (
    SELECT greatest(extract(epoch FROM a.sent_at - greatest(i.created_at, j.not_before)), 0)::float8 AS seconds
    FROM (SELECT number, sent_at, image_row_id FROM attempts
          WHERE provider = p.name AND sent_at > safelight.now() - interval '24 hours'
          ORDER BY sent_at DESC LIMIT $2) AS a
    JOIN images AS i ON i.row_id = a.image_row_id
    JOIN jobs AS j ON j.id = i.job_id
    WHERE a.number = 1
      AND NOT EXISTS (SELECT FROM image_references AS r WHERE r.child_row_id = i.row_id AND r.parent_row_id IS NOT NULL)
      AND ($3::text IS NULL OR j.account = $3)
) AS c
GROUP BY p.name;

-- name: line
-- The account's ($3) images that wait for each provider ($1), job by job in the order of admission, up to the job that makes
-- it $2 images that are due. Those of a model that is shut are passed over, and so are not in line. Models are found by
-- stepping over the index, as in admission, and each is read no further than $2 images per priority: a backlog of any
-- length costs no more.
WITH RECURSIVE waiting AS (
    SELECT p.name AS provider, first.model FROM unnest($1::text[]) AS p (name)
    CROSS JOIN LATERAL (
        SELECT i.model FROM images AS i
        WHERE i.provider = p.name AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
        ORDER BY i.provider, i.model LIMIT 1
    ) AS first
    UNION ALL
    SELECT w.provider, next.model FROM waiting AS w
    CROSS JOIN LATERAL (
        SELECT i.model FROM images AS i
        WHERE i.provider = w.provider AND i.model > w.model
          AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
        ORDER BY i.provider, i.model LIMIT 1
    ) AS next
)
SELECT provider, priority, not_before, job_id, images FROM (
    SELECT w.provider, c.priority, c.not_before, c.job_id, count(*)::int AS images,
           sum(count(*)) OVER (PARTITION BY w.provider ORDER BY c.priority, c.not_before, c.job_id) - count(*) AS ahead
    FROM waiting AS w
    CROSS JOIN (VALUES (0::smallint), (1::smallint), (2::smallint), (3::smallint)) AS level (priority)
    CROSS JOIN LATERAL (
        SELECT i.priority, i.not_before, i.job_id FROM images AS i
        WHERE i.provider = w.provider AND i.model = w.model AND i.account = $3 AND i.priority = level.priority
          AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents AND i.not_before <= safelight.now()
        ORDER BY i.not_before, i.job_id, i.position LIMIT $2
    ) AS c
    WHERE NOT EXISTS (SELECT FROM gates AS g
                      WHERE g.provider = w.provider AND g.model IN ('', w.model) AND g.shut_at IS NOT NULL)
    GROUP BY w.provider, c.priority, c.not_before, c.job_id
) AS line
WHERE ahead < $2
ORDER BY provider, priority, not_before, job_id;

-- name: share
-- What the account ($1) is owed beside others, and how many of its images may be made at once.
SELECT weight, max_concurrency FROM accounts WHERE id = $1;

-- name: crowd
-- Who waits for each provider ($1), with how many images that are due, each model and priority counted up to $2. Those of a
-- model that is shut are passed over; of each model at most $3 accounts are found, by stepping over the index.
WITH RECURSIVE waiting AS (
    SELECT p.name AS provider, first.model FROM unnest($1::text[]) AS p (name)
    CROSS JOIN LATERAL (
        SELECT i.model FROM images AS i
        WHERE i.provider = p.name AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
        ORDER BY i.provider, i.model LIMIT 1
    ) AS first
    UNION ALL
    SELECT w.provider, next.model FROM waiting AS w
    CROSS JOIN LATERAL (
        SELECT i.model FROM images AS i
        WHERE i.provider = w.provider AND i.model > w.model
          AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
        ORDER BY i.provider, i.model LIMIT 1
    ) AS next
), whose AS (
    SELECT w.provider, w.model, first.account, 1 AS nth FROM waiting AS w
    CROSS JOIN LATERAL (
        SELECT i.account FROM images AS i
        WHERE i.provider = w.provider AND i.model = w.model
          AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
        ORDER BY i.account LIMIT 1
    ) AS first
    WHERE NOT EXISTS (SELECT FROM gates AS g
                      WHERE g.provider = w.provider AND g.model IN ('', w.model) AND g.shut_at IS NOT NULL)
    UNION ALL
    SELECT w.provider, w.model, next.account, w.nth + 1 FROM whose AS w
    CROSS JOIN LATERAL (
        SELECT i.account FROM images AS i
        WHERE i.provider = w.provider AND i.model = w.model AND i.account > w.account
          AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents
        ORDER BY i.account LIMIT 1
    ) AS next
    WHERE w.nth < $3
)
SELECT w.provider, w.account, coalesce((SELECT a.weight FROM accounts AS a WHERE a.id = w.account), 1) AS weight,
       sum(c.images)::int AS images
FROM whose AS w
CROSS JOIN (VALUES (0::smallint), (1::smallint), (2::smallint), (3::smallint)) AS level (priority)
CROSS JOIN LATERAL (
    SELECT count(*) AS images FROM (
        SELECT FROM images AS i
        WHERE i.provider = w.provider AND i.model = w.model AND i.account = w.account AND i.priority = level.priority
          AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents AND i.not_before <= safelight.now()
        LIMIT $2
    ) AS counted
) AS c
GROUP BY w.provider, w.account
HAVING sum(c.images) > 0;

-- name: busy
-- Images of each provider that a worker holds, or that are on their way to one.
SELECT provider, count(*)::int AS images FROM images
WHERE status IN ('processing', 'generating', 'uploading') OR (status = 'queued' AND admitted_at IS NOT NULL)
GROUP BY provider;

-- name: places
-- Slots of the live workers that serve each provider; $1 is the lease in seconds.
SELECT p.name AS provider, sum(w.slots)::int AS slots
FROM workers AS w CROSS JOIN LATERAL unnest(w.providers) AS p (name)
WHERE NOT w.draining AND w.heartbeat_at > safelight.now() - make_interval(secs => $1)
GROUP BY p.name;

-- name: backlog
-- Images that wait and images that a worker holds, of one account ($1) or of all (NULL), by provider and model; of those that
-- wait, which are due, and which need the pictures of others first.
SELECT provider, model, count(*) FILTER (WHERE status = 'queued')::int AS queued,
       count(*) FILTER (WHERE status IN ('processing', 'generating', 'uploading'))::int AS active,
       count(*) FILTER (WHERE status = 'queued' AND NOT awaits_parents
                        AND not_before <= (SELECT safelight.now()))::int AS due,
       count(*) FILTER (WHERE status = 'queued' AND awaits_parents)::int AS awaiting
FROM images WHERE status IN ('queued', 'processing', 'generating', 'uploading')
  AND ($1::text IS NULL OR EXISTS (SELECT FROM jobs AS j WHERE j.id = images.job_id AND j.account = $1))
GROUP BY provider, model ORDER BY provider, model;
