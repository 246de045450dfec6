-- name: job
-- A job with its images in their order, a row for each, in one statement: so everything in it is of one moment (`at`), and
-- one round trip is enough. What is the job's own and may be long stands in the first row only. Of an image: what its
-- attempts have cost (see costs_of_jobs), since when its call is open, what it is made from, and its outputs but for those
-- that are only for the making of others.
SELECT j.id, j.account, j.link_key, j.removed_at, j.status, j.run, j.seq, j.retry_count, j.priority, j.not_before, j.deadline_at, j.deadline_passed, j.created_at,
       j.started_at, j.completed_at, CASE WHEN i.position = 0 THEN j.outputs END AS outputs,
       CASE WHEN i.position = 0 THEN j.metadata END AS metadata, (SELECT safelight.now()) AS at,
       i.id AS image_id, i.image_group, i.status AS image_status, i.failure_stage, i.error, i.provider, i.model,
       i.attempt_count, i.retry_count AS image_retry_count, i.started_at AS image_started_at,
       i.completed_at AS image_completed_at, i.style ->> 'name' AS style, i.estimate_microusd,
       i.options ->> 'aspect_ratio' AS aspect_ratio, i.options ->> 'size' AS size,
       i.priority AS image_priority, i.not_before AS image_not_before, i.admitted_at IS NOT NULL AS is_admitted,
       i.awaits_parents,
       c.known_microusd, c.has_unknown, c.actual_microusd, c.wasted_microusd, c.uncertain_microusd, c.is_unbounded, c.sent_at,
       CASE WHEN i.position = 0 AND j.currency IS NOT NULL THEN charge_of(j.id) END AS charge,
       (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('image', p.id, 'url', r.url,
                                                             'upload', CASE WHEN r.url IS NULL THEN r.upload_id END))
                         || jsonb_build_object('role', r.role) ORDER BY r.position)
        FROM image_references AS r LEFT JOIN images AS p ON p.row_id = r.parent_row_id
        WHERE r.child_row_id = i.row_id AND NOT r.is_mask) AS "references",
       (SELECT jsonb_build_object('upload', r.upload_id) FROM image_references AS r
        WHERE r.child_row_id = i.row_id AND r.is_mask) AS mask,
       CASE WHEN i.status = 'completed' AND j.removed_at IS NULL THEN
           (SELECT jsonb_agg(to_jsonb(r) - 'image_row_id' - 'is_internal') FROM renditions AS r
            WHERE r.image_row_id = i.row_id AND NOT r.is_internal) END AS renditions
FROM jobs AS j
JOIN images AS i ON i.job_id = j.id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(a.cost_microusd), 0)::bigint AS known_microusd,
           coalesce(bool_or(a.is_unpriced), false) AS has_unknown,
           coalesce(sum(a.cost_microusd) FILTER (WHERE a.status <> 'unknown'), 0)::bigint AS actual_microusd,
           coalesce(sum(a.cost_microusd) FILTER (WHERE a.status NOT IN ('settled', 'unknown')
               AND NOT (a.status = 'received' AND i.status IN ('queued', 'processing', 'generating', 'uploading'))), 0)::bigint
               AS wasted_microusd,
           coalesce(sum(coalesce(a.cost_microusd, a.estimate_microusd))
                    FILTER (WHERE a.status = 'unknown' OR a.is_unpriced), 0)::bigint AS uncertain_microusd,
           coalesce(bool_or((a.status = 'unknown' OR a.is_unpriced)
                            AND a.cost_microusd IS NULL AND a.estimate_microusd IS NULL), false) AS is_unbounded,
           max(a.sent_at) FILTER (WHERE a.status IN ('sent', 'submitted', 'received')) AS sent_at
    FROM (SELECT status, cost_microusd, estimate_microusd, sent_at,
                 cost_microusd IS NULL AND status NOT IN ('sent', 'submitted', 'unbilled') AS is_unpriced
          FROM attempts WHERE image_row_id = i.row_id) AS a
) AS c
WHERE j.id = $1 AND ($2::text IS NULL OR j.account = $2)
ORDER BY i.position;

-- name: models_of_images
-- The models that a retry of those images begins with, for what they may be asked, and how long a style makes the prompt.
SELECT i.id, coalesce(i.targets -> 0 ->> 'provider', i.provider) AS provider, coalesce(i.targets -> 0 ->> 'model', i.model) AS model,
       coalesce((i.style ->> 'before_chars')::int + (i.style ->> 'after_chars')::int, 0) AS style_chars
FROM images AS i JOIN jobs AS j ON j.id = i.job_id
WHERE j.id = $1 AND ($2::text IS NULL OR j.account = $2) AND i.id = ANY($3::text[]);

-- name: counts_of_jobs
SELECT job_id, status, count(*)::int AS images FROM images WHERE job_id = ANY($1::text[]) GROUP BY job_id, status;

-- name: costs_of_jobs
-- The provider book, job by job. `wasted` bought no picture that was delivered; `uncertain` is the upper bound of calls
-- whose outcome or price is unknown. An amount with a part that nobody knows is NULL, never too small.
SELECT i.job_id,
       CASE WHEN bool_and(i.estimate_microusd IS NOT NULL) THEN sum(i.estimate_microusd)::bigint END AS estimate_microusd,
       sum(c.actual)::bigint AS actual_microusd,
       sum(c.wasted)::bigint AS wasted_microusd,
       CASE WHEN NOT bool_or(c.is_unbounded) THEN sum(c.uncertain)::bigint END AS uncertain_microusd,
       charge_of(i.job_id) AS charge
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

-- name: rendition
-- One image with one stored output; without a name ($4 NULL) the first of the job's outputs.
SELECT i.id, i.status, j.outputs, j.account, j.link_key, j.removed_at IS NOT NULL AS is_removed,
       r.key, r.format, r.mime, r.sha256, r.length
FROM jobs AS j
JOIN images AS i ON i.job_id = j.id
LEFT JOIN renditions AS r ON r.image_row_id = i.row_id AND NOT r.is_internal
     AND r.name = coalesce($4, j.outputs -> 0 ->> 'name')
WHERE ($1::text IS NULL OR j.account = $1) AND j.id = $2 AND i.id = $3;

-- name: events_of_job
SELECT account, job_id, seq, type, image_id, data, created_at,
       CASE type WHEN 'image.completed' THEN (SELECT j.link_key FROM jobs AS j WHERE j.id = $1) END AS link_key
FROM events WHERE job_id = $1 AND seq > $2 ORDER BY seq LIMIT $3;

-- name: attempts_of_job
-- The calls that were made for a job, of all its images or of one ($3), after a place in the list: by the images' positions
-- and the calls' numbers. A job without any is one empty row; one that is not there, or not that account's, is none.
SELECT a.* FROM jobs AS j LEFT JOIN LATERAL (
    SELECT i.position, i.id AS image_id, c.number, c.run, c.provider, c.model, c.status, c.error_kind, c.error_code,
           c.sent_at, c.ended_at, c.cost_microusd, c.cost_basis
    FROM images AS i JOIN attempts AS c ON c.image_row_id = i.row_id
    WHERE i.job_id = j.id AND ($3::text IS NULL OR i.id = $3)
      AND i.position >= $4::bigint AND (i.position, c.number) > ($4::bigint, $5)
    ORDER BY i.position, c.number LIMIT $6
) AS a ON true
WHERE j.id = $1 AND ($2::text IS NULL OR j.account = $2)
ORDER BY a.position, a.number;
