-- Everything that the books hold of a run, for whoever judges it from outside. No prompt leaves: only its SHA-256.

-- name: jobs
-- `outputs`: the names of what each of its images is to have.
SELECT id, account, idempotency_key, status, run, seq, removed_at IS NOT NULL AS is_removed,
       ARRAY(SELECT o.value ->> 'name' FROM jsonb_array_elements(j.outputs) WITH ORDINALITY AS o (value, place)
             ORDER BY o.place) AS outputs
FROM jobs AS j ORDER BY id;

-- name: images
-- `prompts_sha256`: of every prompt that a call for it may have been made with.
SELECT row_id, job_id, id, status, run, max_attempts, max_rebuys, on_uncertain, on_refusal,
       claim_token IS NOT NULL AS is_claimed, error ->> 'code' AS error_code,
       ARRAY(SELECT encode(sha256(convert_to(p.prompt, 'UTF8')), 'hex')
             FROM unnest(ARRAY[i.prompt, i.original_prompt, i.alternate_prompt]) AS p (prompt)
             WHERE p.prompt IS NOT NULL) AS prompts_sha256
FROM images AS i ORDER BY row_id;

-- name: attempts
SELECT id, image_row_id, number, run, status, fingerprint, sent_at, resolve_at, ended_at,
       submitted_at IS NOT NULL AS has_handle, estimate_microusd, cost_microusd, error_code, sha256
FROM attempts ORDER BY image_row_id, number;

-- name: events
SELECT job_id, seq, type, image_id, created_at AS at, coalesce((data ->> 'late')::boolean, false) AS is_late
FROM events ORDER BY job_id, seq;

-- name: messages
SELECT message_id, endpoint_id, type, job_id, seq, status, attempt_count FROM deliveries ORDER BY id;

-- name: renditions
-- Of images and uploads: everything that the store is to hold. What was removed is no longer to be there.
SELECT r.image_row_id AS row_id, r.name, r.key, r.mime, r.length, r.sha256, r.is_internal
FROM renditions AS r JOIN images AS i ON i.row_id = r.image_row_id JOIN jobs AS j ON j.id = i.job_id
WHERE j.removed_at IS NULL
UNION ALL
SELECT NULL, u.id, u.key, u.mime, u.length, u.sha256, true FROM uploads AS u WHERE u.stored_at IS NOT NULL
ORDER BY key;

-- name: holds
SELECT id, account, currency, job_id, image_row_id, run, amount, status FROM holds ORDER BY id;

-- name: ledger
SELECT id, account, currency, kind, debit, credit, amount, available_after, held_after, hold_id FROM ledger ORDER BY id;

-- name: balances
SELECT account, currency, available, held, captured FROM balances ORDER BY account, currency;

-- name: queue
SELECT id, status::text AS status FROM pgqueuer ORDER BY id;
