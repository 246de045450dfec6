-- A failure long after the one before begins anew; and sites that take nothing are found without walking the others.

ALTER TABLE webhook_endpoints ADD COLUMN failed_at timestamptz;
COMMENT ON COLUMN webhook_endpoints.failed_at IS 'the last failure that was noted, up to a minute ago';
COMMENT ON COLUMN webhook_endpoints.failing_since IS 'the first failure since the last success, or since a time without any';

CREATE INDEX webhook_endpoints_failing ON webhook_endpoints (site)
    WHERE failing_since IS NOT NULL AND disabled_at IS NULL AND deleted_at IS NULL;
