-- name: insert_job
-- Creates the job unless its idempotency key is taken; then no row comes back. Its run begins now, or at $12.
INSERT INTO jobs (id, account, idempotency_key, request_fingerprint, storage_prefix, outputs, metadata,
                  deadline_seconds, on_deadline, run_started_at, deadline_at, run_ends_at, created_at, priority,
                  not_before)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, t.begins_at, t.begins_at + make_interval(secs => $8),
       t.begins_at + make_interval(secs => CASE $9 WHEN 'fail' THEN $8 ELSE $10 END), safelight.now(), $11, $12
FROM (SELECT greatest(safelight.now(), $12::timestamptz) AS begins_at) AS t
ON CONFLICT (account, idempotency_key) DO NOTHING
RETURNING id;

-- name: insert_images
-- The images of a job that was just created, all queued and due when its run begins.
INSERT INTO images (job_id, position, id, image_group, provider, model, prompt, options, fingerprint, estimate_microusd,
                    timeout_seconds, max_attempts, max_rebuys, on_uncertain, targets, on_refusal, alternate_prompt,
                    awaits_parents, style, priority, not_before, created_at, changed_at)
SELECT j.id, i.position, i.id, i.image_group, i.provider, i.model, i.prompt, i.options, i.fingerprint,
       i.estimate_microusd, i.timeout_seconds, i.max_attempts, i.max_rebuys, i.on_uncertain, i.targets::jsonb, i.on_refusal, i.alternate_prompt,
       i.awaits_parents, i.style, j.priority, j.run_started_at, j.created_at, j.created_at
FROM jobs AS j,
     unnest($2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::text[],
            $10::bigint[], $11::float8[], $12::int[], $13::int[], $14::text[], $15::text[], $16::text[], $17::text[],
            $18::bool[], $19::jsonb[])
     AS i (position, id, image_group, provider, model, prompt, options, fingerprint, estimate_microusd,
           timeout_seconds, max_attempts, max_rebuys, on_uncertain, targets, on_refusal, alternate_prompt, awaits_parents,
           style)
WHERE j.id = $1;

-- name: insert_references
-- Which of the job's images ($2, by position) takes the pictures of which others ($4), in which order ($3).
INSERT INTO image_references (child_row_id, position, parent_row_id, role)
SELECT child.row_id, r.position, parent.row_id, r.role
FROM unnest($2::int[], $3::int[], $4::int[], $5::text[]) AS r (child, position, parent, role)
JOIN images AS child ON child.job_id = $1 AND child.position = r.child
JOIN images AS parent ON parent.job_id = $1 AND parent.position = r.parent;

-- name: insert_webhook
-- Where the events of a job that was just created are posted to.
INSERT INTO webhook_endpoints (id, account, job_id, url, events, created_at)
VALUES ($1, $2, $3, $4, $5, safelight.now());

-- name: job_of_key
-- The job that an idempotency key belongs to, and what its request was.
SELECT id, request_fingerprint FROM jobs WHERE account = $1 AND idempotency_key = $2;

-- name: job_exists
-- Whether a submit whose answer was lost has come through.
SELECT true FROM jobs WHERE id = $1;
