-- name: ensure
-- The account is there, with this billing ($2) if it had not been.
INSERT INTO accounts (id, billing) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING;

-- name: page
-- Accounts as they stand, by id: one ($1), or $3 of those after an id ($2). Its balance is in what it is billed in now; the
-- figures of the day are today's, 0 where nothing was counted.
SELECT a.id, a.billing, a.weight, a.max_concurrency, a.max_queued, a.daily_budget_microusd, a.created_at,
       coalesce(b.available, 0) AS available, coalesce(b.held, 0) AS held, coalesce(b.captured, 0) AS captured,
       today() AS day, coalesce(d.held_microusd, 0) AS day_held_microusd, coalesce(d.spent_microusd, 0) AS day_spent_microusd,
       coalesce(d.overage_microusd, 0) AS day_overage_microusd
FROM accounts AS a
LEFT JOIN balances AS b ON b.account = a.id AND b.currency = a.billing
LEFT JOIN account_days AS d ON d.account = a.id AND d.day = today()
WHERE ($1::text IS NULL OR a.id = $1) AND ($2::text IS NULL OR a.id > $2)
ORDER BY a.id LIMIT $3;

-- name: change
-- What an account is billed in ($2), its weight ($3) and its own limits: of concurrency ($5, if $4 says so) and of what
-- waits ($7, if $6 says so).
UPDATE accounts
SET billing = coalesce($2, billing), weight = coalesce($3, weight),
    max_concurrency = CASE WHEN $4 THEN $5 ELSE max_concurrency END,
    max_queued = CASE WHEN $6 THEN $7 ELSE max_queued END
WHERE id = $1
RETURNING id;

-- name: set_budget
UPDATE accounts SET daily_budget_microusd = $2 WHERE id = $1 RETURNING id;

-- name: lock_today
-- Today's calls that count_today is to count, in their order. Asked before the account's row is taken: whoever settles an
-- image has its call first and the account after it.
SELECT FROM attempts AS c
WHERE c.budget_day IS NULL AND c.sent_at >= today()::timestamp AT TIME ZONE 'UTC'
  AND c.image_row_id IN (SELECT i.row_id FROM images AS i JOIN jobs AS j ON j.id = i.job_id WHERE j.account = $1)
ORDER BY c.id FOR NO KEY UPDATE;

-- name: count_today
-- Today's calls of an account that had no budget when they were made count for the one it has now: all in one sum. The
-- account's row is held, so it waits for none that was made since they were locked.
WITH counted AS (
    UPDATE attempts AS c SET is_budgeted = true, budget_day = today()
    WHERE c.id IN (
        SELECT t.id FROM attempts AS t
        WHERE t.budget_day IS NULL AND t.sent_at >= today()::timestamp AT TIME ZONE 'UTC'
          AND t.image_row_id IN (SELECT i.row_id FROM images AS i JOIN jobs AS j ON j.id = i.job_id WHERE j.account = $1)
        FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING held_by(c) AS held, spent_by(c) AS spent, overage_of(c) AS overage
)
SELECT count_on_day($1, today(), sum(held)::bigint, sum(spent)::bigint, sum(overage)::bigint)
FROM counted HAVING count(*) > 0;

-- name: tell_thresholds
-- The thresholds of a budget that was set just now, of what is used already.
UPDATE account_days SET spent_microusd = spent_microusd WHERE account = $1 AND day >= today();
