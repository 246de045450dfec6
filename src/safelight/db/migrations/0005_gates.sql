-- Gates: which provider and model may be called now, for all workers alike; and notices of what happened to them.

CREATE TABLE gates (
    provider       text NOT NULL,
    model          text NOT NULL,
    failures       integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    code           text,
    message        text,
    shut_at        timestamptz,
    probe_at       timestamptz,
    failed_probes  integer NOT NULL DEFAULT 0 CHECK (failed_probes >= 0),
    probe_row_id   bigint,
    probe_given_at timestamptz,
    probe_until    timestamptz,
    limits         integer NOT NULL DEFAULT 0 CHECK (limits >= 0),
    limited_until  timestamptz,
    PRIMARY KEY (provider, model),
    CHECK ((shut_at IS NULL) = (probe_at IS NULL)),
    CHECK (shut_at IS NOT NULL OR probe_row_id IS NULL),
    CHECK (num_nulls(probe_row_id, probe_given_at, probe_until) IN (0, 3))
);

COMMENT ON TABLE gates IS 'a provider and model without a row has nothing counted against it: its gate is open';
COMMENT ON COLUMN gates.model IS 'empty: the gate of the whole account';
COMMENT ON COLUMN gates.failures IS 'in a row, while the gate is open';
COMMENT ON COLUMN gates.code IS 'of the latest failure that counted';
COMMENT ON COLUMN gates.shut_at IS 'no call passes but a probe; open when NULL';
COMMENT ON COLUMN gates.probe_at IS 'from when on one image may try whether the provider works again';
COMMENT ON COLUMN gates.probe_row_id IS 'the image that may pass the shut gate, until probe_until';
COMMENT ON COLUMN gates.limits IS 'rate limits in a row, for the pause after one that names none';

CREATE TABLE notices (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL,
    type     text NOT NULL CHECK (type IN ('provider.paused', 'provider.resumed')),
    provider text NOT NULL,
    model    text NOT NULL,
    code     text,
    message  text,
    data     jsonb NOT NULL
);
CREATE INDEX notices_by_time ON notices (at);

COMMENT ON TABLE notices IS 'what concerns the whole installation, in order: a reader that has seen an id has seen all below it';

CREATE FUNCTION next_midnight(zone text) RETURNS timestamptz LANGUAGE sql STABLE
RETURN (date_trunc('day', safelight.now() AT TIME ZONE zone) + interval '1 day') AT TIME ZONE zone;

-- Whether the probe that was given may still tell something. It may not when its image went another way without a call
-- (it was canceled, say, or given back); after a call its report is waited for until the lease ends, and the call itself
-- for as long as it may answer.
CREATE FUNCTION probe_is_out(gate gates) RETURNS boolean LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM attempts AS a
               WHERE a.image_row_id = gate.probe_row_id AND a.sent_at >= gate.probe_given_at
                 AND a.provider = gate.provider AND gate.model IN ('', a.model)
                 AND (gate.probe_until > safelight.now() OR (a.status = 'sent' AND a.resolve_at > safelight.now())))
    OR (gate.probe_until > safelight.now()
        AND EXISTS (SELECT FROM images AS i
                    WHERE i.row_id = gate.probe_row_id AND i.provider = gate.provider AND gate.model IN ('', i.model)
                      AND (i.admitted_at IS NOT NULL OR i.status IN ('processing', 'generating', 'uploading'))));

-- Whether a call for this image may not start now.
CREATE FUNCTION gate_is_shut(of_provider text, of_model text, for_image bigint) RETURNS boolean LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM gates AS g
               WHERE g.provider = of_provider AND g.model IN ('', of_model)
                 AND (g.limited_until > safelight.now()
                      OR (g.shut_at IS NOT NULL
                          AND NOT coalesce(g.probe_row_id = for_image AND g.probe_until > safelight.now(), false))));

-- The backlog by what it waits for, so that a long one of a shut gate is passed over and not walked.
DROP INDEX images_backlog;
CREATE INDEX images_backlog ON images (provider, model, not_before, job_id, position)
    WHERE status = 'queued' AND admitted_at IS NULL;

-- In words that the planner takes for few even before it has seen the table: any row may be `admitted_at IS NOT NULL`.
DROP INDEX images_held;
CREATE INDEX images_held ON images (provider)
    WHERE status IN ('processing', 'generating', 'uploading') OR (status = 'queued' AND admitted_at IS NOT NULL);

-- Calls of the last minute.
CREATE INDEX attempts_by_provider ON attempts (provider, sent_at);
