-- Looking for earlier jobs by what the caller wrote on them, and by time.

CREATE INDEX jobs_metadata ON jobs USING gin (metadata jsonb_path_ops);
CREATE INDEX jobs_by_time ON jobs (account, created_at);
