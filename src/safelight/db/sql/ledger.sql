-- name: entry_of_key
SELECT id, kind, debit, amount, currency, reason FROM ledger WHERE account = $1 AND idempotency_key = $2;

-- name: add_credit
-- Money comes from outside, or goes back there ($4 < 0), unless less than that is available: then no row comes back. The
-- account's books are open.
WITH moved AS (
    UPDATE balances SET available = available + $4
    WHERE account = $1 AND currency = $2 AND available + $4 >= 0
    RETURNING available, held
)
INSERT INTO ledger (at, account, currency, kind, debit, credit, amount, available_after, held_after, reason, idempotency_key)
SELECT safelight.now(), $1, $2, $3, CASE WHEN $4 > 0 THEN 'outside' ELSE 'available' END,
       CASE WHEN $4 > 0 THEN 'available' ELSE 'outside' END, abs($4), m.available, m.held, $5, $6
FROM moved AS m
RETURNING id;

-- name: available
SELECT available FROM balances WHERE account = $1 AND currency = $2;

-- name: statement
-- Entries of an account, newest first: $3 of those before $2, each with the balance after it, and whose picture it was for.
SELECT l.id, l.at, l.currency, l.kind, l.debit, l.credit, l.amount, l.available_after, l.held_after, l.reason,
       h.job_id, i.id AS image_id, h.run
FROM ledger AS l
LEFT JOIN holds AS h ON h.id = l.hold_id
LEFT JOIN images AS i ON i.row_id = h.image_row_id
WHERE l.account = $1 AND ($2::bigint IS NULL OR l.id < $2) ORDER BY l.id DESC LIMIT $3;

-- name: statement_of_job
-- The same for the pictures of one job alone. The kinds are asked for one by one since each has its own index.
WITH moves AS (
    SELECT l.*, h.job_id, h.image_row_id, h.run
    FROM holds AS h JOIN ledger AS l ON l.hold_id = h.id AND l.kind = 'hold' WHERE h.job_id = $4
    UNION ALL
    SELECT l.*, h.job_id, h.image_row_id, h.run
    FROM holds AS h JOIN ledger AS l ON l.hold_id = h.id AND l.kind IN ('capture', 'release') WHERE h.job_id = $4
)
SELECT m.id, m.at, m.currency, m.kind, m.debit, m.credit, m.amount, m.available_after, m.held_after, m.reason,
       m.job_id, i.id AS image_id, m.run
FROM moves AS m
JOIN images AS i ON i.row_id = m.image_row_id
WHERE m.account = $1 AND ($2::bigint IS NULL OR m.id < $2) ORDER BY m.id DESC LIMIT $3;

-- name: entry
SELECT l.id, l.at, l.currency, l.kind, l.debit, l.credit, l.amount, l.available_after, l.held_after, l.reason,
       h.job_id, i.id AS image_id, h.run
FROM ledger AS l
LEFT JOIN holds AS h ON h.id = l.hold_id
LEFT JOIN images AS i ON i.row_id = h.image_row_id
WHERE l.id = $1;

-- name: disagreements
-- Where the books do not balance, in words, none when they do: a balance that is not the sum of its entries, a hold whose
-- entries do not say what became of it, a day whose figures are not those of its images and calls.
WITH moves AS (
    SELECT account, currency, debit AS book, -amount AS amount FROM ledger
    UNION ALL SELECT account, currency, credit, amount FROM ledger
), sums AS (
    SELECT account, currency, coalesce(sum(amount) FILTER (WHERE book = 'available'), 0) AS available,
           coalesce(sum(amount) FILTER (WHERE book = 'held'), 0) AS held,
           coalesce(sum(amount) FILTER (WHERE book = 'captured'), 0) AS captured
    FROM moves GROUP BY account, currency
), days AS (
    SELECT f.account, f.day, sum(f.held) AS held, sum(f.spent) AS spent
    FROM (SELECT j.account, i.reserved_on AS day, reserved_by(i) AS held, 0::bigint AS spent
          FROM images AS i JOIN jobs AS j ON j.id = i.job_id WHERE i.reserved_on IS NOT NULL
          UNION ALL
          SELECT j.account, c.budget_day, held_by(c), spent_by(c)
          FROM attempts AS c JOIN images AS i ON i.row_id = c.image_row_id JOIN jobs AS j ON j.id = i.job_id
          WHERE c.budget_day IS NOT NULL) AS f
    GROUP BY f.account, f.day
)
SELECT 'balance' AS what, coalesce(b.account, s.account) AS account
FROM balances AS b FULL JOIN sums AS s ON s.account = b.account AND s.currency = b.currency
WHERE (coalesce(b.available, 0), coalesce(b.held, 0), coalesce(b.captured, 0))
      IS DISTINCT FROM (coalesce(s.available, 0), coalesce(s.held, 0), coalesce(s.captured, 0))
UNION ALL
SELECT 'hold', h.account FROM holds AS h
WHERE NOT EXISTS (SELECT FROM ledger AS l WHERE l.hold_id = h.id AND l.kind = 'hold' AND l.amount = h.amount)
   OR (h.status <> 'held') IS DISTINCT FROM
      EXISTS (SELECT FROM ledger AS l WHERE l.hold_id = h.id AND l.amount = h.amount
              AND l.kind = CASE h.status WHEN 'captured' THEN 'capture' ELSE 'release' END)
UNION ALL
SELECT 'day', coalesce(d.account, f.account)
FROM account_days AS d FULL JOIN days AS f ON f.account = d.account AND f.day = d.day
WHERE (coalesce(d.held_microusd, 0), coalesce(d.spent_microusd, 0)) IS DISTINCT FROM (coalesce(f.held, 0), coalesce(f.spent, 0));

-- name: open_holds
-- What is held, and for whom nobody knows the outcome.
SELECT count(*)::int AS open, count(*) FILTER (WHERE i.status = 'uncertain')::int AS uncertain,
       (SELECT count(*)::int FROM accounts WHERE billing <> 'none') AS accounts
FROM holds AS h JOIN images AS i ON i.row_id = h.image_row_id WHERE h.status = 'held';
