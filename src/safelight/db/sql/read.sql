-- name: job
SELECT id, status, run, seq, retry_count, outputs, metadata, priority, not_before, deadline_at, deadline_passed, created_at,
       started_at, completed_at
FROM jobs WHERE id = $1 AND account = $2;

-- name: newest_jobs
-- A page of history, newest first: $2 filters by state, $5 by time, $6 by a group that some image is in; $3 is the last
-- id of the page before.
SELECT id, status, run, seq, retry_count, metadata, priority, not_before, deadline_at, deadline_passed, created_at,
       started_at, completed_at
FROM jobs
WHERE account = $1 AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR id < $3)
  AND ($5::timestamptz IS NULL OR created_at > $5)
  AND ($6::text IS NULL OR EXISTS (SELECT FROM images AS i WHERE i.job_id = jobs.id AND i.image_group = $6))
ORDER BY id DESC LIMIT $4;

-- name: newest_jobs_with_metadata
-- The same, of jobs whose metadata holds $7: apart, because only this one is for the index on metadata.
SELECT id, status, run, seq, retry_count, metadata, priority, not_before, deadline_at, deadline_passed, created_at,
       started_at, completed_at
FROM jobs
WHERE account = $1 AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR id < $3)
  AND ($5::timestamptz IS NULL OR created_at > $5)
  AND ($6::text IS NULL OR EXISTS (SELECT FROM images AS i WHERE i.job_id = jobs.id AND i.image_group = $6))
  AND metadata @> $7
ORDER BY id DESC LIMIT $4;

-- name: models_of_images
-- The models that a retry of those images begins with, for what they may be asked, and how long a style makes the prompt.
SELECT i.id, coalesce(i.targets -> 0 ->> 'provider', i.provider) AS provider, coalesce(i.targets -> 0 ->> 'model', i.model) AS model,
       coalesce((i.style ->> 'before_chars')::int + (i.style ->> 'after_chars')::int, 0) AS style_chars
FROM images AS i JOIN jobs AS j ON j.id = i.job_id
WHERE j.id = $1 AND j.account = $2 AND i.id = ANY($3::text[]);

-- name: counts_of_jobs
SELECT job_id, status, count(*)::int AS images FROM images WHERE job_id = ANY($1::text[]) GROUP BY job_id, status;

-- name: costs_of_jobs
-- The provider book, job by job. `wasted` bought no picture that was delivered; `uncertain` is the upper bound of calls
-- whose outcome or price is unknown. An amount with a part that nobody knows is NULL, never too small.
SELECT i.job_id,
       CASE WHEN bool_and(i.estimate_microusd IS NOT NULL) THEN sum(i.estimate_microusd)::bigint END AS estimate_microusd,
       sum(c.actual)::bigint AS actual_microusd,
       sum(c.wasted)::bigint AS wasted_microusd,
       CASE WHEN NOT bool_or(c.is_unbounded) THEN sum(c.uncertain)::bigint END AS uncertain_microusd
FROM images AS i
CROSS JOIN LATERAL (
    SELECT coalesce(sum(a.cost_microusd) FILTER (WHERE a.status <> 'unknown'), 0) AS actual,
           coalesce(sum(a.cost_microusd) FILTER (WHERE a.status NOT IN ('settled', 'unknown')
               AND NOT (a.status = 'received' AND i.status IN ('queued', 'processing', 'generating', 'uploading'))), 0)
               AS wasted,
           coalesce(sum(coalesce(a.cost_microusd, a.estimate_microusd)) FILTER (WHERE a.is_uncertain), 0) AS uncertain,
           coalesce(bool_or(a.is_uncertain AND a.cost_microusd IS NULL AND a.estimate_microusd IS NULL), false)
               AS is_unbounded
    FROM (SELECT *, status = 'unknown' OR (cost_microusd IS NULL AND status NOT IN ('sent', 'submitted', 'unbilled')) AS is_uncertain
          FROM attempts WHERE image_row_id = i.row_id) AS a
) AS c
WHERE i.job_id = ANY($1::text[]) GROUP BY i.job_id;

-- name: images_of_job
-- The images in their order, with what all their attempts have cost.
SELECT i.id, i.image_group, i.status, i.failure_stage, i.error, i.provider, i.model, i.attempt_count, i.retry_count,
       i.started_at, i.completed_at, i.style ->> 'name' AS style, c.known_microusd, c.has_unknown,
       (SELECT jsonb_agg(jsonb_build_object('image', p.id, 'role', r.role) ORDER BY r.position)
        FROM image_references AS r JOIN images AS p ON p.row_id = r.parent_row_id
        WHERE r.child_row_id = i.row_id) AS "references"
FROM images AS i
CROSS JOIN LATERAL (
    SELECT coalesce(sum(a.cost_microusd), 0)::bigint AS known_microusd,
           coalesce(bool_or(a.cost_microusd IS NULL AND a.status NOT IN ('sent', 'submitted', 'unbilled')), false) AS has_unknown
    FROM attempts AS a WHERE a.image_row_id = i.row_id
) AS c
WHERE i.job_id = $1 ORDER BY i.position;

-- name: renditions_of_job
-- The outputs of completed images, in the images' order; not those that are only for the making of others.
SELECT i.id AS image_id, r.name, r.key, r.format, r.mime, r.width_px, r.height_px, r.length, r.sha256
FROM renditions AS r JOIN images AS i ON i.row_id = r.image_row_id
WHERE i.job_id = $1 AND NOT r.is_internal ORDER BY i.position, r.name;

-- name: rendition
-- One image with one stored output; without a name ($4 NULL) the first of the job's outputs.
SELECT i.status, j.outputs, r.key, r.mime, r.sha256, r.length
FROM jobs AS j
JOIN images AS i ON i.job_id = j.id
LEFT JOIN renditions AS r ON r.image_row_id = i.row_id AND NOT r.is_internal
     AND r.name = coalesce($4, j.outputs -> 0 ->> 'name')
WHERE j.account = $1 AND j.id = $2 AND i.id = $3;

-- name: events_of_job
SELECT job_id, seq, type, image_id, data, created_at FROM events WHERE job_id = $1 AND seq > $2 ORDER BY seq LIMIT $3;

-- name: backlog
-- Images that wait and images that a worker holds, over all accounts.
SELECT count(*) FILTER (WHERE status = 'queued')::int AS queued,
       count(*) FILTER (WHERE status IN ('processing', 'generating', 'uploading'))::int AS active
FROM images WHERE status IN ('queued', 'processing', 'generating', 'uploading');
