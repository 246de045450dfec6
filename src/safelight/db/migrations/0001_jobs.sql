-- Jobs, their images, and what was bought for them.
--
-- Lock order, in every transaction: job, then its images by position. Admission and the claim lock images only.
-- Time comes from safelight.now() alone, so that a test database can shift it.

CREATE TABLE installation (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    clock_shift  interval NOT NULL DEFAULT '0',
    store_marker text
);
INSERT INTO installation DEFAULT VALUES;

CREATE FUNCTION safelight.now() RETURNS timestamptz LANGUAGE sql STABLE
RETURN statement_timestamp() + (SELECT clock_shift FROM installation);

CREATE TABLE jobs (
    id                  text PRIMARY KEY,
    account             text NOT NULL DEFAULT 'default',
    idempotency_key     text,
    request_fingerprint text NOT NULL,
    status              text NOT NULL DEFAULT 'pending' CHECK (status IN
                            ('pending', 'generating', 'canceling', 'completed', 'partial', 'failed', 'canceled')),
    run                 integer NOT NULL DEFAULT 1 CHECK (run >= 1),
    retry_count         integer NOT NULL DEFAULT 0 CHECK (retry_count >= 0),
    seq                 bigint NOT NULL DEFAULT 0,
    storage_prefix      text,
    outputs             jsonb NOT NULL,
    metadata            jsonb NOT NULL,
    deadline_seconds    double precision NOT NULL CHECK (deadline_seconds > 0),
    on_deadline         text NOT NULL CHECK (on_deadline IN ('fail', 'continue')),
    run_started_at      timestamptz NOT NULL,
    deadline_at         timestamptz NOT NULL,
    run_ends_at         timestamptz NOT NULL,
    deadline_passed     boolean NOT NULL DEFAULT false,
    created_at          timestamptz NOT NULL,
    started_at          timestamptz,
    completed_at        timestamptz,
    UNIQUE (account, idempotency_key)
);
CREATE INDEX jobs_newest ON jobs (account, id DESC);
CREATE INDEX jobs_open ON jobs (deadline_at) WHERE status IN ('pending', 'generating', 'canceling');

COMMENT ON COLUMN jobs.seq IS 'seq of the newest event; taken under the row''s lock, so the log has no gap';
COMMENT ON COLUMN jobs.run_ends_at IS 'nothing of this run stays unfinished after it';

CREATE TABLE images (
    row_id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id            text NOT NULL REFERENCES jobs,
    position          integer NOT NULL,
    id                text NOT NULL,
    image_group       text NOT NULL,
    status            text NOT NULL DEFAULT 'queued' CHECK (status IN
                          ('queued', 'processing', 'generating', 'uploading',
                           'completed', 'failed', 'refused', 'canceled', 'uncertain')),
    failure_stage     text CHECK (failure_stage IN ('processing', 'generating', 'uploading', 'persisting')),
    error             jsonb,
    provider          text NOT NULL,
    model             text NOT NULL,
    prompt            text NOT NULL,
    options           jsonb NOT NULL,
    fingerprint       text NOT NULL,
    estimate_microusd bigint CHECK (estimate_microusd >= 0),
    timeout_seconds   double precision NOT NULL CHECK (timeout_seconds > 0),
    max_attempts      integer NOT NULL CHECK (max_attempts >= 1),
    max_rebuys        integer NOT NULL CHECK (max_rebuys >= 0),
    on_uncertain      text NOT NULL CHECK (on_uncertain IN ('hold', 'fail', 'retry_once')),
    run               integer NOT NULL DEFAULT 1,
    retry_count       integer NOT NULL DEFAULT 0,
    attempt_count     integer NOT NULL DEFAULT 0,
    failures          integer NOT NULL DEFAULT 0,
    not_before        timestamptz NOT NULL,
    generation        integer NOT NULL DEFAULT 0,
    lane              text NOT NULL DEFAULT 'buy' CHECK (lane IN ('buy', 'finish')),
    admitted_at       timestamptz,
    queue_row_id      bigint,
    claim_token       uuid,
    worker_id         uuid,
    stop              text CHECK (stop IN ('cancel', 'abort', 'deadline')),
    furthest_stage    smallint NOT NULL DEFAULT 0,
    crash_count       smallint NOT NULL DEFAULT 0,
    crash_owner       uuid,
    created_at        timestamptz NOT NULL,
    changed_at        timestamptz NOT NULL,
    started_at        timestamptz,
    completed_at      timestamptz,
    UNIQUE (job_id, position),
    UNIQUE (job_id, id),
    CHECK ((status IN ('processing', 'generating', 'uploading')) = (claim_token IS NOT NULL)),
    CHECK (admitted_at IS NULL OR status = 'queued')
);
CREATE INDEX images_backlog ON images (provider, not_before, job_id, position)
    WHERE status = 'queued' AND admitted_at IS NULL;
CREATE INDEX images_held ON images (provider)
    WHERE status IN ('processing', 'generating', 'uploading') OR admitted_at IS NOT NULL;
CREATE INDEX images_stopped ON images (job_id) WHERE stop IS NOT NULL;

COMMENT ON COLUMN images.generation IS 'raised by each admission; a queue row of another generation is stale';
COMMENT ON COLUMN images.lane IS 'buy: may start a billable call; finish: only resolves or uses earlier ones';
COMMENT ON COLUMN images.failures IS 'failures in a row in this run, for the backoff';
COMMENT ON COLUMN images.furthest_stage IS '1 processing, 2 generating, 3 uploading: reaching further clears crash_count';
COMMENT ON COLUMN images.crash_owner IS 'the worker last counted as crashed; it takes the count back when it turns out to live';

CREATE TABLE attempts (
    id                 text PRIMARY KEY,
    image_row_id       bigint NOT NULL REFERENCES images,
    number             integer NOT NULL,
    run                integer NOT NULL,
    status             text NOT NULL DEFAULT 'sent' CHECK (status IN
                           ('sent', 'received', 'settled', 'unbilled', 'no_image', 'refused', 'unknown')),
    provider           text NOT NULL,
    model              text NOT NULL,
    fingerprint        text NOT NULL,
    claim_token        uuid NOT NULL,
    worker_id          uuid NOT NULL,
    sent_at            timestamptz NOT NULL,
    deadline_at        timestamptz NOT NULL,
    resolve_at         timestamptz NOT NULL,
    ended_at           timestamptz,
    estimate_microusd  bigint CHECK (estimate_microusd >= 0),
    cost_microusd      bigint CHECK (cost_microusd >= 0),
    cost_basis         text CHECK (cost_basis IN ('usage', 'table', 'estimate', 'unknown')),
    price_ref          text,
    usage              jsonb,
    unbilled_by_policy boolean NOT NULL DEFAULT false,
    error_kind         text,
    error_code         text,
    http_status        integer,
    request_id         text,
    sha256             text,
    length             bigint,
    UNIQUE (image_row_id, number)
);
CREATE UNIQUE INDEX attempts_one_unresolved ON attempts (image_row_id) WHERE status = 'sent';
CREATE INDEX attempts_open ON attempts (image_row_id) WHERE status IN ('sent', 'received');
CREATE INDEX attempts_unresolved ON attempts (resolve_at) WHERE status = 'sent';

COMMENT ON TABLE attempts IS 'the provider book: one row per call that may cost money, committed before the call';
COMMENT ON COLUMN attempts.resolve_at IS 'deadline and grace: after it the call can no longer answer';
COMMENT ON COLUMN attempts.estimate_microusd IS 'what the call may have cost at most while its outcome is unknown';

CREATE TABLE renditions (
    image_row_id bigint NOT NULL REFERENCES images,
    name         text NOT NULL,
    key          text NOT NULL UNIQUE,
    format       text NOT NULL,
    mime         text NOT NULL,
    width_px     integer NOT NULL,
    height_px    integer NOT NULL,
    length       bigint NOT NULL,
    sha256       text NOT NULL,
    PRIMARY KEY (image_row_id, name)
);

CREATE TABLE events (
    job_id     text NOT NULL REFERENCES jobs,
    seq        bigint NOT NULL,
    type       text NOT NULL,
    image_id   text,
    data       jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (job_id, seq)
);

CREATE TABLE workers (
    id           uuid PRIMARY KEY,
    host         text NOT NULL,
    pid          integer NOT NULL,
    providers    text[] NOT NULL,
    slots        integer NOT NULL,
    finish_slots integer NOT NULL,
    draining     boolean NOT NULL DEFAULT false,
    started_at   timestamptz NOT NULL,
    heartbeat_at timestamptz NOT NULL
);

CREATE FUNCTION worker_lives(worker uuid, lease_seconds double precision) RETURNS boolean LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM workers AS w WHERE w.id = worker
               AND w.heartbeat_at > safelight.now() - make_interval(secs => lease_seconds));
