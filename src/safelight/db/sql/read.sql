-- name: job
SELECT id, account, status, run, retry_count, seq, storage_prefix, outputs, metadata, deadline_at, deadline_passed,
       created_at, started_at, completed_at
FROM jobs WHERE id = $1 AND account = $2;

-- name: images_of_job
-- The images in their order, with what all their attempts have cost.
SELECT i.row_id, i.id, i.image_group, i.status, i.failure_stage, i.error, i.provider, i.model, i.attempt_count,
       i.retry_count, i.estimate_microusd, i.started_at, i.completed_at, c.known_microusd, c.has_unknown
FROM images AS i
CROSS JOIN LATERAL (
    SELECT coalesce(sum(a.cost_microusd), 0)::bigint AS known_microusd,
           coalesce(bool_or(a.cost_microusd IS NULL AND a.status NOT IN ('sent', 'unbilled')), false) AS has_unknown
    FROM attempts AS a WHERE a.image_row_id = i.row_id
) AS c
WHERE i.job_id = $1 ORDER BY i.position;

-- name: renditions_of_job
SELECT i.id AS image_id, r.name, r.key, r.format, r.mime, r.width_px, r.height_px, r.length, r.sha256
FROM renditions AS r JOIN images AS i ON i.row_id = r.image_row_id
WHERE i.job_id = $1;

-- name: cost_of_job
-- The provider book of one job. `wasted` bought no picture that was delivered; `uncertain` is an upper bound.
SELECT coalesce(sum(a.cost_microusd) FILTER (WHERE a.status <> 'unknown'), 0)::bigint AS actual_microusd,
       coalesce(sum(a.cost_microusd) FILTER (WHERE a.status NOT IN ('settled', 'unknown')
           AND NOT (a.status = 'received' AND i.status IN ('processing', 'generating', 'uploading', 'queued'))), 0)::bigint
           AS wasted_microusd,
       coalesce(sum(coalesce(a.cost_microusd, a.estimate_microusd)) FILTER (WHERE a.status = 'unknown'), 0)::bigint
           AS uncertain_microusd
FROM attempts AS a JOIN images AS i ON i.row_id = a.image_row_id
WHERE i.job_id = $1;

-- name: rendition
-- One stored output; without a name ($4 NULL) the first of the job's outputs.
SELECT i.status, r.key, r.mime, r.sha256, r.length
FROM jobs AS j
JOIN images AS i ON i.job_id = j.id
LEFT JOIN renditions AS r ON r.image_row_id = i.row_id
     AND r.name = coalesce($4, j.outputs -> 0 ->> 'name')
WHERE j.account = $1 AND j.id = $2 AND i.id = $3;

-- name: newest_jobs
-- A page of history, newest first: $2 filters by state, $3 is the last id of the page before.
SELECT id, status, run, created_at, completed_at, metadata FROM jobs
WHERE account = $1 AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR id < $3)
ORDER BY id DESC LIMIT $4;

-- name: counts_of_jobs
SELECT job_id, status, count(*)::int AS images FROM images WHERE job_id = ANY($1::text[]) GROUP BY job_id, status;

-- name: events_of_job
SELECT seq, type, image_id, data, created_at FROM events WHERE job_id = $1 AND seq > $2 ORDER BY seq LIMIT $3;
