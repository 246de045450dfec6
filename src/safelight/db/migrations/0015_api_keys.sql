-- API keys. The key itself is nowhere: only its SHA-256. A revoked key keeps its row, so that an installation that once had
-- keys never runs open again.

CREATE TABLE api_keys (
    id           text PRIMARY KEY CHECK (id ~ '^key_[0-9A-HJKMNP-TV-Z]{26}$'),
    account      text NOT NULL REFERENCES accounts (id),
    name         text CHECK (length(name) BETWEEN 1 AND 200),
    scopes       text[] NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'submit', 'admin']),
    digest       bytea NOT NULL CHECK (octet_length(digest) = 32),
    created_at   timestamptz NOT NULL DEFAULT safelight.now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz
);
CREATE INDEX api_keys_of_account ON api_keys (account, id);
COMMENT ON COLUMN api_keys.last_used_at IS 'a minute old at most while the key is in use';
