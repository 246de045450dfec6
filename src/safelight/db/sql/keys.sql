-- name: is_any
-- Whether there is, or ever was, a key.
SELECT EXISTS (SELECT FROM api_keys);

-- name: insert_key
-- A key for an account that exists; no row comes back when it would have expired already.
INSERT INTO api_keys (id, account, name, scopes, digest, created_at, expires_at)
SELECT $1, $2, $3, $4::text[], $5, safelight.now(), $6::timestamptz
WHERE $6::timestamptz IS NULL OR $6::timestamptz > safelight.now()
RETURNING id, account, name, scopes, created_at, expires_at, revoked_at, last_used_at;

-- name: keys_page
-- A page of keys, newest first: of one account ($1) or of all, before an id ($2).
SELECT id, account, name, scopes, created_at, expires_at, revoked_at, last_used_at FROM api_keys
WHERE ($1::text IS NULL OR account = $1) AND ($2::text IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3;

-- name: revoke_key
-- A key is refused from now on. One that was revoked before stays so since then.
WITH revoked AS (
    UPDATE api_keys SET revoked_at = safelight.now() WHERE id = $1 AND revoked_at IS NULL RETURNING id
)
SELECT id FROM revoked UNION ALL SELECT id FROM api_keys WHERE id = $1 LIMIT 1;

-- name: key
-- A key as a request needs it, with the seconds until it expires. That it was used is written down once a minute at most, and
-- only when what came has its digest ($2).
WITH used AS (
    UPDATE api_keys SET last_used_at = safelight.now()
    WHERE id = $1 AND digest = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > safelight.now())
      AND (last_used_at IS NULL OR last_used_at < safelight.now() - interval '60 seconds')
)
SELECT account, scopes, digest, revoked_at IS NOT NULL AS is_revoked,
       extract(epoch FROM expires_at - safelight.now())::float8 AS expires_in_seconds
FROM api_keys WHERE id = $1;
