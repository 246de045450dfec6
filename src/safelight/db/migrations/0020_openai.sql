-- Requests in OpenAI's form: which earlier one a repeated request is, without a key of the caller's own.

ALTER TABLE jobs ADD COLUMN handed_over_at timestamptz;
COMMENT ON COLUMN jobs.handed_over_at IS 'when its pictures were first sent whole as the answer to the request that ordered them';

CREATE INDEX jobs_of_request ON jobs (account, request_fingerprint, created_at DESC)
    WHERE idempotency_key LIKE 'openai %';
