-- name: insert_job
-- Creates the job unless its idempotency key is taken; then no row comes back.
INSERT INTO jobs (id, account, idempotency_key, request_fingerprint, storage_prefix, outputs, metadata,
                  deadline_seconds, on_deadline, run_started_at, deadline_at, run_ends_at, created_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, t.at, t.at + make_interval(secs => $8),
       t.at + make_interval(secs => CASE $9 WHEN 'fail' THEN $8 ELSE $10 END), t.at
FROM (SELECT safelight.now() AS at) AS t
ON CONFLICT (account, idempotency_key) DO NOTHING
RETURNING id;

-- name: insert_images
-- The images of a job that was just created, all queued and due at once.
INSERT INTO images (job_id, position, id, image_group, provider, model, prompt, options, fingerprint, estimate_microusd,
                    timeout_seconds, max_attempts, max_rebuys, on_uncertain, targets, on_refusal, alternate_prompt,
                    not_before, created_at, changed_at)
SELECT j.id, i.position, i.id, i.image_group, i.provider, i.model, i.prompt, i.options, i.fingerprint,
       i.estimate_microusd, i.timeout_seconds, i.max_attempts, i.max_rebuys, i.on_uncertain, i.targets::jsonb, i.on_refusal, i.alternate_prompt,
       j.run_started_at, j.created_at, j.created_at
FROM jobs AS j,
     unnest($2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::text[],
            $10::bigint[], $11::float8[], $12::int[], $13::int[], $14::text[], $15::text[], $16::text[], $17::text[])
     AS i (position, id, image_group, provider, model, prompt, options, fingerprint, estimate_microusd,
           timeout_seconds, max_attempts, max_rebuys, on_uncertain, targets, on_refusal, alternate_prompt)
WHERE j.id = $1;

-- name: job_of_key
-- The job that an idempotency key belongs to, and what its request was.
SELECT id, request_fingerprint FROM jobs WHERE account = $1 AND idempotency_key = $2;

-- name: job_exists
-- Whether a submit whose answer was lost has come through.
SELECT true FROM jobs WHERE id = $1;
