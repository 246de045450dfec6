-- name: styles_of_account
-- The account's own, by name.
SELECT name, description, prefix, suffix, negative_prompt, version, created_at, updated_at
FROM styles WHERE account = $1 ORDER BY name;

-- name: style
SELECT name, description, prefix, suffix, negative_prompt, version, created_at, updated_at
FROM styles WHERE account = $1 AND name = $2;

-- name: lock_styles
-- One change of an account's styles at a time, so that what a change was made on condition of still holds.
SELECT pg_advisory_xact_lock(hashtext('safelight.styles'), hashtext($1));

-- name: count_styles
SELECT count(*)::int FROM styles WHERE account = $1;

-- name: insert_style
INSERT INTO styles (account, name, description, prefix, suffix, negative_prompt, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, safelight.now(), safelight.now())
RETURNING name, description, prefix, suffix, negative_prompt, version, created_at, updated_at;

-- name: replace_style
-- Other words under the same name, over the version that was seen ($7).
UPDATE styles
SET description = $3, prefix = $4, suffix = $5, negative_prompt = $6, version = version + 1, updated_at = safelight.now()
WHERE account = $1 AND name = $2 AND version = $7
RETURNING name, description, prefix, suffix, negative_prompt, version, created_at, updated_at;

-- name: delete_style
DELETE FROM styles WHERE account = $1 AND name = $2 AND version = $3 RETURNING name;
