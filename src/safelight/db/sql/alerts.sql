-- name: take_turn
-- Whose turn it is to look: nobody else's, and only if nobody has looked for $1 seconds. Its row is held until the end.
SELECT safelight.now() AS now FROM alert_watch
WHERE evaluated_at IS NULL OR evaluated_at <= safelight.now() - make_interval(secs => $1) OR evaluated_at > safelight.now()
FOR UPDATE SKIP LOCKED;

-- name: note_turn
UPDATE alert_watch SET evaluated_at = $1;

-- name: ended_images
-- Images that ended in the last $1 seconds, the newest $2 of them at most: in all, and by provider. What a caller or a
-- budget ended, or the want of another picture, says nothing about how well pictures are made.
WITH ended AS MATERIALIZED (
    SELECT provider, status FROM (
        SELECT row_id, provider, status FROM images
        WHERE completed_at > safelight.now() - make_interval(secs => $1)
        ORDER BY completed_at DESC LIMIT $2
    ) AS newest
    WHERE status IN ('completed', 'uncertain')
       OR (status = 'failed' AND (SELECT coalesce(i.error ->> 'kind', '') FROM images AS i WHERE i.row_id = newest.row_id)
                                 NOT IN ('BUDGET', 'DEPENDENCY'))
)
SELECT coalesce(provider, '') AS provider, count(*) FILTER (WHERE status = 'completed')::int AS completed,
       count(*)::int AS tried
FROM ended GROUP BY GROUPING SETS ((), (provider)) ORDER BY 1;

-- name: shut_gates
-- Providers and models that are paused. One that nothing waits for is not tried either: it is told of for a day.
SELECT g.provider, g.model, g.code, g.shut_at AS since FROM gates AS g
WHERE g.shut_at IS NOT NULL
  AND (g.shut_at > safelight.now() - interval '1 day'
       OR EXISTS (SELECT FROM images AS i
                  WHERE i.provider = g.provider AND (g.model = '' OR i.model = g.model)
                    AND i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents));

-- name: silent_endpoints
-- Endpoints that fail, those of jobs' own addresses by their site, 10 000 rows at most; and those that were disabled in the
-- last $1 seconds. Of an address no more than the host.
SELECT site AS subject, min(account) AS account, false AS is_disabled, min(failing_since) AS since,
       coalesce(min(substring(url FROM '^\w+://(?:[^/?#]*@)?([^/?#]*)')), 'an address') AS host
FROM (SELECT site, account, failing_since, url FROM webhook_endpoints
      WHERE failing_since IS NOT NULL AND disabled_at IS NULL AND deleted_at IS NULL
        AND failed_at > safelight.now() - make_interval(secs => greatest(
                            108000, 1.25 * (SELECT max(pause) FROM unnest(retry_seconds) AS pause)))
      LIMIT 10000) AS failing
GROUP BY site
UNION ALL
SELECT id, account, true, disabled_at, coalesce(substring(url FROM '^\w+://(?:[^/?#]*@)?([^/?#]*)'), 'an address')
FROM webhook_endpoints
WHERE disabled_at > safelight.now() - make_interval(secs => $1) AND deleted_at IS NULL AND job_id IS NULL;

-- name: used_budgets
-- Accounts whose budget of this day has been told of as used in part, and how much of it is used now.
SELECT a.id AS account, d.held_microusd + d.spent_microusd AS used_microusd, a.daily_budget_microusd AS budget_microusd,
       greatest(CASE WHEN a.daily_budget_microusd > 0
                     THEN (d.held_microusd + d.spent_microusd) * 100.0 / a.daily_budget_microusd ELSE 100 END,
                CASE WHEN d.told_of_microusd = a.daily_budget_microusd AND d.told_percent = 100 THEN 100 ELSE 0 END)::float8
           AS percent,
       told.since
FROM (SELECT account, max(at) AS since FROM notices
      WHERE type = 'budget.threshold' AND at >= today()::timestamp AT TIME ZONE 'UTC' GROUP BY account) AS told
JOIN accounts AS a ON a.id = told.account AND a.daily_budget_microusd IS NOT NULL
JOIN account_days AS d ON d.account = a.id AND d.day = today();

-- name: lost_calls
-- Calls that lost their outcome $1 seconds ago or before, and not as long ago as $2, by provider.
SELECT provider, count(*)::int AS calls, min(sent_at) AS since,
       CASE WHEN bool_and(cost_microusd IS NOT NULL OR estimate_microusd IS NOT NULL)
            THEN sum(coalesce(cost_microusd, estimate_microusd))::bigint END AS at_most_microusd
FROM attempts
WHERE status = 'unknown' AND sent_at <= safelight.now() - make_interval(secs => $1)
  AND sent_at > safelight.now() - make_interval(secs => $2)
GROUP BY provider;

-- name: risky_runs
-- Schedules that were told to be at risk in the last $1 seconds, by their newest such run, whose pictures are not all there
-- and which no later run has made up for.
SELECT DISTINCT ON (s.id) s.id AS schedule_id, s.name, s.account, r.at_risk_reason AS reason, r.ready_by_at AS ready_by,
       r.job_id, r.at_risk_at AS since
FROM notices AS n
JOIN schedule_runs AS r ON r.id = (n.data ->> 'run_id')::bigint AND r.at_risk_at IS NOT NULL
JOIN schedules AS s ON s.id = r.schedule_id
WHERE n.type = 'schedule.at_risk' AND n.at > safelight.now() - make_interval(secs => $1)
  AND NOT EXISTS (SELECT FROM schedule_runs AS later JOIN jobs AS j ON j.id = later.job_id
                  WHERE later.schedule_id = s.id AND later.id >= r.id AND j.status = 'completed')
ORDER BY s.id, r.id DESC;

-- name: stranded
-- Paid pictures that one host alone holds, by the folder that holds them.
SELECT stranded_in AS folder, count(*)::int AS pictures, min(coalesce(ended_at, sent_at)) AS since
FROM attempts WHERE stranded_in IS NOT NULL GROUP BY stranded_in;

-- name: open_alerts
SELECT id, rule, subject, seen_since, seen_at, clear_since, firing_since, severity, told_severity, told_at, resolved_at,
       title, found, remedy, page
FROM alerts WHERE resolved_at IS NULL ORDER BY id;

-- name: open_alert
INSERT INTO alerts (rule, subject, seen_since, seen_at, clear_since, firing_since, severity, told_severity, told_at,
                    resolved_at, title, found, remedy, page)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
RETURNING id;

-- name: move_alert
-- An open alert ($1), as this look has left it; what was resolved stays so.
UPDATE alerts
SET seen_since = $2, seen_at = $3, clear_since = $4, firing_since = $5, severity = $6, told_severity = $7, told_at = $8,
    resolved_at = $9, title = $10, found = $11, remedy = $12, page = $13
WHERE id = $1 AND resolved_at IS NULL;

-- name: forget_alert
-- It was over before anybody had to know.
DELETE FROM alerts WHERE id = $1 AND resolved_at IS NULL AND firing_since IS NULL;

-- name: write_message
-- What is to be told, in the transaction that decides it.
INSERT INTO alert_messages (alert_id, rule, kind, severity, title, body, page, created_at, due_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8);

-- name: forget_old
-- Alerts that were resolved $1 seconds ago, with their messages.
DELETE FROM alerts WHERE resolved_at <= safelight.now() - make_interval(secs => $1);

-- name: shown_alerts
-- What fires, the gravest first; then, newest first, what was resolved in the last $1 seconds, $2 at most.
(SELECT id, rule, subject, severity, title, found, remedy, page, seen_since, firing_since, clear_since, notified_at,
        resolved_at
 FROM alerts WHERE resolved_at IS NULL AND firing_since IS NOT NULL
 ORDER BY severity = 'critical' DESC, firing_since, id)
UNION ALL
(SELECT id, rule, subject, told_severity, title, found, remedy, page, seen_since, firing_since, clear_since, notified_at,
        resolved_at
 FROM alerts WHERE resolved_at > safelight.now() - make_interval(secs => $1) ORDER BY resolved_at DESC, id DESC LIMIT $2);

-- name: last_look
SELECT evaluated_at FROM alert_watch;
