-- name: standing
-- Who would pay for a job of an account ($1) whose run begins now, or at $2: what is there of its money, and what of its budget
-- is used on that day. No billing: there is no such account yet. And how many images have ever been inserted, at least
-- those that are committed.
SELECT a.billing, a.daily_budget_microusd, a.max_queued, coalesce(b.available, 0) AS available, t.day,
       coalesce(d.held_microusd + d.spent_microusd, 0) AS day_used_microusd, safelight.now() AS at,
       coalesce(pg_sequence_last_value('images_row_id_seq'), 0) AS inserted
FROM (SELECT greatest(today(), ($2::timestamptz AT TIME ZONE 'UTC')::date) AS day) AS t
LEFT JOIN accounts AS a ON a.id = $1
LEFT JOIN balances AS b ON b.account = a.id AND b.currency = a.billing
LEFT JOIN account_days AS d ON d.account = a.id AND d.day = t.day;

-- name: paid_and_delivered
-- What the calls for an account's ($1) latest $2 images of the last 30 days have cost, model by model: all of them, of unknown
-- ones what they may have cost, and those alone whose pictures were delivered (as many as `pictures`).
SELECT a.provider, a.model, count(*) FILTER (WHERE a.status = 'settled')::int AS pictures,
       coalesce(sum(CASE a.status WHEN 'unknown' THEN coalesce(a.cost_microusd, a.estimate_microusd) ELSE a.cost_microusd END),
                0)::bigint AS paid_microusd,
       coalesce(sum(a.cost_microusd) FILTER (WHERE a.status = 'settled'), 0)::bigint AS delivered_microusd
FROM (SELECT i.row_id FROM jobs AS j JOIN images AS i ON i.job_id = j.id
      WHERE j.account = $1 AND j.created_at > safelight.now() - interval '30 days'
        AND i.status IN ('completed', 'failed', 'refused', 'canceled', 'uncertain')
      ORDER BY j.id DESC LIMIT $2) AS latest
JOIN attempts AS a ON a.image_row_id = latest.row_id
GROUP BY a.provider, a.model;
