-- name: plan_anew
-- Filters that are not given are gone from the plans of this transaction's statements, so that each has the index that suits
-- it: a plan for all filters would have none.
SET LOCAL plan_cache_mode = force_custom_plan;

-- name: jobs
-- A page of jobs, newest first: an account's ($1) or everybody's, in some states ($2), created after ($5) and before ($6) a
-- time, whose metadata holds $7, and with an image that meets all of what is asked of one (if $8 says so): its group ($9),
-- provider ($10), model ($11) and the kind of its error ($12). $3 is the last id of the page before.
SELECT id, account, link_key, removed_at, status, run, seq, retry_count, metadata, priority, not_before, deadline_at, deadline_passed, created_at,
       started_at, completed_at
FROM jobs
WHERE ($1::text IS NULL OR account = $1) AND ($2::text[] IS NULL OR status = ANY ($2)) AND ($3::text IS NULL OR id < $3)
  AND ($5::timestamptz IS NULL OR created_at > $5) AND ($6::timestamptz IS NULL OR created_at < $6)
  AND ($7::jsonb IS NULL OR metadata @> $7)
  AND (NOT $8::bool OR EXISTS (SELECT FROM images AS i WHERE i.job_id = jobs.id
                               AND ($9::text IS NULL OR i.image_group = $9) AND ($10::text IS NULL OR i.provider = $10)
                               AND ($11::text IS NULL OR i.model = $11) AND ($12::text IS NULL OR i.error ->> 'kind' = $12)))
ORDER BY id DESC LIMIT $4;

-- name: images
-- A page of images, those of the newest job first and within a job in their order: an account's ($1) or everybody's, in some
-- states ($2), of jobs as in `jobs`, that meet themselves what is asked of one ($8 to $11). $3 and $12 are the job and the
-- position of the last one of the page before.
SELECT i.*, c.known_microusd, c.has_unknown
FROM (
    SELECT j.id AS job_id, j.account, j.link_key, j.removed_at, j.metadata, j.created_at,
           jsonb_array_length(j.outputs) > 0 AS has_outputs,
           i.row_id, i.position, i.id, i.image_group, i.style ->> 'name' AS style, i.status, i.error, i.provider, i.model,
           i.attempt_count, i.retry_count, i.started_at, i.completed_at
    FROM jobs AS j JOIN images AS i ON i.job_id = j.id
    WHERE ($1::text IS NULL OR j.account = $1) AND ($2::text[] IS NULL OR i.status = ANY ($2))
      AND ($3::text IS NULL OR (j.id <= $3 AND (j.id < $3 OR i.position > $12::int)))
      AND ($5::timestamptz IS NULL OR j.created_at > $5) AND ($6::timestamptz IS NULL OR j.created_at < $6)
      AND ($7::jsonb IS NULL OR j.metadata @> $7)
      AND ($8::text IS NULL OR i.image_group = $8) AND ($9::text IS NULL OR i.provider = $9)
      AND ($10::text IS NULL OR i.model = $10) AND ($11::text IS NULL OR i.error ->> 'kind' = $11)
    ORDER BY j.id DESC, i.position LIMIT $4
) AS i
CROSS JOIN LATERAL (
    SELECT coalesce(sum(a.cost_microusd), 0)::bigint AS known_microusd,
           coalesce(bool_or(a.cost_microusd IS NULL AND a.status NOT IN ('sent', 'submitted', 'unbilled')), false) AS has_unknown
    FROM attempts AS a WHERE a.image_row_id = i.row_id
) AS c
ORDER BY i.job_id DESC, i.position;
