-- name: insert_endpoint
-- An account's endpoint, unless it has $7 of them already.
INSERT INTO webhook_endpoints (id, account, url, events, retry_seconds, description, created_at)
SELECT $1, $2, $3, $4, $5, $6, safelight.now()
WHERE (SELECT count(*) FROM webhook_endpoints WHERE account = $2 AND job_id IS NULL AND deleted_at IS NULL) < $7
RETURNING id;

-- name: endpoints
-- An account's endpoints, oldest first, without those of its jobs.
SELECT id, job_id, url, events, retry_seconds, description, created_at, disabled_at, disabled_reason, failing_since
FROM webhook_endpoints WHERE account = $1 AND job_id IS NULL AND deleted_at IS NULL ORDER BY id;

-- name: endpoint
SELECT id, job_id, url, events, retry_seconds, description, created_at, disabled_at, disabled_reason, failing_since
FROM webhook_endpoints WHERE id = $2 AND account = $1 AND deleted_at IS NULL;

-- name: lock_endpoint
SELECT id, job_id, disabled_at IS NOT NULL AS is_disabled
FROM webhook_endpoints WHERE id = $2 AND account = $1 AND deleted_at IS NULL FOR NO KEY UPDATE;

-- name: change_endpoint
-- What is said of an endpoint is changed; $7 lets it hear again, and counts its failures anew.
UPDATE webhook_endpoints
SET url = $3, events = $4, retry_seconds = $5, description = $6,
    disabled_at = CASE WHEN $7 THEN NULL ELSE disabled_at END,
    disabled_reason = CASE WHEN $7 THEN NULL ELSE disabled_reason END,
    failing_since = CASE WHEN $7 OR url <> $3 THEN NULL ELSE failing_since END
WHERE id = $2 AND account = $1 AND deleted_at IS NULL
RETURNING id;

-- name: delete_endpoint
-- Nothing more is sent to it, and its secrets are gone. Its lanes are due, so that what they hold is given up.
WITH endpoint AS (
    UPDATE webhook_endpoints SET deleted_at = safelight.now() WHERE id = $2 AND account = $1 AND deleted_at IS NULL
    RETURNING id
), forgotten AS (
    DELETE FROM webhook_secrets WHERE endpoint_id IN (SELECT id FROM endpoint)
), hastened AS (
    UPDATE webhook_lanes SET next_at = safelight.now()
    WHERE endpoint_id IN (SELECT id FROM endpoint) AND claim_token IS NULL AND next_at > safelight.now()
)
SELECT id FROM endpoint;

-- name: lock_secrets
-- One rotation at a time of an endpoint's secret, or of an account's default.
SELECT pg_advisory_xact_lock(hashtextextended('safelight.webhook_secrets ' || $1 || ' ' || coalesce($2::text, ''), 0));

-- name: drop_expiring_secret
-- The secret before the newest one signs no more: two are the most.
DELETE FROM webhook_secrets WHERE account = $1 AND endpoint_id IS NOT DISTINCT FROM $2 AND expires_at IS NOT NULL;

-- name: expire_secret
-- The newest secret signs beside its successor for $3 seconds.
UPDATE webhook_secrets SET expires_at = safelight.now() + make_interval(secs => $3)
WHERE account = $1 AND endpoint_id IS NOT DISTINCT FROM $2 AND expires_at IS NULL
RETURNING expires_at;

-- name: insert_secret
-- Nothing happens when there is one that does not expire.
INSERT INTO webhook_secrets (account, endpoint_id, ciphertext, created_at) VALUES ($1, $2, $3, safelight.now())
ON CONFLICT DO NOTHING;

-- name: put_secret
-- The newest secret is this one. A default that a courier has made meanwhile, which nobody was shown, gives way.
INSERT INTO webhook_secrets (account, endpoint_id, ciphertext, created_at) VALUES ($1, $2, $3, safelight.now())
ON CONFLICT (account, coalesce(endpoint_id, ''), (expires_at IS NULL)) DO UPDATE
SET ciphertext = EXCLUDED.ciphertext, created_at = EXCLUDED.created_at;

-- name: sealed_secrets
-- Every secret that still signs, with the one before it: of endpoints, and of accounts (endpoint_id NULL).
SELECT account, endpoint_id, array_agg(ciphertext ORDER BY id DESC) AS ciphertexts
FROM webhook_secrets WHERE expires_at IS NULL OR expires_at > safelight.now()
GROUP BY account, endpoint_id ORDER BY account, endpoint_id;

-- name: deliveries
-- Messages of an account, newest first: those before id $2; of an endpoint, a job, in a state.
SELECT d.id, d.message_id, d.endpoint_id, d.type, d.job_id, d.seq, d.status, d.attempt_count, d.created_at,
       CASE WHEN d.status = 'pending' THEN d.due_at END AS due_at, d.attempted_at,
       CASE WHEN d.status = 'delivered' THEN d.ended_at END AS delivered_at, d.http_status, d.error, d.reply
FROM deliveries AS d
WHERE d.account = $1 AND d.id < coalesce($2, 9223372036854775807)
  AND ($3::text IS NULL OR d.endpoint_id = $3) AND ($4::text IS NULL OR d.job_id = $4)
  AND ($5::text IS NULL OR d.status = $5)
ORDER BY d.id DESC LIMIT $6;

-- name: delivery
SELECT d.id, d.message_id, d.endpoint_id, d.type, d.job_id, d.seq, d.status, d.attempt_count, d.created_at,
       CASE WHEN d.status = 'pending' THEN d.due_at END AS due_at, d.attempted_at,
       CASE WHEN d.status = 'delivered' THEN d.ended_at END AS delivered_at, d.http_status, d.error, d.reply
FROM deliveries AS d WHERE d.account = $1 AND d.message_id = $2;

-- name: redeliver
-- The message is sent again from the beginning, under its own id and in its own place, and its lane is due at once. Nothing
-- comes back when its endpoint is closed. The lane is locked before the message, as by whoever sends it.
WITH laned AS (
    INSERT INTO webhook_lanes AS l (endpoint_id, lane, site, next_at)
    SELECT d.endpoint_id, d.lane, e.site, safelight.now()
    FROM deliveries AS d JOIN webhook_endpoints AS e ON e.id = d.endpoint_id AND e.account = d.account
    WHERE d.id = $1 AND d.account = $2 AND e.disabled_at IS NULL AND e.deleted_at IS NULL
    ON CONFLICT (endpoint_id, lane) DO UPDATE
    SET revision = l.revision + 1, site = EXCLUDED.site,
        next_at = CASE WHEN l.claim_token IS NULL THEN EXCLUDED.next_at ELSE l.next_at END
    RETURNING l.lane
)
UPDATE deliveries
SET status = 'pending', attempt_count = 0, wanted_at = safelight.now(), due_at = safelight.now(), ended_at = NULL,
    http_status = NULL, error = NULL, reply = NULL
FROM laned
WHERE id = $1 AND status IN ('pending', 'delivered', 'dead')
RETURNING id;

-- name: post_test
-- A message that says nothing, to see whether it arrives.
WITH endpoint AS (
    SELECT id, account, site FROM webhook_endpoints
    WHERE id = $2 AND account = $1 AND disabled_at IS NULL AND deleted_at IS NULL
), posted AS (
    INSERT INTO deliveries (account, endpoint_id, lane, type, created_at, wanted_at, due_at)
    SELECT account, id, 'tests', 'webhook.test', safelight.now(), safelight.now(), safelight.now() FROM endpoint
    RETURNING message_id
), laned AS (
    INSERT INTO webhook_lanes AS l (endpoint_id, lane, site, next_at)
    SELECT id, 'tests', site, safelight.now() FROM endpoint
    ON CONFLICT (endpoint_id, lane) DO UPDATE
    SET revision = l.revision + 1, site = EXCLUDED.site,
        next_at = CASE WHEN l.claim_token IS NULL THEN EXCLUDED.next_at ELSE l.next_at END
)
SELECT message_id FROM posted;
