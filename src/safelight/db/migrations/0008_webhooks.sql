-- Webhooks: who wants to be told of what, under which secret, and every message with what became of it.
--
-- A lane is an endpoint and a job (or the notices, or the tests): its messages are sent one after the other, in the order
-- of their ids. It is the lane that a courier takes, for a time, under a token. Lock order: the job's rows, then lanes,
-- then messages.

CREATE TABLE webhook_endpoints (
    id              text PRIMARY KEY,
    account         text NOT NULL,
    job_id          text REFERENCES jobs ON DELETE CASCADE,
    url             text NOT NULL CHECK (length(url) <= 2048),
    events          text[] CHECK (cardinality(events) > 0),
    retry_seconds   double precision[],
    description     text,
    created_at      timestamptz NOT NULL,
    disabled_at     timestamptz,
    disabled_reason text,
    deleted_at      timestamptz,
    failing_since   timestamptz,
    site            text NOT NULL GENERATED ALWAYS AS (
                        CASE WHEN job_id IS NULL THEN id
                             ELSE account || ' ' || coalesce(lower(substring(url FROM '^\w+://[^/?#]*')), id) END) STORED,
    CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL))
);
CREATE INDEX webhook_endpoints_live ON webhook_endpoints (account)
    WHERE job_id IS NULL AND disabled_at IS NULL AND deleted_at IS NULL;
CREATE UNIQUE INDEX webhook_endpoints_of_job ON webhook_endpoints (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX webhook_endpoints_of_account ON webhook_endpoints (account, id) WHERE job_id IS NULL AND deleted_at IS NULL;

COMMENT ON COLUMN webhook_endpoints.job_id IS 'the job whose request named this address; NULL: hears of all the account''s jobs';
COMMENT ON COLUMN webhook_endpoints.events IS 'the types it wants; NULL: all';
COMMENT ON COLUMN webhook_endpoints.retry_seconds IS 'its own pauses between attempts at a message about a job''s end; NULL: the usual ones';
COMMENT ON COLUMN webhook_endpoints.failing_since IS 'the first failure since the last success';
COMMENT ON COLUMN webhook_endpoints.site IS 'what the number of messages in flight is bounded for: the endpoint; of jobs'' own, all on one host and port';

CREATE TABLE webhook_secrets (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account     text NOT NULL,
    endpoint_id text REFERENCES webhook_endpoints ON DELETE CASCADE,
    ciphertext  bytea NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz
);
-- Two at most: the newest, and the one before it for as long as it still signs.
CREATE UNIQUE INDEX webhook_secrets_of_endpoint
    ON webhook_secrets (account, coalesce(endpoint_id, ''), (expires_at IS NULL));

COMMENT ON COLUMN webhook_secrets.endpoint_id IS 'NULL: the account''s default, for addresses that jobs name';
COMMENT ON COLUMN webhook_secrets.expires_at IS 'signs beside its successor until then; NULL: it has none';

CREATE TABLE webhook_lanes (
    endpoint_id      text NOT NULL,
    lane             text NOT NULL,
    site             text NOT NULL,
    revision         bigint NOT NULL DEFAULT 1,
    next_at          timestamptz,
    claim_token      uuid,
    failing_since    timestamptz,
    progress_due_at  timestamptz,
    progress_again_at timestamptz,
    PRIMARY KEY (endpoint_id, lane),
    CHECK (claim_token IS NULL OR next_at IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX webhook_lanes_next ON webhook_lanes (site, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX webhook_lanes_claimed ON webhook_lanes (site) WHERE claim_token IS NOT NULL;

COMMENT ON COLUMN webhook_lanes.lane IS 'a job''s id, `notices` or `tests`';
COMMENT ON COLUMN webhook_lanes.revision IS 'raised by everything that is put into the lane, so that whoever leaves it knows whether it has seen all';
COMMENT ON COLUMN webhook_lanes.next_at IS 'from when on a courier may take it; while one has it, the end of its lease; NULL: nothing waits';
COMMENT ON COLUMN webhook_lanes.failing_since IS 'the first failure since the last success; what is put in meanwhile hastens nothing';
COMMENT ON COLUMN webhook_lanes.progress_due_at IS 'a job.progress is wanted, not before then; it becomes a message when it is sent';
COMMENT ON COLUMN webhook_lanes.progress_again_at IS 'after a job.progress the next one is not due before then';

CREATE TABLE deliveries (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id    text NOT NULL UNIQUE DEFAULT 'msg_' || replace(gen_random_uuid()::text, '-', ''),
    account       text NOT NULL,
    endpoint_id   text NOT NULL,
    lane          text NOT NULL,
    type          text NOT NULL,
    job_id        text,
    seq           bigint,
    notice_id     bigint,
    status        text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'dead')),
    attempt_count integer NOT NULL DEFAULT 0 CHECK (attempt_count >= 0),
    created_at    timestamptz NOT NULL,
    wanted_at     timestamptz NOT NULL,
    due_at        timestamptz NOT NULL,
    attempted_at  timestamptz,
    ended_at      timestamptz,
    http_status   integer,
    error         text,
    reply         text CHECK (octet_length(reply) <= 1024),
    CHECK ((status = 'pending') = (ended_at IS NULL))
);
CREATE INDEX deliveries_pending ON deliveries (endpoint_id, lane, id) WHERE status = 'pending';
CREATE INDEX deliveries_dead ON deliveries (account, id) WHERE status = 'dead';
CREATE INDEX deliveries_newest ON deliveries (account, id);
CREATE INDEX deliveries_of_endpoint ON deliveries (endpoint_id, id);
CREATE INDEX deliveries_of_job ON deliveries (job_id, id) WHERE job_id IS NOT NULL;
CREATE INDEX deliveries_by_end ON deliveries (ended_at) WHERE ended_at IS NOT NULL;

COMMENT ON TABLE deliveries IS 'messages to endpoints; no reference to endpoints, whose rows all writers would have to lock';
COMMENT ON COLUMN deliveries.message_id IS 'webhook-id: the same on every attempt';
COMMENT ON COLUMN deliveries.seq IS 'of the event, which is read when the message is sent';
COMMENT ON COLUMN deliveries.wanted_at IS 'when it was made, or asked for again';

-- A notice reaches the endpoints of those whom it concerns, whoever writes it.
CREATE FUNCTION post_notice() RETURNS trigger LANGUAGE plpgsql SET search_path = safelight AS $$
BEGIN
    WITH addressed AS (
        SELECT e.id, e.account, e.site FROM webhook_endpoints AS e
        WHERE e.job_id IS NULL AND e.disabled_at IS NULL AND e.deleted_at IS NULL
          AND (NEW.account IS NULL OR e.account = NEW.account)
          AND (e.events IS NULL OR NEW.type = ANY (e.events))
    ), posted AS (
        INSERT INTO deliveries (account, endpoint_id, lane, type, notice_id, created_at, wanted_at, due_at)
        SELECT account, id, 'notices', NEW.type, NEW.id, safelight.now(), safelight.now(), safelight.now() FROM addressed
    )
    INSERT INTO webhook_lanes AS l (endpoint_id, lane, site, next_at)
    SELECT id, 'notices', site, safelight.now() FROM addressed ORDER BY id
    ON CONFLICT (endpoint_id, lane) DO UPDATE
    SET revision = l.revision + 1, site = EXCLUDED.site,
        next_at = CASE WHEN l.claim_token IS NULL AND l.failing_since IS NULL THEN least(l.next_at, EXCLUDED.next_at)
                       ELSE coalesce(l.next_at, EXCLUDED.next_at) END;
    RETURN NULL;
END $$;
CREATE TRIGGER post_notice AFTER INSERT ON notices FOR EACH ROW EXECUTE FUNCTION post_notice();
