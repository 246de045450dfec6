-- A job knows in which trace it was ordered, so that what becomes of it in other processes belongs there too.

ALTER TABLE jobs ADD COLUMN trace_context text;
ALTER TABLE jobs ADD CONSTRAINT jobs_trace_context CHECK (length(trace_context) BETWEEN 55 AND 568) NOT VALID;
COMMENT ON COLUMN jobs.trace_context IS 'W3C traceparent, and tracestate after a space; NULL: it was ordered outside of any trace';
