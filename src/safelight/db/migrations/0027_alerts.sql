-- Alerts: what an operator should know, since when, and whether it was told.
--
-- Lock order: `alert_watch`, alerts, their messages. Nothing else is locked while these are.

CREATE TABLE alert_watch (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    evaluated_at timestamptz
);
INSERT INTO alert_watch DEFAULT VALUES;
COMMENT ON TABLE alert_watch IS 'its row is locked by whoever evaluates: one process at a time, for all of them';

CREATE TABLE alerts (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule          text NOT NULL,
    subject       text NOT NULL,
    seen_since    timestamptz NOT NULL,
    seen_at       timestamptz NOT NULL,
    clear_since   timestamptz,
    firing_since  timestamptz,
    severity      text CHECK (severity IN ('warning', 'critical')),
    told_severity text CHECK (told_severity IN ('warning', 'critical')),
    told_at       timestamptz,
    notified_at   timestamptz,
    resolved_at   timestamptz,
    title         text NOT NULL,
    found         text NOT NULL,
    remedy        text NOT NULL,
    page          text NOT NULL,
    CHECK (num_nulls(firing_since, severity, told_severity, told_at) IN (0, 4)),
    CHECK (resolved_at IS NULL OR firing_since IS NOT NULL)
);
CREATE UNIQUE INDEX alerts_open ON alerts (rule, subject) WHERE resolved_at IS NULL;
CREATE INDEX alerts_resolved ON alerts (resolved_at) WHERE resolved_at IS NOT NULL;

COMMENT ON COLUMN alerts.subject IS 'what of the rule it concerns: a provider, an endpoint, a schedule; empty: all';
COMMENT ON COLUMN alerts.seen_since IS 'when this was first seen; NULL in firing_since: not for long enough yet';
COMMENT ON COLUMN alerts.clear_since IS 'not seen since then; it is resolved when that has lasted';
COMMENT ON COLUMN alerts.told_severity IS 'the highest that this firing was told with';
COMMENT ON COLUMN alerts.told_at IS 'when it was last decided to tell; notified_at: when somebody was last told';

CREATE TABLE alert_messages (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id   bigint NOT NULL REFERENCES alerts ON DELETE CASCADE,
    rule       text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('firing', 'escalated', 'reminder', 'resolved')),
    severity   text NOT NULL CHECK (severity IN ('warning', 'critical')),
    title      text NOT NULL,
    body       text NOT NULL,
    page       text NOT NULL,
    created_at timestamptz NOT NULL,
    due_at     timestamptz NOT NULL,
    claim      uuid,
    tries      integer NOT NULL DEFAULT 0,
    accepted   text[] NOT NULL DEFAULT '{}',
    status     text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'sent', 'dead')),
    ended_at   timestamptz,
    error      text,
    CHECK ((status = 'pending') = (ended_at IS NULL))
);
CREATE INDEX alert_messages_due ON alert_messages (due_at) WHERE status = 'pending';
CREATE INDEX alert_messages_of_alert ON alert_messages (alert_id);

COMMENT ON TABLE alert_messages IS 'written with the change that they tell of, so that none is lost; sent at least once';
COMMENT ON COLUMN alert_messages.due_at IS 'from when on anybody may send it; while somebody does, the end of their lease';
COMMENT ON COLUMN alert_messages.accepted IS 'services that took it, by scheme and position: they are not asked again';

-- What ended of late, with what it takes to count it.
CREATE INDEX images_ended ON images (completed_at) INCLUDE (provider, status) WHERE completed_at IS NOT NULL;
-- Calls whose outcome was lost, by age.
CREATE INDEX attempts_unknown ON attempts (sent_at) WHERE status = 'unknown';
CREATE INDEX webhook_endpoints_disabled ON webhook_endpoints (disabled_at)
    WHERE disabled_at IS NOT NULL AND deleted_at IS NULL AND job_id IS NULL;
