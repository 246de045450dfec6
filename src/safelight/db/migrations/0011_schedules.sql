-- Schedules: jobs that are made again and again, when their time has come.
--
-- `next_run_at` is moved by the same statement that writes the runs down, so no time is lost between the two; a run that
-- was written down is made a job of as often as it takes, always under the same idempotency key.

CREATE TABLE schedules (
    id          text PRIMARY KEY,
    account     text NOT NULL,
    name        text NOT NULL,
    cron        text NOT NULL,
    timezone    text NOT NULL,
    job         json NOT NULL,
    unique_per  text CHECK (unique_per IN ('day')),
    catch_up    text NOT NULL CHECK (catch_up IN ('skip', 'latest', 'all')),
    ready_by    text CHECK (ready_by ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'),
    enabled     boolean NOT NULL,
    next_run_at timestamptz,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    UNIQUE (account, name),
    CHECK (enabled OR next_run_at IS NULL)
);
CREATE INDEX schedules_due ON schedules (next_run_at) WHERE next_run_at IS NOT NULL;

COMMENT ON COLUMN schedules.job IS 'the body as it was sent, in its own order: placeholders are filled for each run';
COMMENT ON COLUMN schedules.next_run_at IS 'NULL while disabled, or when no further time comes';

CREATE TABLE schedule_runs (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule_id    text NOT NULL REFERENCES schedules ON DELETE CASCADE,
    trigger        text NOT NULL CHECK (trigger IN ('cron', 'manual')),
    request_key    text,
    scheduled_at   timestamptz NOT NULL,
    local_day      date NOT NULL,
    status         text NOT NULL CHECK (status IN ('due', 'submitted', 'joined', 'failed', 'skipped')),
    tries          integer NOT NULL DEFAULT 0,
    try_at         timestamptz NOT NULL,
    job_id         text,
    detail         text,
    faults         jsonb,
    ready_by_at    timestamptz,
    is_watched     boolean NOT NULL,
    at_risk_at     timestamptz,
    at_risk_reason text,
    created_at     timestamptz NOT NULL,
    CHECK ((status IN ('submitted', 'joined')) = (job_id IS NOT NULL)),
    CHECK ((at_risk_at IS NULL) = (at_risk_reason IS NULL))
);
CREATE UNIQUE INDEX schedule_runs_of_cron ON schedule_runs (schedule_id, scheduled_at) WHERE trigger = 'cron';
CREATE UNIQUE INDEX schedule_runs_by_key ON schedule_runs (schedule_id, request_key) WHERE request_key IS NOT NULL;
CREATE INDEX schedule_runs_newest ON schedule_runs (schedule_id, id DESC);
CREATE INDEX schedule_runs_of_day ON schedule_runs (schedule_id, local_day) WHERE job_id IS NOT NULL;
CREATE INDEX schedule_runs_due ON schedule_runs (try_at) WHERE status = 'due';
CREATE INDEX schedule_runs_watched ON schedule_runs (schedule_id) WHERE is_watched;

COMMENT ON COLUMN schedule_runs.status IS
    'due: to be made a job of; joined: the job of an earlier run of that day; failed: the template was refused';
COMMENT ON COLUMN schedule_runs.local_day IS 'of scheduled_at, on the calendar of the zone that the schedule had then';
COMMENT ON COLUMN schedule_runs.is_watched IS 'whether its job will be ready in time is still open';

-- A notice may concern something else than a provider, and there are more kinds of them.
ALTER TABLE notices ALTER COLUMN provider DROP NOT NULL, ALTER COLUMN model DROP NOT NULL,
    DROP CONSTRAINT notices_type_check, ADD CONSTRAINT notices_type_check CHECK (type ~ '^[a-z]+\.[a-z_]+$');
