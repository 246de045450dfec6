-- name: insert_job
-- Creates the job unless its idempotency key is taken; then no row comes back. Its run begins now, or at $12. Who pays for
-- it is told along with it; NULL: there is no such account yet. And how many images have ever been inserted, at least
-- those that are committed.
INSERT INTO jobs (id, account, idempotency_key, request_fingerprint, storage_prefix, outputs, metadata,
                  deadline_seconds, on_deadline, run_started_at, deadline_at, run_ends_at, created_at, priority,
                  not_before, trace_context)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, t.begins_at, t.begins_at + make_interval(secs => $8),
       t.begins_at + make_interval(secs => CASE $9 WHEN 'fail' THEN $8 ELSE $10 END), safelight.now(), $11, $12,
       $13
FROM (SELECT greatest(safelight.now(), $12::timestamptz) AS begins_at) AS t
ON CONFLICT (account, idempotency_key) DO NOTHING
RETURNING id, (SELECT a.billing FROM accounts AS a WHERE a.id = jobs.account) AS billing,
          (SELECT a.daily_budget_microusd FROM accounts AS a WHERE a.id = jobs.account) AS daily_budget_microusd,
          (SELECT a.max_queued FROM accounts AS a WHERE a.id = jobs.account) AS max_queued,
          coalesce(pg_sequence_last_value('images_row_id_seq'), 0) AS inserted;

-- name: count_queued
-- Images that wait, counted as far as $1.
SELECT count(*) FROM (SELECT FROM images WHERE lower(status) = 'queued' LIMIT $1) AS counted;

-- name: count_queued_of
-- Images of an account ($1) that wait, counted as far as $2.
SELECT count(*) FROM (SELECT FROM images WHERE account = $1 AND lower(status) = 'queued' LIMIT $2) AS counted;

-- name: insert_images
-- The images of a job that was just created, all queued and due when its run begins.
INSERT INTO images (job_id, position, id, image_group, provider, model, prompt, options, fingerprint, estimate_microusd,
                    timeout_seconds, max_attempts, max_rebuys, on_uncertain, targets, on_refusal, alternate_prompt,
                    awaits_parents, style, priority, not_before, created_at, changed_at, account)
SELECT j.id, i.position, i.id, i.image_group, i.provider, i.model, i.prompt, i.options, i.fingerprint,
       i.estimate_microusd, i.timeout_seconds, i.max_attempts, i.max_rebuys, i.on_uncertain, i.targets::jsonb, i.on_refusal, i.alternate_prompt,
       i.awaits_parents, i.style, j.priority, j.run_started_at, j.created_at, j.created_at,
       j.account
FROM jobs AS j,
     unnest($2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::text[],
            $10::bigint[], $11::float8[], $12::int[], $13::int[], $14::text[], $15::text[], $16::text[], $17::text[],
            $18::bool[], $19::jsonb[])
     AS i (position, id, image_group, provider, model, prompt, options, fingerprint, estimate_microusd,
           timeout_seconds, max_attempts, max_rebuys, on_uncertain, targets, on_refusal, alternate_prompt, awaits_parents,
           style)
WHERE j.id = $1;

-- name: insert_references
-- Which of the job's images ($2, by position) takes which pictures in which order ($3): those of others ($4, by position),
-- of uploads ($6) or of addresses ($7).
INSERT INTO image_references (child_row_id, position, parent_row_id, role, upload_id, url, is_mask)
SELECT child.row_id, r.position, parent.row_id, r.role, r.upload_id, r.url, r.is_mask
FROM unnest($2::int[], $3::int[], $4::int[], $5::text[], $6::text[], $7::text[], $8::bool[])
     AS r (child, position, parent, role, upload_id, url, is_mask)
JOIN images AS child ON child.job_id = $1 AND child.position = r.child
LEFT JOIN images AS parent ON parent.job_id = $1 AND parent.position = r.parent;

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
