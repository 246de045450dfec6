-- Statistics of all accounts over a time. Those of one account have jobs_by_time; this one costs a submit next to nothing.

CREATE INDEX jobs_by_day ON jobs USING brin (created_at) WITH (pages_per_range = 16, autosummarize = on);

-- When the hour began that a moment is in, by the clocks of a zone; one that they show twice is two hours.
CREATE FUNCTION hour_of(moment timestamptz, zone text) RETURNS timestamptz LANGUAGE sql STABLE
RETURN moment - ((moment AT TIME ZONE zone) - date_trunc('hour', moment AT TIME ZONE zone));
