-- Accounts: who pays, how much of what runs is theirs, and what they may spend.

CREATE TABLE accounts (
    id                    text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    billing               text NOT NULL DEFAULT 'none' CHECK (billing IN ('none', 'credits', 'usd')),
    weight                int NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 100),
    max_concurrency       int CHECK (max_concurrency >= 1),
    daily_budget_microusd bigint CHECK (daily_budget_microusd >= 0),
    created_at            timestamptz NOT NULL DEFAULT safelight.now()
);
COMMENT ON COLUMN accounts.billing IS 'what a job is paid with in advance; none: nothing is held';
COMMENT ON COLUMN accounts.weight IS 'its share of what runs, beside those of others who wait';
COMMENT ON COLUMN accounts.max_concurrency IS 'its images that are being made at once; NULL: no limit of its own';

INSERT INTO accounts (id) SELECT 'default' UNION SELECT DISTINCT account FROM jobs;
