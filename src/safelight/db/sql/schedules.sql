-- name: insert_schedule
-- Creates the schedule unless its name is taken; then no row comes back.
INSERT INTO schedules (id, account, name, cron, timezone, job, unique_per, catch_up, ready_by, enabled, next_run_at,
                       created_at, updated_at)
SELECT $1, $2, $3, $4, $5, $6::json, $7, $8, $9, $10, $11, t.at, t.at FROM (SELECT safelight.now() AS at) AS t
ON CONFLICT (account, name) DO NOTHING
RETURNING id;

-- name: lock_schedule
-- As it stands, before it is changed or run.
SELECT id, name, cron, timezone, job::text AS job, unique_per, catch_up, ready_by, enabled, next_run_at,
       safelight.now() AS now
FROM schedules WHERE id = $1 AND account = $2 FOR UPDATE;

-- name: change_schedule
UPDATE schedules
SET name = $2, cron = $3, timezone = $4, job = $5::json, unique_per = $6, catch_up = $7, ready_by = $8, enabled = $9,
    next_run_at = $10, updated_at = safelight.now()
WHERE id = $1;

-- name: skip_due_runs
-- Runs that wait to be made jobs of are left out: their schedule was disabled.
UPDATE schedule_runs SET status = 'skipped', is_watched = false
WHERE schedule_id = $1 AND trigger = 'cron' AND status = 'due';

-- name: delete_schedule
-- The jobs that it made stay.
DELETE FROM schedules WHERE id = $1 AND account = $2 RETURNING id;

-- name: schedule
SELECT id, name, cron, timezone, job::text AS job, unique_per, catch_up, ready_by, enabled, next_run_at, created_at,
       updated_at, safelight.now() AS now
FROM schedules WHERE id = $1 AND account = $2;

-- name: schedules_page
-- By name, after $2; $3 shows only the one of that name, $4 only those enabled or not. Templates are left out.
SELECT id, name, cron, timezone, unique_per, catch_up, ready_by, enabled, next_run_at, created_at, updated_at
FROM schedules
WHERE account = $1 AND ($2::text IS NULL OR name > $2) AND ($3::text IS NULL OR name = $3)
  AND ($4::bool IS NULL OR enabled = $4)
ORDER BY name LIMIT $5;

-- name: newest_runs
-- The newest run of each of these schedules.
SELECT r.*, j.status AS job_status, j.completed_at AS job_completed_at
FROM unnest($1::text[]) AS s (id)
CROSS JOIN LATERAL (SELECT * FROM schedule_runs WHERE schedule_id = s.id ORDER BY id DESC LIMIT 1) AS r
LEFT JOIN jobs AS j ON j.id = r.job_id;

-- name: runs_page
-- Newest first, before run $2.
SELECT r.*, j.status AS job_status, j.completed_at AS job_completed_at
FROM schedule_runs AS r LEFT JOIN jobs AS j ON j.id = r.job_id
WHERE r.schedule_id = $1 AND ($2::bigint IS NULL OR r.id < $2)
ORDER BY r.id DESC LIMIT $3;

-- name: run_of_key
-- A run that was asked for under this key before.
SELECT id FROM schedule_runs WHERE schedule_id = $1 AND request_key = $2;

-- name: insert_manual_run
-- A run that somebody asks for; no row when the key was used. Whoever asks makes the job; the tick does when that one is
-- gone after $6 seconds.
INSERT INTO schedule_runs (schedule_id, trigger, request_key, scheduled_at, local_day, status, try_at, ready_by_at,
                           is_watched, created_at)
SELECT $1, 'manual', $2, $3, $4, 'due', t.at + make_interval(secs => $6), $5, $5::timestamptz IS NOT NULL, t.at
FROM (SELECT safelight.now() AS at) AS t
ON CONFLICT (schedule_id, request_key) WHERE request_key IS NOT NULL DO NOTHING
RETURNING id;

-- name: has_work
-- Whether a tick would find anything; asked without its lock.
SELECT EXISTS (SELECT FROM schedules WHERE next_run_at <= safelight.now())
    OR EXISTS (SELECT FROM schedule_runs WHERE status = 'due' AND try_at <= safelight.now())
    OR EXISTS (SELECT FROM schedule_runs WHERE is_watched);

-- name: lock_tick
-- One tick at a time in the whole installation; it ends with its transaction.
SELECT pg_try_advisory_xact_lock(hashtext('safelight.schedules'));

-- name: due_schedules
SELECT id, name, cron, timezone, catch_up, ready_by, next_run_at, safelight.now() AS now
FROM schedules WHERE next_run_at <= safelight.now() ORDER BY next_run_at LIMIT $1;

-- name: write_down
-- The runs that have come, and the time after them, in one statement; nothing when somebody moved or changed the schedule
-- since it was read: a change of what is due sets a time that is still to come. Of its runs the newest $8 are kept.
WITH moved AS (
    UPDATE schedules SET next_run_at = $3 WHERE id = $1 AND next_run_at = $2 RETURNING id
), forgotten AS (
    DELETE FROM schedule_runs
    WHERE schedule_id = (SELECT id FROM moved) AND status <> 'due' AND NOT is_watched
      AND id <= (SELECT id FROM schedule_runs WHERE schedule_id = $1 ORDER BY id DESC OFFSET $8 - 1 LIMIT 1)
)
INSERT INTO schedule_runs (schedule_id, trigger, scheduled_at, local_day, ready_by_at, status, try_at, is_watched,
                           created_at)
SELECT moved.id, 'cron', r.scheduled_at, r.local_day, r.ready_by_at, r.status, safelight.now(),
       r.status = 'due' AND r.ready_by_at IS NOT NULL, safelight.now()
FROM moved, unnest($4::timestamptz[], $5::date[], $6::timestamptz[], $7::text[])
         AS r (scheduled_at, local_day, ready_by_at, status)
ORDER BY r.scheduled_at
ON CONFLICT (schedule_id, scheduled_at) WHERE trigger = 'cron' DO NOTHING;

-- name: next_due_run
-- The run that has waited longest to be made a job of.
SELECT r.id, r.schedule_id, r.trigger, r.scheduled_at, r.local_day, r.tries, s.account, s.name, s.timezone, s.unique_per,
       s.job::text AS job
FROM schedule_runs AS r JOIN schedules AS s ON s.id = r.schedule_id
WHERE r.status = 'due' AND r.try_at <= safelight.now()
ORDER BY r.try_at, r.id LIMIT 1;

-- name: due_run
-- As above, of one run; no row when it is a job already.
SELECT r.id, r.schedule_id, r.trigger, r.scheduled_at, r.local_day, r.tries, s.account, s.name, s.timezone, s.unique_per,
       s.job::text AS job
FROM schedule_runs AS r JOIN schedules AS s ON s.id = r.schedule_id
WHERE r.id = $1 AND r.status = 'due';

-- name: run
SELECT r.*, j.status AS job_status, j.completed_at AS job_completed_at
FROM schedule_runs AS r LEFT JOIN jobs AS j ON j.id = r.job_id WHERE r.id = $1;

-- name: job_of_day
-- The job of the first run of that day, if one was made.
SELECT job_id FROM schedule_runs
WHERE schedule_id = $1 AND local_day = $2 AND job_id IS NOT NULL AND id <> $3 ORDER BY id LIMIT 1;

-- name: job_of_run
-- The job that was made for a run, under its key ($2); or under the one that it had ($3) before the rule of one job a day
-- was set or lifted, unless that job is known to be another run's.
SELECT j.id FROM jobs AS j
WHERE j.account = $1 AND j.idempotency_key IN ($2, $3)
  AND (j.idempotency_key = $2 OR NOT EXISTS (SELECT FROM schedule_runs AS r WHERE r.schedule_id = $4 AND r.job_id = j.id))
ORDER BY j.idempotency_key = $2 DESC LIMIT 1;

-- name: record_job
-- The run's job is known, also when its schedule was disabled while it was being made. That of an earlier run of the day
-- is watched there.
UPDATE schedule_runs SET status = $2, job_id = $3, is_watched = is_watched AND $2 = 'submitted'
WHERE id = $1 AND status IN ('due', 'skipped')
RETURNING id;

-- name: put_off
-- Tried again later, each time twice as much later, $3 seconds at first and $4 at most.
UPDATE schedule_runs
SET tries = tries + 1, try_at = safelight.now() + make_interval(secs => least($3 * 2 ^ least(tries, 30), $4))
WHERE id = $1 AND tries = $2 AND status = 'due';

-- name: let_wait
-- Tried again in $2 seconds, as if it had not been tried.
UPDATE schedule_runs SET try_at = safelight.now() + make_interval(secs => $2) WHERE id = $1 AND status = 'due';

-- name: fail_run
-- No job comes of this run ($2 in words, $3 the faults), and somebody is told.
WITH failed AS (
    UPDATE schedule_runs
    SET status = 'failed', detail = $2, faults = $3, is_watched = false, at_risk_at = safelight.now(),
        at_risk_reason = 'not_submitted'
    WHERE id = $1 AND status = 'due'
    RETURNING *
), turn AS MATERIALIZED (
    -- Ids in the order of their commits, so that no reader passes over one.
    SELECT pg_advisory_xact_lock(hashtext('safelight.notices')) FROM failed
)
INSERT INTO notices (at, account, type, message, data)
SELECT safelight.now(), s.account, 'schedule.at_risk', 'no job could be made: ' || failed.detail,
       jsonb_build_object('schedule_id', s.id, 'schedule', s.name, 'run_id', failed.id,
                          'scheduled_at', failed.scheduled_at, 'ready_by', failed.ready_by_at, 'job_id', NULL,
                          'reason', failed.at_risk_reason)
FROM failed JOIN schedules AS s ON s.id = failed.schedule_id WHERE EXISTS (SELECT FROM turn)
RETURNING id;

-- name: sound_alarms
-- Runs whose pictures will hardly be there in time, each told of once. A job usually takes as long as the 90th percentile
-- of the schedule's last ones, or $1 seconds while fewer than 3 of them are known. Those that are ready are watched no more.
WITH watched AS MATERIALIZED (
    SELECT r.id, j.status AS job_status,
           CASE WHEN j.status = 'completed' THEN NULL
                WHEN j.status IN ('partial', 'failed', 'canceled') THEN 'incomplete'
                WHEN r.ready_by_at <= safelight.now() THEN 'late'
                WHEN r.ready_by_at - safelight.now() < make_interval(secs => coalesce(usual.seconds, $1)) THEN 'short'
           END AS reason
    FROM schedule_runs AS r
    LEFT JOIN jobs AS j ON j.id = r.job_id
    CROSS JOIN LATERAL (
        SELECT CASE WHEN count(*) >= 3 THEN percentile_cont(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM last.took)) END
               AS seconds
        FROM (SELECT e.completed_at - e.created_at AS took
              FROM schedule_runs AS earlier JOIN jobs AS e ON e.id = earlier.job_id
              WHERE earlier.schedule_id = r.schedule_id AND earlier.status = 'submitted' AND earlier.id < r.id
                AND e.status = 'completed' AND e.run = 1
              ORDER BY earlier.id DESC LIMIT 20) AS last
    ) AS usual
    WHERE r.is_watched
), ready AS (
    UPDATE schedule_runs AS r SET is_watched = false
    FROM watched WHERE r.id = watched.id AND r.is_watched AND watched.job_status = 'completed'
), rung AS (
    UPDATE schedule_runs AS r SET is_watched = false, at_risk_at = safelight.now(), at_risk_reason = watched.reason
    FROM watched WHERE r.id = watched.id AND r.is_watched AND watched.reason IS NOT NULL
    RETURNING r.*
), turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(hashtext('safelight.notices')) FROM rung LIMIT 1
)
INSERT INTO notices (at, account, type, message, data)
SELECT safelight.now(), s.account, 'schedule.at_risk',
       CASE rung.at_risk_reason WHEN 'incomplete' THEN 'its job has ended without all pictures'
                                WHEN 'late' THEN 'its time has passed'
                                ELSE 'the time that is left is less than its job usually takes' END,
       jsonb_build_object('schedule_id', s.id, 'schedule', s.name, 'run_id', rung.id, 'scheduled_at', rung.scheduled_at,
                          'ready_by', rung.ready_by_at, 'job_id', rung.job_id, 'reason', rung.at_risk_reason)
FROM rung JOIN schedules AS s ON s.id = rung.schedule_id WHERE EXISTS (SELECT FROM turn)
RETURNING data->>'schedule' AS schedule, data->>'reason' AS reason;

-- name: health
-- What an operator should know: schedules whose time is long past ($1 seconds) or whose runs wait as long, and those whose
-- last run made no job, or one that is late and has not completed.
SELECT count(*)::int AS schedules, (count(*) FILTER (WHERE s.enabled))::int AS enabled,
       min(s.next_run_at) AS next_run_at,
       array_agg(s.name ORDER BY s.name)
           FILTER (WHERE least(s.next_run_at, waiting.since) < safelight.now() - make_interval(secs => $1)) AS overdue,
       array_agg(s.name ORDER BY s.name) FILTER (WHERE s.enabled AND last.status = 'failed') AS failing,
       (array_agg(last.detail ORDER BY s.name) FILTER (WHERE s.enabled AND last.status = 'failed'))[1] AS first_failure,
       array_agg(s.name ORDER BY s.name)
           FILTER (WHERE s.enabled AND last.at_risk_at IS NOT NULL AND last.job_status <> 'completed') AS at_risk
FROM schedules AS s
LEFT JOIN LATERAL (SELECT r.status, r.detail, r.at_risk_at, j.status AS job_status
                   FROM schedule_runs AS r LEFT JOIN jobs AS j ON j.id = r.job_id
                   WHERE r.schedule_id = s.id ORDER BY r.id DESC LIMIT 1) AS last ON true
LEFT JOIN LATERAL (SELECT min(created_at) AS since FROM schedule_runs WHERE schedule_id = s.id AND status = 'due')
    AS waiting ON true;
