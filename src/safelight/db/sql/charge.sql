-- name: payer_of_job
-- Who pays for a job, with what, and what bounds it.
SELECT j.account, a.billing, a.daily_budget_microusd, j.max_cost_microusd
FROM jobs AS j LEFT JOIN accounts AS a ON a.id = j.account WHERE j.id = $1;

-- name: payer
SELECT billing, daily_budget_microusd FROM accounts WHERE id = $1;

-- name: account_of_job
SELECT account FROM jobs WHERE id = $1;

-- name: limit_job
-- What the calls of a job that was just created may cost.
UPDATE jobs SET max_cost_microusd = $2 WHERE id = $1;

-- name: take_account
-- The account's row is this transaction's: first, before anything of its money is read or written.
SELECT take_account($1);

-- name: open_books
SELECT open_books($1, $2);

-- name: reserve
-- Images of a locked job ($2, by position) set estimates aside ($3) for their next call: of the job's budget, and of the
-- account's ($4 = whether it has one) on the day when the run begins. The answer is that day.
UPDATE images AS i
SET reserved_microusd = q.amount,
    reserved_on = CASE WHEN $4 THEN greatest(today(), (j.run_started_at AT TIME ZONE 'UTC')::date) END
FROM unnest($2::int[], $3::bigint[]) AS q (position, amount), jobs AS j
WHERE j.id = $1 AND i.job_id = j.id AND i.position = q.position
RETURNING i.reserved_on;

-- name: leeway_of_job
-- What the budgets of a job and of its account on a day ($2) have left, with all that is reserved taken off; NULL where
-- there is no budget.
SELECT j.max_cost_microusd
       - (SELECT coalesce(sum(i.reserved_microusd), 0)::bigint FROM images AS i
          WHERE i.job_id = j.id AND i.status IN ('queued', 'processing', 'generating', 'uploading'))
       - (SELECT coalesce(sum(held_by(c) + spent_by(c)), 0)::bigint
          FROM attempts AS c JOIN images AS i ON i.row_id = c.image_row_id WHERE i.job_id = j.id) AS job_left_microusd,
       a.daily_budget_microusd
       - coalesce((SELECT d.held_microusd + d.spent_microusd FROM account_days AS d
                   WHERE d.account = j.account AND d.day = coalesce($2, today())), 0) AS day_left_microusd
FROM jobs AS j JOIN accounts AS a ON a.id = j.account WHERE j.id = $1;

-- name: room_for_call
-- What the budgets of a job and of its account today would have left with the next call of an image in the place of what the
-- image has set aside; NULL where there is no budget, or no estimate. No row when the lease is lost, or it was asked to stop.
SELECT i.estimate_microusd, today() AS day,
       j.max_cost_microusd - i.estimate_microusd
       - (SELECT coalesce(sum(o.reserved_microusd), 0)::bigint FROM images AS o
          WHERE o.job_id = j.id AND o.row_id <> i.row_id
            AND o.status IN ('queued', 'processing', 'generating', 'uploading'))
       - (SELECT coalesce(sum(held_by(c) + spent_by(c)), 0)::bigint
          FROM attempts AS c JOIN images AS o ON o.row_id = c.image_row_id WHERE o.job_id = j.id) AS job_left_microusd,
       a.daily_budget_microusd - i.estimate_microusd
       - coalesce((SELECT d.held_microusd + d.spent_microusd FROM account_days AS d
                   WHERE d.account = j.account AND d.day = today()), 0)
       + CASE WHEN i.reserved_on = today() THEN reserved_by(i) ELSE 0 END AS day_left_microusd
FROM images AS i JOIN jobs AS j ON j.id = i.job_id JOIN accounts AS a ON a.id = j.account
WHERE i.row_id = $1 AND i.status = 'processing' AND i.claim_token = $2 AND i.stop IS NULL;

-- name: cover_call
-- An image that is about to be bought has exactly its estimate set aside, of the budget of the day ($3) that it was asked
-- of, if there is one.
UPDATE images AS i
SET reserved_microusd = coalesce(i.estimate_microusd, 0),
    reserved_on = CASE WHEN a.daily_budget_microusd IS NOT NULL THEN $3::date END
FROM jobs AS j JOIN accounts AS a ON a.id = j.account
WHERE i.row_id = $1 AND i.status = 'processing' AND i.claim_token = $2 AND i.stop IS NULL AND j.id = i.job_id;

-- name: hold
-- What the pictures of a locked job ($3, by position) are to cost ($4) is held, all of it or nothing: one conditional
-- update of the balance, and an entry for each. `is_covered` is false when less is available, which is told.
WITH quoted AS (
    UPDATE images AS i SET quote = q.amount FROM unnest($3::int[], $4::bigint[]) AS q (position, amount)
    WHERE i.job_id = $1 AND i.position = q.position
    RETURNING i.row_id, i.run, i.position, i.quote
), total AS (
    SELECT coalesce(sum(quote), 0)::bigint AS amount FROM quoted
), paid_with AS (
    UPDATE jobs SET currency = $2 WHERE id = $1 RETURNING account
), before AS (
    SELECT b.available FROM balances AS b WHERE b.account = (SELECT account FROM paid_with) AND b.currency = $2
), paid AS (
    UPDATE balances AS b SET available = b.available - t.amount, held = b.held + t.amount
    FROM total AS t, paid_with AS p
    WHERE b.account = p.account AND b.currency = $2 AND b.available >= t.amount
    RETURNING b.account, b.available + t.amount AS available, b.held - t.amount AS held
), held AS (
    INSERT INTO holds (account, currency, job_id, image_row_id, run, amount, created_at)
    SELECT p.account, $2, $1, q.row_id, q.run, q.quote, safelight.now()
    FROM quoted AS q, paid AS p WHERE q.quote > 0 ORDER BY q.position
    RETURNING id, amount
), entered AS (
    INSERT INTO ledger (at, account, currency, kind, debit, credit, amount, available_after, held_after, hold_id)
    SELECT safelight.now(), p.account, $2, 'hold', 'available', 'held', h.amount,
           p.available - sum(h.amount) OVER by_id, p.held + sum(h.amount) OVER by_id, h.id
    FROM held AS h, paid AS p
    WINDOW by_id AS (ORDER BY h.id)
    ORDER BY h.id
)
SELECT EXISTS (SELECT FROM paid) AS is_covered, (SELECT amount FROM total) AS asked, (SELECT available FROM before) AS available;

-- name: tell_exhausted
-- A day's budget is used up: what was asked for last did not fit, nor would anything smaller. Told like a threshold.
WITH told AS (
    INSERT INTO account_days AS d (account, day, told_of_microusd, told_percent)
    SELECT a.id, $2, a.daily_budget_microusd, 100 FROM accounts AS a WHERE a.id = $1 AND a.daily_budget_microusd IS NOT NULL
    ON CONFLICT (account, day) DO UPDATE SET told_of_microusd = EXCLUDED.told_of_microusd, told_percent = 100
    WHERE d.told_of_microusd IS DISTINCT FROM EXCLUDED.told_of_microusd OR d.told_percent < 100
    RETURNING d.*
), turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(hashtext('safelight.notices')) FROM told
)
INSERT INTO notices (at, type, account, data)
SELECT safelight.now(), 'budget.threshold', account,
       jsonb_build_object('percent', 100, 'day', day, 'budget_usd', usd(told_of_microusd),
                          'used_usd', usd(held_microusd + spent_microusd))
FROM told WHERE EXISTS (SELECT FROM turn);

-- name: late_holds
-- What is still held for images that have ended, and is not to be: of unknown outcome for longer than $1 seconds, or ended
-- otherwise, or in a run that is over.
SELECT h.job_id, h.image_row_id, h.run FROM holds AS h JOIN images AS i ON i.row_id = h.image_row_id
WHERE h.status = 'held'
  AND (h.run <> i.run OR i.status IN ('completed', 'failed', 'refused', 'canceled')
       OR (i.status = 'uncertain' AND i.completed_at <= safelight.now() - make_interval(secs => $1)));

-- name: resolve_late_hold
-- Asked again under the job's lock: a late picture may have opened the image meanwhile.
SELECT resolve_hold(i.row_id, $2, i.run = $2 AND i.status = 'completed') FROM images AS i
WHERE i.row_id = $1
  AND (i.run <> $2 OR i.status IN ('completed', 'failed', 'refused', 'canceled')
       OR (i.status = 'uncertain' AND i.completed_at <= safelight.now() - make_interval(secs => $3)));
