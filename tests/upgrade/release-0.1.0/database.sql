--
-- PostgreSQL database dump
--

\restrict W93MJoViaTKhEpdM7qQLjto94LNKcWEgyQSaEBu4L9EQFHxunDY0fAMsDhqytXD

-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: safelight; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA safelight;


--
-- Name: pgqueuer_status; Type: TYPE; Schema: safelight; Owner: -
--

CREATE TYPE safelight.pgqueuer_status AS ENUM (
    'queued',
    'picked',
    'successful',
    'exception',
    'canceled',
    'deleted',
    'failed'
);


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: holds; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.holds (
    id bigint NOT NULL,
    account text NOT NULL,
    currency text NOT NULL,
    job_id text NOT NULL,
    image_row_id bigint NOT NULL,
    run integer NOT NULL,
    amount bigint NOT NULL,
    status text DEFAULT 'held'::text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    resolved_at timestamp with time zone,
    CONSTRAINT holds_amount_check CHECK ((amount > 0)),
    CONSTRAINT holds_check CHECK (((status = 'held'::text) = (resolved_at IS NULL))),
    CONSTRAINT holds_currency_check CHECK ((currency = ANY (ARRAY['credits'::text, 'usd'::text]))),
    CONSTRAINT holds_status_check CHECK ((status = ANY (ARRAY['held'::text, 'captured'::text, 'released'::text])))
);


--
-- Name: TABLE holds; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON TABLE safelight.holds IS 'the quote of one picture in one run of its image, taken at submit or retry and resolved once';


--
-- Name: jobs; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.jobs (
    id text NOT NULL,
    account text DEFAULT 'default'::text NOT NULL,
    idempotency_key text,
    request_fingerprint text NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    run integer DEFAULT 1 NOT NULL,
    retry_count integer DEFAULT 0 NOT NULL,
    seq bigint DEFAULT 0 NOT NULL,
    storage_prefix text,
    outputs jsonb NOT NULL,
    metadata jsonb NOT NULL,
    deadline_seconds double precision NOT NULL,
    on_deadline text NOT NULL,
    run_started_at timestamp with time zone NOT NULL,
    deadline_at timestamp with time zone NOT NULL,
    run_ends_at timestamp with time zone NOT NULL,
    deadline_passed boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    priority smallint DEFAULT 1 NOT NULL,
    not_before timestamp with time zone,
    log_cut_at timestamp with time zone,
    currency text,
    max_cost_microusd bigint,
    link_key bytea,
    removed_at timestamp with time zone,
    cleared_at timestamp with time zone,
    prompts_removed_at timestamp with time zone,
    handed_over_at timestamp with time zone,
    trace_context text,
    CONSTRAINT jobs_check CHECK (((removed_at IS NULL) OR ((prompts_removed_at IS NOT NULL) AND (status = ANY (ARRAY['completed'::text, 'partial'::text, 'failed'::text, 'canceled'::text]))))),
    CONSTRAINT jobs_check1 CHECK (((cleared_at IS NULL) OR (removed_at IS NOT NULL))),
    CONSTRAINT jobs_currency_check CHECK ((currency = ANY (ARRAY['credits'::text, 'usd'::text]))),
    CONSTRAINT jobs_deadline_seconds_check CHECK ((deadline_seconds > (0)::double precision)),
    CONSTRAINT jobs_link_key_check CHECK ((octet_length(link_key) = 32)),
    CONSTRAINT jobs_max_cost_microusd_check CHECK ((max_cost_microusd >= 0)),
    CONSTRAINT jobs_on_deadline_check CHECK ((on_deadline = ANY (ARRAY['fail'::text, 'continue'::text]))),
    CONSTRAINT jobs_priority_check CHECK (((priority >= 0) AND (priority <= 2))),
    CONSTRAINT jobs_retry_count_check CHECK ((retry_count >= 0)),
    CONSTRAINT jobs_run_check CHECK ((run >= 1)),
    CONSTRAINT jobs_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'generating'::text, 'canceling'::text, 'completed'::text, 'partial'::text, 'failed'::text, 'canceled'::text])))
);


--
-- Name: COLUMN jobs.seq; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.jobs.seq IS 'seq of the newest event; taken under the row''s lock, so the log has no gap';


--
-- Name: COLUMN jobs.run_ends_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.jobs.run_ends_at IS 'nothing of this run stays unfinished after it';


--
-- Name: COLUMN jobs.priority; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.jobs.priority IS '0 high, 1 normal, 2 low';


--
-- Name: COLUMN jobs.not_before; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.jobs.not_before IS 'as ordered; a run that waited for it counts from it (run_started_at)';


--
-- Name: COLUMN jobs.log_cut_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.jobs.log_cut_at IS 'when the last of its events was forgotten; events since begin above it, seq goes on';


--
-- Name: COLUMN jobs.currency; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.jobs.currency IS 'what its pictures are paid with, as of its latest hold; NULL: they are not';


--
-- Name: COLUMN jobs.max_cost_microusd; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.jobs.max_cost_microusd IS 'what its calls may cost in all its runs';


--
-- Name: COLUMN jobs.link_key; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.jobs.link_key IS 'what the lasting links to its pictures are derived from; NULL: it has none (visibility private)';


--
-- Name: COLUMN jobs.removed_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.jobs.removed_at IS 'since then nothing of it is served; its texts went in the same transaction';


--
-- Name: COLUMN jobs.cleared_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.jobs.cleared_at IS 'its stored pictures are deleted, every one; NULL after removed_at: somebody still has to';


--
-- Name: COLUMN jobs.prompts_removed_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.jobs.prompts_removed_at IS 'its prompts are gone, with or without the rest; it cannot be retried';


--
-- Name: COLUMN jobs.handed_over_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.jobs.handed_over_at IS 'when its pictures were first sent whole as the answer to the request that ordered them';


--
-- Name: COLUMN jobs.trace_context; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.jobs.trace_context IS 'W3C traceparent, and tracestate after a space; NULL: it was ordered outside of any trace';


--
-- Name: charge_of(text); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.charge_of(of_job text) RETURNS jsonb
    LANGUAGE sql STABLE
    RETURN (SELECT jsonb_build_object('currency', j.currency, 'held', COALESCE(sum(h.amount) FILTER (WHERE (h.status = 'held'::text)), (0)::numeric), 'captured', COALESCE(sum(h.amount) FILTER (WHERE (h.status = 'captured'::text)), (0)::numeric)) AS jsonb_build_object FROM (safelight.jobs j LEFT JOIN safelight.holds h ON (((h.job_id = j.id) AND (h.currency = j.currency)))) WHERE ((j.id = charge_of.of_job) AND (j.currency IS NOT NULL)) GROUP BY j.currency);


--
-- Name: count_call(); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.count_call() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'safelight'
    AS $$
DECLARE
    of_account text;
BEGIN
    SELECT j.account INTO of_account FROM images AS i JOIN jobs AS j ON j.id = i.job_id WHERE i.row_id = NEW.image_row_id;
    IF TG_OP = 'INSERT' OR OLD.budget_day IS NULL THEN
        PERFORM count_on_day(of_account, NEW.budget_day, held_by(NEW), spent_by(NEW), overage_of(NEW))
        WHERE NEW.budget_day IS NOT NULL;
    ELSE
        PERFORM count_on_day(of_account, NEW.budget_day, held_by(NEW) - held_by(OLD), spent_by(NEW) - spent_by(OLD),
                             overage_of(NEW) - overage_of(OLD));
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.status = 'unbilled' AND OLD.status <> 'unbilled' THEN
        UPDATE images SET reserved_microusd = NEW.estimate_microusd, reserved_on = NEW.budget_day
        WHERE row_id = NEW.image_row_id AND run = NEW.run AND reserved_microusd = 0
          AND status IN ('queued', 'processing', 'generating', 'uploading');
    END IF;
    RETURN NULL;
END $$;


--
-- Name: count_image(); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.count_image() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'safelight'
    AS $$
DECLARE
    of_account text;
BEGIN
    SELECT j.account INTO of_account FROM jobs AS j WHERE j.id = NEW.job_id;
    IF OLD.reserved_on IS NOT DISTINCT FROM NEW.reserved_on THEN
        PERFORM count_on_day(of_account, NEW.reserved_on, reserved_by(NEW) - reserved_by(OLD), 0, 0);
    ELSE
        PERFORM count_on_day(of_account, OLD.reserved_on, -reserved_by(OLD), 0, 0);
        PERFORM count_on_day(of_account, NEW.reserved_on, reserved_by(NEW), 0, 0);
    END IF;
    RETURN NULL;
END $$;


--
-- Name: count_on_day(text, date, bigint, bigint, bigint); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.count_on_day(of_account text, on_day date, held bigint, spent bigint, overage bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'safelight'
    AS $$
BEGIN
    IF (held, spent, overage) = (0, 0, 0) THEN
        RETURN;
    END IF;
    PERFORM take_account(of_account);
    INSERT INTO account_days (account, day) VALUES (of_account, on_day) ON CONFLICT DO NOTHING;
    UPDATE account_days AS d
    SET held_microusd = d.held_microusd + held, spent_microusd = d.spent_microusd + spent,
        overage_microusd = d.overage_microusd + overage
    WHERE d.account = of_account AND d.day = on_day;
END $$;


--
-- Name: fn_pgqueuer_changed(); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.fn_pgqueuer_changed() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    to_emit BOOLEAN := false;  -- Flag to decide whether to emit a notification
BEGIN
    -- Check operation type and set the emit flag accordingly
    IF TG_OP = 'UPDATE' AND OLD IS DISTINCT FROM NEW THEN
        to_emit := true;
    ELSIF TG_OP = 'DELETE' THEN
        to_emit := true;
    ELSIF TG_OP = 'INSERT' THEN
        to_emit := true;
    ELSIF TG_OP = 'TRUNCATE' THEN
        to_emit := true;
    END IF;

    -- Perform notification if the emit flag is set
    IF to_emit THEN
        PERFORM pg_notify(
            'ch_pgqueuer',
            json_build_object(
                'channel', 'ch_pgqueuer',
                'operation', lower(TG_OP),
                'sent_at', NOW(),
                'table', TG_TABLE_NAME,
                'type', 'table_changed_event'
            )::text
        );
    END IF;

    -- Return appropriate value based on the operation
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        RETURN NEW;
    ELSIF TG_OP = 'DELETE' THEN
        RETURN OLD;
    ELSE
        RETURN NULL; -- For TRUNCATE and other non-row-specific contexts
    END IF;

END;
$$;


--
-- Name: follow_image(); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.follow_image() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'safelight'
    AS $$
BEGIN
    PERFORM resolve_hold(OLD.row_id, OLD.run, NEW.run = OLD.run AND NEW.status = 'completed');
    RETURN NULL;
END $$;


--
-- Name: installation; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.installation (
    only_row boolean DEFAULT true NOT NULL,
    clock_shift interval DEFAULT '00:00:00'::interval NOT NULL,
    store_marker text,
    paused_at timestamp with time zone,
    pause_reason text,
    feed_epoch integer DEFAULT 1 NOT NULL,
    blobs_walked_at timestamp with time zone,
    CONSTRAINT installation_only_row_check CHECK (only_row)
);


--
-- Name: COLUMN installation.feed_epoch; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.installation.feed_epoch IS 'raised when the rows come from another server (a restored dump), whose transactions were counted differently';


--
-- Name: COLUMN installation.blobs_walked_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.installation.blobs_walked_at IS 'when the store was last walked in search of blobs that nothing names';


--
-- Name: now(); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.now() RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    RETURN (statement_timestamp() + (SELECT installation.clock_shift FROM safelight.installation));


--
-- Name: gates; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.gates (
    provider text NOT NULL,
    model text NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    code text,
    message text,
    shut_at timestamp with time zone,
    probe_at timestamp with time zone,
    failed_probes integer DEFAULT 0 NOT NULL,
    probe_row_id bigint,
    probe_given_at timestamp with time zone,
    probe_until timestamp with time zone,
    limits integer DEFAULT 0 NOT NULL,
    limited_until timestamp with time zone,
    CONSTRAINT gates_check CHECK (((shut_at IS NULL) = (probe_at IS NULL))),
    CONSTRAINT gates_check1 CHECK (((shut_at IS NOT NULL) OR (probe_row_id IS NULL))),
    CONSTRAINT gates_check2 CHECK ((num_nulls(probe_row_id, probe_given_at, probe_until) = ANY (ARRAY[0, 3]))),
    CONSTRAINT gates_failed_probes_check CHECK ((failed_probes >= 0)),
    CONSTRAINT gates_failures_check CHECK ((failures >= 0)),
    CONSTRAINT gates_limits_check CHECK ((limits >= 0))
);


--
-- Name: TABLE gates; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON TABLE safelight.gates IS 'a provider and model without a row has nothing counted against it: its gate is open';


--
-- Name: COLUMN gates.model; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.gates.model IS 'empty: the gate of the whole account';


--
-- Name: COLUMN gates.failures; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.gates.failures IS 'in a row, while the gate is open';


--
-- Name: COLUMN gates.code; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.gates.code IS 'of the latest failure that counted';


--
-- Name: COLUMN gates.shut_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.gates.shut_at IS 'no call passes but a probe; open when NULL';


--
-- Name: COLUMN gates.probe_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.gates.probe_at IS 'from when on one image may try whether the provider works again';


--
-- Name: COLUMN gates.probe_row_id; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.gates.probe_row_id IS 'the image that may pass the shut gate, until probe_until';


--
-- Name: COLUMN gates.limits; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.gates.limits IS 'rate limits in a row, for the pause after one that names none';


--
-- Name: gate_is_shut(text, text, bigint); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.gate_is_shut(of_provider text, of_model text, for_image bigint) RETURNS boolean
    LANGUAGE sql STABLE
    RETURN (EXISTS (SELECT FROM safelight.gates g WHERE ((g.provider = gate_is_shut.of_provider) AND (g.model = ANY (ARRAY[''::text, gate_is_shut.of_model])) AND ((g.limited_until > safelight.now()) OR ((g.shut_at IS NOT NULL) AND (NOT COALESCE(((g.probe_row_id = gate_is_shut.for_image) AND (g.probe_until > safelight.now())), false)))))));


--
-- Name: attempts; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.attempts (
    id text NOT NULL,
    image_row_id bigint NOT NULL,
    number integer NOT NULL,
    run integer NOT NULL,
    status text DEFAULT 'sent'::text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    fingerprint text NOT NULL,
    claim_token uuid NOT NULL,
    worker_id uuid NOT NULL,
    sent_at timestamp with time zone NOT NULL,
    deadline_at timestamp with time zone NOT NULL,
    resolve_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    estimate_microusd bigint,
    cost_microusd bigint,
    cost_basis text,
    price_ref text,
    usage jsonb,
    unbilled_by_policy boolean DEFAULT false NOT NULL,
    error_kind text,
    error_code text,
    http_status integer,
    request_id text,
    sha256 text,
    length bigint,
    remote jsonb,
    submitted_at timestamp with time zone,
    is_budgeted boolean DEFAULT false NOT NULL,
    budget_day date,
    stranded_in text,
    CONSTRAINT attempts_cost_basis_check CHECK ((cost_basis = ANY (ARRAY['usage'::text, 'table'::text, 'estimate'::text, 'unknown'::text]))),
    CONSTRAINT attempts_cost_microusd_check CHECK ((cost_microusd >= 0)),
    CONSTRAINT attempts_estimate_microusd_check CHECK ((estimate_microusd >= 0)),
    CONSTRAINT attempts_status_check CHECK ((status = ANY (ARRAY['sent'::text, 'submitted'::text, 'received'::text, 'settled'::text, 'unbilled'::text, 'no_image'::text, 'refused'::text, 'unknown'::text]))),
    CONSTRAINT attempts_submitted_has_handle CHECK (((status <> 'submitted'::text) OR (remote IS NOT NULL)))
);


--
-- Name: TABLE attempts; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON TABLE safelight.attempts IS 'the provider book: one row per call that may cost money, committed before the call';


--
-- Name: COLUMN attempts.resolve_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.attempts.resolve_at IS 'deadline and grace: after it the call can no longer answer';


--
-- Name: COLUMN attempts.estimate_microusd; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.attempts.estimate_microusd IS 'what the call may have cost at most while its outcome is unknown';


--
-- Name: COLUMN attempts.remote; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.attempts.remote IS 'how to ask after the vendor''s job: its id and addresses, no key';


--
-- Name: COLUMN attempts.budget_day; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.attempts.budget_day IS 'the day of its account that it is counted on; NULL: of none. Whoever sets it later counts it there (count_today)';


--
-- Name: COLUMN attempts.stranded_in; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.attempts.stranded_in IS 'the staging folder, on one host, that alone holds the bytes of this attempt; null when every worker finds them';


--
-- Name: held_by(safelight.attempts); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.held_by(call safelight.attempts) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN ((call).status = ANY (ARRAY['sent'::text, 'submitted'::text])) THEN COALESCE((call).estimate_microusd, (0)::bigint) ELSE (0)::bigint END;


--
-- Name: hour_of(timestamp with time zone, text); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.hour_of(moment timestamp with time zone, zone text) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    RETURN (moment - ((moment AT TIME ZONE zone) - date_trunc('hour'::text, (moment AT TIME ZONE zone))));


--
-- Name: next_midnight(text); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.next_midnight(zone text) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    RETURN ((date_trunc('day'::text, (safelight.now() AT TIME ZONE zone)) + '1 day'::interval) AT TIME ZONE zone);


--
-- Name: note_call(); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.note_call() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO safelight.tally_notes (what, image_row_id, provider, model, was, became, error_kind, is_first, began_at, ended_at,
                             cost_before, cost_microusd, estimate_microusd)
    VALUES ('call', NEW.image_row_id, NEW.provider, NEW.model, CASE TG_OP WHEN 'UPDATE' THEN OLD.status ELSE 'sent' END,
            NEW.status, NEW.error_kind, NEW.number = 1, NEW.sent_at, NEW.ended_at,
            CASE TG_OP WHEN 'UPDATE' THEN OLD.cost_microusd END, NEW.cost_microusd, NEW.estimate_microusd);
    RETURN NULL;
END $$;


--
-- Name: note_image(); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.note_image() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO safelight.tally_notes (what, image_row_id, job_id, provider, model, was, became, error_kind, is_first, began_at, ended_at)
    VALUES ('image', NEW.row_id, NEW.job_id, NEW.provider, NEW.model, OLD.status, NEW.status,
            CASE WHEN NEW.status <> 'completed' THEN NEW.error ->> 'kind' END, NEW.retry_count = 0, NEW.created_at,
            NEW.completed_at);
    RETURN NULL;
END $$;


--
-- Name: note_job(); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.note_job() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO safelight.tally_notes (what, job_id, was, became) VALUES ('job', NEW.id, OLD.status, NEW.status);
    RETURN NULL;
END $$;


--
-- Name: note_message(); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.note_message() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO safelight.tally_notes (what, was, became, is_first, began_at, ended_at)
    VALUES ('message', OLD.status, NEW.status, NEW.attempt_count > OLD.attempt_count, NEW.wanted_at, NEW.ended_at);
    RETURN NULL;
END $$;


--
-- Name: open_books(text, text); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.open_books(of_account text, in_currency text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'safelight'
    AS $$
BEGIN
    PERFORM take_account(of_account);
    INSERT INTO balances (account, currency) VALUES (of_account, in_currency) ON CONFLICT DO NOTHING;
END $$;


--
-- Name: spent_by(safelight.attempts); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.spent_by(call safelight.attempts) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN ((call).status = ANY (ARRAY['sent'::text, 'submitted'::text])) THEN (0)::bigint WHEN ((call).status = 'unbilled'::text) THEN COALESCE((call).cost_microusd, (0)::bigint) ELSE COALESCE((call).cost_microusd, (call).estimate_microusd, (0)::bigint) END;


--
-- Name: overage_of(safelight.attempts); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.overage_of(call safelight.attempts) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    RETURN GREATEST((safelight.spent_by(call) - COALESCE((call).estimate_microusd, (0)::bigint)), (0)::bigint);


--
-- Name: post_notice(); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.post_notice() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'safelight'
    AS $$
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


--
-- Name: images; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.images (
    row_id bigint NOT NULL,
    job_id text NOT NULL,
    "position" integer NOT NULL,
    id text NOT NULL,
    image_group text NOT NULL,
    status text DEFAULT 'queued'::text NOT NULL,
    failure_stage text,
    error jsonb,
    provider text NOT NULL,
    model text NOT NULL,
    prompt text NOT NULL,
    options jsonb NOT NULL,
    fingerprint text NOT NULL,
    estimate_microusd bigint,
    timeout_seconds double precision NOT NULL,
    max_attempts integer NOT NULL,
    max_rebuys integer NOT NULL,
    on_uncertain text NOT NULL,
    run integer DEFAULT 1 NOT NULL,
    retry_count integer DEFAULT 0 NOT NULL,
    attempt_count integer DEFAULT 0 NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    not_before timestamp with time zone NOT NULL,
    generation integer DEFAULT 0 NOT NULL,
    lane text DEFAULT 'buy'::text NOT NULL,
    admitted_at timestamp with time zone,
    queue_row_id bigint,
    claim_token uuid,
    worker_id uuid,
    stop text,
    furthest_stage smallint DEFAULT 0 NOT NULL,
    crash_count smallint DEFAULT 0 NOT NULL,
    crash_owner uuid,
    created_at timestamp with time zone NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    broken_steps smallint DEFAULT 0 NOT NULL,
    targets jsonb,
    target smallint DEFAULT 0 NOT NULL,
    on_refusal text DEFAULT 'stop'::text NOT NULL,
    alternate_prompt text,
    original_prompt text,
    priority smallint DEFAULT 1 NOT NULL,
    awaits_parents boolean DEFAULT false NOT NULL,
    stuck_since timestamp with time zone,
    style jsonb,
    quote bigint,
    reserved_microusd bigint,
    reserved_on date,
    account text DEFAULT 'default'::text NOT NULL,
    CONSTRAINT images_check CHECK (((status = ANY (ARRAY['processing'::text, 'generating'::text, 'uploading'::text])) = (claim_token IS NOT NULL))),
    CONSTRAINT images_check1 CHECK (((admitted_at IS NULL) OR (status = 'queued'::text))),
    CONSTRAINT images_check2 CHECK (((target = 0) OR (target < jsonb_array_length(targets)))),
    CONSTRAINT images_check3 CHECK (((NOT awaits_parents) OR ((status = 'queued'::text) AND (admitted_at IS NULL)))),
    CONSTRAINT images_estimate_microusd_check CHECK ((estimate_microusd >= 0)),
    CONSTRAINT images_failure_stage_check CHECK ((failure_stage = ANY (ARRAY['processing'::text, 'generating'::text, 'uploading'::text, 'persisting'::text]))),
    CONSTRAINT images_lane_check CHECK ((lane = ANY (ARRAY['buy'::text, 'finish'::text]))),
    CONSTRAINT images_max_attempts_check CHECK ((max_attempts >= 1)),
    CONSTRAINT images_max_rebuys_check CHECK ((max_rebuys >= 0)),
    CONSTRAINT images_on_refusal_check CHECK ((on_refusal = ANY (ARRAY['stop'::text, 'next_provider'::text, 'alternate_prompt'::text]))),
    CONSTRAINT images_on_uncertain_check CHECK ((on_uncertain = ANY (ARRAY['hold'::text, 'fail'::text, 'retry_once'::text]))),
    CONSTRAINT images_priority_check CHECK (((priority >= 0) AND (priority <= 3))),
    CONSTRAINT images_quote_check CHECK ((quote >= 0)),
    CONSTRAINT images_reserved_microusd_check CHECK ((reserved_microusd >= 0)),
    CONSTRAINT images_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'processing'::text, 'generating'::text, 'uploading'::text, 'completed'::text, 'failed'::text, 'refused'::text, 'canceled'::text, 'uncertain'::text]))),
    CONSTRAINT images_stop_check CHECK ((stop = ANY (ARRAY['cancel'::text, 'abort'::text, 'deadline'::text]))),
    CONSTRAINT images_timeout_seconds_check CHECK ((timeout_seconds > (0)::double precision))
);


--
-- Name: COLUMN images.failures; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.images.failures IS 'failures in a row in this run, for the backoff';


--
-- Name: COLUMN images.generation; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.images.generation IS 'raised by each admission; a queue row of another generation is stale';


--
-- Name: COLUMN images.lane; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.images.lane IS 'buy: may start a billable call; finish: only resolves or uses earlier ones';


--
-- Name: COLUMN images.furthest_stage; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.images.furthest_stage IS '1 processing, 2 generating, 3 uploading: reaching further clears crash_count';


--
-- Name: COLUMN images.crash_owner; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.images.crash_owner IS 'the worker last counted as crashed; it takes the count back when it turns out to live';


--
-- Name: COLUMN images.targets; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.images.targets IS 'what provider, model, options, timeout_seconds and estimate_microusd may become, in order; NULL: there is no other way';


--
-- Name: COLUMN images.original_prompt; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.images.original_prompt IS 'the prompt as ordered, once the alternate one has taken its place';


--
-- Name: COLUMN images.priority; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.images.priority IS 'the job''s; 3, behind everything, once its run''s deadline has passed and it goes on';


--
-- Name: COLUMN images.awaits_parents; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.images.awaits_parents IS 'an image that it references has no picture yet: in no backlog, and never admitted';


--
-- Name: COLUMN images.stuck_since; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.images.stuck_since IS 'image.stuck was told of the standstill that began then; a standstill that began at another time has not been told';


--
-- Name: COLUMN images.style; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.images.style IS 'name, before_chars, after_chars: what stands around the caller''s own words in prompt and alternate_prompt; NULL: nothing';


--
-- Name: COLUMN images.quote; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.images.quote IS 'what its picture costs the account in this run, in the job''s currency; NULL: nothing is asked';


--
-- Name: COLUMN images.reserved_microusd; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.images.reserved_microusd IS 'of a budget, for its next call; NULL: no budget concerns it';


--
-- Name: COLUMN images.reserved_on; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.images.reserved_on IS 'the day of its account whose budget that is; NULL: its job''s alone';


--
-- Name: COLUMN images.account; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.images.account IS 'the job''s, here so that admission finds by index who waits';


--
-- Name: probe_is_out(safelight.gates); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.probe_is_out(gate safelight.gates) RETURNS boolean
    LANGUAGE sql STABLE
    RETURN ((EXISTS (SELECT FROM safelight.attempts a WHERE ((a.image_row_id = (probe_is_out.gate).probe_row_id) AND (a.sent_at >= (probe_is_out.gate).probe_given_at) AND (a.provider = (probe_is_out.gate).provider) AND (((probe_is_out.gate).model = ''::text) OR ((probe_is_out.gate).model = a.model)) AND (((probe_is_out.gate).probe_until > safelight.now()) OR ((a.status = 'sent'::text) AND (a.resolve_at > safelight.now())))))) OR (((gate).probe_until > safelight.now()) AND (EXISTS (SELECT FROM safelight.images i WHERE ((i.row_id = (probe_is_out.gate).probe_row_id) AND (i.provider = (probe_is_out.gate).provider) AND (((probe_is_out.gate).model = ''::text) OR ((probe_is_out.gate).model = i.model)) AND ((i.admitted_at IS NOT NULL) OR (i.status = ANY (ARRAY['processing'::text, 'generating'::text, 'uploading'::text]))))))));


--
-- Name: refuse_change(); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is only ever added to' USING ERRCODE = 'restrict_violation';
END $$;


--
-- Name: reserved_by(safelight.images); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.reserved_by(image safelight.images) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN (((image).reserved_on IS NOT NULL) AND ((image).status = ANY (ARRAY['queued'::text, 'processing'::text, 'generating'::text, 'uploading'::text]))) THEN COALESCE((image).reserved_microusd, (0)::bigint) ELSE (0)::bigint END;


--
-- Name: resolve_hold(bigint, integer, boolean); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.resolve_hold(of_image bigint, in_run integer, is_delivered boolean) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'safelight'
    AS $$
DECLARE
    resolved holds;
    after balances;
BEGIN
    PERFORM take_account(h.account) FROM holds AS h
    WHERE h.image_row_id = of_image AND h.run = in_run AND h.status = 'held';
    UPDATE holds SET status = CASE WHEN is_delivered THEN 'captured' ELSE 'released' END, resolved_at = safelight.now()
    WHERE image_row_id = of_image AND run = in_run AND status = 'held'
    RETURNING * INTO resolved;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE balances
    SET held = held - resolved.amount,
        captured = captured + CASE WHEN is_delivered THEN resolved.amount ELSE 0 END,
        available = available + CASE WHEN is_delivered THEN 0 ELSE resolved.amount END
    WHERE account = resolved.account AND currency = resolved.currency
    RETURNING * INTO after;
    INSERT INTO ledger (at, account, currency, kind, debit, credit, amount, available_after, held_after, hold_id)
    VALUES (resolved.resolved_at, resolved.account, resolved.currency,
            CASE WHEN is_delivered THEN 'capture' ELSE 'release' END,
            'held', CASE WHEN is_delivered THEN 'captured' ELSE 'available' END,
            resolved.amount, after.available, after.held, resolved.id);
    RETURN true;
END $$;


--
-- Name: take_account(text); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.take_account(of_account text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'safelight'
    AS $$
BEGIN
    PERFORM FROM accounts WHERE id = of_account FOR NO KEY UPDATE;
END $$;


--
-- Name: tell_thresholds(); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.tell_thresholds() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'safelight'
    AS $$
DECLARE
    budget bigint;
    used bigint := NEW.held_microusd + NEW.spent_microusd;
    threshold smallint;
BEGIN
    SELECT a.daily_budget_microusd INTO budget FROM accounts AS a WHERE a.id = NEW.account;
    IF budget IS NULL THEN
        RETURN NEW;
    END IF;
    IF NEW.told_of_microusd IS DISTINCT FROM budget THEN
        NEW.told_of_microusd := budget;
        NEW.told_percent := 0;
    END IF;
    FOREACH threshold IN ARRAY ARRAY[50, 80, 100] LOOP
        IF threshold > NEW.told_percent AND used > 0 AND used * 100 >= threshold * budget THEN
            NEW.told_percent := threshold;
            PERFORM pg_advisory_xact_lock(hashtext('safelight.notices'));
            INSERT INTO notices (at, type, account, data)
            VALUES (safelight.now(), 'budget.threshold', NEW.account,
                    jsonb_build_object('percent', threshold, 'day', NEW.day, 'budget_usd', usd(budget), 'used_usd', usd(used)));
        END IF;
    END LOOP;
    RETURN NEW;
END $$;


--
-- Name: today(); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.today() RETURNS date
    LANGUAGE sql STABLE
    RETURN ((safelight.now() AT TIME ZONE 'UTC'::text))::date;


--
-- Name: usd(bigint); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.usd(microusd bigint) RETURNS text
    LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN ((microusd % (1000)::bigint) = 0) THEN (round(((microusd)::numeric / 1000000.0), 3))::text ELSE (trim_scale(((microusd)::numeric / 1000000.0)))::text END;


--
-- Name: workers; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.workers (
    id uuid NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    providers text[] NOT NULL,
    slots integer NOT NULL,
    finish_slots integer NOT NULL,
    draining boolean DEFAULT false NOT NULL,
    started_at timestamp with time zone NOT NULL,
    heartbeat_at timestamp with time zone NOT NULL
);


--
-- Name: worker_lives(uuid, double precision); Type: FUNCTION; Schema: safelight; Owner: -
--

CREATE FUNCTION safelight.worker_lives(worker uuid, lease_seconds double precision) RETURNS boolean
    LANGUAGE sql STABLE
    RETURN (EXISTS (SELECT FROM safelight.workers w WHERE ((w.id = worker_lives.worker) AND (w.heartbeat_at > (safelight.now() - make_interval(secs => worker_lives.lease_seconds))))));


--
-- Name: account_days; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.account_days (
    account text NOT NULL,
    day date NOT NULL,
    held_microusd bigint DEFAULT 0 NOT NULL,
    spent_microusd bigint DEFAULT 0 NOT NULL,
    overage_microusd bigint DEFAULT 0 NOT NULL,
    told_of_microusd bigint,
    told_percent smallint DEFAULT 0 NOT NULL
)
WITH (fillfactor='70');


--
-- Name: TABLE account_days; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON TABLE safelight.account_days IS 'figures for budgets, of days on which the account had one, or a job that reserved for it';


--
-- Name: COLUMN account_days.spent_microusd; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.account_days.spent_microusd IS 'of calls whose cost nobody knows, the estimate';


--
-- Name: COLUMN account_days.overage_microusd; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.account_days.overage_microusd IS 'what calls have cost beyond their estimates: the one way past a budget';


--
-- Name: COLUMN account_days.told_percent; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.account_days.told_percent IS 'the highest threshold that was told of the budget `told_of_microusd`';


--
-- Name: accounts; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.accounts (
    id text NOT NULL,
    billing text DEFAULT 'none'::text NOT NULL,
    weight integer DEFAULT 1 NOT NULL,
    max_concurrency integer,
    daily_budget_microusd bigint,
    created_at timestamp with time zone DEFAULT safelight.now() NOT NULL,
    max_queued integer,
    CONSTRAINT accounts_billing_check CHECK ((billing = ANY (ARRAY['none'::text, 'credits'::text, 'usd'::text]))),
    CONSTRAINT accounts_daily_budget_microusd_check CHECK ((daily_budget_microusd >= 0)),
    CONSTRAINT accounts_id_check CHECK ((id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'::text)),
    CONSTRAINT accounts_max_concurrency_check CHECK ((max_concurrency >= 1)),
    CONSTRAINT accounts_max_queued_check CHECK ((max_queued >= 0)),
    CONSTRAINT accounts_weight_check CHECK (((weight >= 1) AND (weight <= 100)))
);


--
-- Name: COLUMN accounts.billing; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.accounts.billing IS 'what a job is paid with in advance; none: nothing is held';


--
-- Name: COLUMN accounts.weight; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.accounts.weight IS 'its share of what runs, beside those of others who wait';


--
-- Name: COLUMN accounts.max_concurrency; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.accounts.max_concurrency IS 'its images that are being made at once; NULL: no limit of its own';


--
-- Name: COLUMN accounts.max_queued; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.accounts.max_queued IS 'its images that may wait; NULL: no limit of its own';


--
-- Name: alert_messages; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.alert_messages (
    id bigint NOT NULL,
    alert_id bigint NOT NULL,
    rule text NOT NULL,
    kind text NOT NULL,
    severity text NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    page text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    claim uuid,
    tries integer DEFAULT 0 NOT NULL,
    accepted text[] DEFAULT '{}'::text[] NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    ended_at timestamp with time zone,
    error text,
    CONSTRAINT alert_messages_check CHECK (((status = 'pending'::text) = (ended_at IS NULL))),
    CONSTRAINT alert_messages_kind_check CHECK ((kind = ANY (ARRAY['firing'::text, 'escalated'::text, 'reminder'::text, 'resolved'::text]))),
    CONSTRAINT alert_messages_severity_check CHECK ((severity = ANY (ARRAY['warning'::text, 'critical'::text]))),
    CONSTRAINT alert_messages_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'sent'::text, 'dead'::text])))
);


--
-- Name: TABLE alert_messages; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON TABLE safelight.alert_messages IS 'written with the change that they tell of, so that none is lost; sent at least once';


--
-- Name: COLUMN alert_messages.due_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.alert_messages.due_at IS 'from when on anybody may send it; while somebody does, the end of their lease';


--
-- Name: COLUMN alert_messages.accepted; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.alert_messages.accepted IS 'services that took it, by scheme and position: they are not asked again';


--
-- Name: alert_messages_id_seq; Type: SEQUENCE; Schema: safelight; Owner: -
--

ALTER TABLE safelight.alert_messages ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME safelight.alert_messages_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: alert_watch; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.alert_watch (
    only_row boolean DEFAULT true NOT NULL,
    evaluated_at timestamp with time zone,
    CONSTRAINT alert_watch_only_row_check CHECK (only_row)
);


--
-- Name: TABLE alert_watch; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON TABLE safelight.alert_watch IS 'its row is locked by whoever evaluates: one process at a time, for all of them';


--
-- Name: alerts; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.alerts (
    id bigint NOT NULL,
    rule text NOT NULL,
    subject text NOT NULL,
    seen_since timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    clear_since timestamp with time zone,
    firing_since timestamp with time zone,
    severity text,
    told_severity text,
    told_at timestamp with time zone,
    notified_at timestamp with time zone,
    resolved_at timestamp with time zone,
    title text NOT NULL,
    found text NOT NULL,
    remedy text NOT NULL,
    page text NOT NULL,
    CONSTRAINT alerts_check CHECK ((num_nulls(firing_since, severity, told_severity, told_at) = ANY (ARRAY[0, 4]))),
    CONSTRAINT alerts_check1 CHECK (((resolved_at IS NULL) OR (firing_since IS NOT NULL))),
    CONSTRAINT alerts_severity_check CHECK ((severity = ANY (ARRAY['warning'::text, 'critical'::text]))),
    CONSTRAINT alerts_told_severity_check CHECK ((told_severity = ANY (ARRAY['warning'::text, 'critical'::text])))
);


--
-- Name: COLUMN alerts.subject; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.alerts.subject IS 'what of the rule it concerns: a provider, an endpoint, a schedule; empty: all';


--
-- Name: COLUMN alerts.seen_since; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.alerts.seen_since IS 'when this was first seen; NULL in firing_since: not for long enough yet';


--
-- Name: COLUMN alerts.clear_since; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.alerts.clear_since IS 'not seen since then; it is resolved when that has lasted';


--
-- Name: COLUMN alerts.told_severity; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.alerts.told_severity IS 'the highest that this firing was told with';


--
-- Name: COLUMN alerts.told_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.alerts.told_at IS 'when it was last decided to tell; notified_at: when somebody was last told';


--
-- Name: alerts_id_seq; Type: SEQUENCE; Schema: safelight; Owner: -
--

ALTER TABLE safelight.alerts ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME safelight.alerts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: api_keys; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.api_keys (
    id text NOT NULL,
    account text NOT NULL,
    name text,
    scopes text[] NOT NULL,
    digest bytea NOT NULL,
    created_at timestamp with time zone DEFAULT safelight.now() NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    last_used_at timestamp with time zone,
    CONSTRAINT api_keys_digest_check CHECK ((octet_length(digest) = 32)),
    CONSTRAINT api_keys_id_check CHECK ((id ~ '^key_[0-9A-HJKMNP-TV-Z]{26}$'::text)),
    CONSTRAINT api_keys_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT api_keys_scopes_check CHECK (((cardinality(scopes) > 0) AND (scopes <@ ARRAY['read'::text, 'submit'::text, 'admin'::text])))
);


--
-- Name: COLUMN api_keys.last_used_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.api_keys.last_used_at IS 'a minute old at most while the key is in use';


--
-- Name: balances; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.balances (
    account text NOT NULL,
    currency text NOT NULL,
    available bigint DEFAULT 0 NOT NULL,
    held bigint DEFAULT 0 NOT NULL,
    captured bigint DEFAULT 0 NOT NULL,
    CONSTRAINT balances_available_check CHECK ((available >= 0)),
    CONSTRAINT balances_captured_check CHECK ((captured >= 0)),
    CONSTRAINT balances_currency_check CHECK ((currency = ANY (ARRAY['credits'::text, 'usd'::text]))),
    CONSTRAINT balances_held_check CHECK ((held >= 0))
)
WITH (fillfactor='70');


--
-- Name: TABLE balances; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON TABLE safelight.balances IS 'the sums of the ledger, book by book; credits are whole, dollars are micro-USD';


--
-- Name: deliveries; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.deliveries (
    id bigint NOT NULL,
    message_id text DEFAULT ('msg_'::text || replace((gen_random_uuid())::text, '-'::text, ''::text)) NOT NULL,
    account text NOT NULL,
    endpoint_id text NOT NULL,
    lane text NOT NULL,
    type text NOT NULL,
    job_id text,
    seq bigint,
    notice_id bigint,
    status text DEFAULT 'pending'::text NOT NULL,
    attempt_count integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    wanted_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    attempted_at timestamp with time zone,
    ended_at timestamp with time zone,
    http_status integer,
    error text,
    reply text,
    CONSTRAINT deliveries_attempt_count_check CHECK ((attempt_count >= 0)),
    CONSTRAINT deliveries_check CHECK (((status = 'pending'::text) = (ended_at IS NULL))),
    CONSTRAINT deliveries_reply_check CHECK ((octet_length(reply) <= 1024)),
    CONSTRAINT deliveries_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'delivered'::text, 'dead'::text])))
);


--
-- Name: TABLE deliveries; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON TABLE safelight.deliveries IS 'messages to endpoints; no reference to endpoints, whose rows all writers would have to lock';


--
-- Name: COLUMN deliveries.message_id; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.deliveries.message_id IS 'webhook-id: the same on every attempt';


--
-- Name: COLUMN deliveries.seq; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.deliveries.seq IS 'of the event, which is read when the message is sent';


--
-- Name: COLUMN deliveries.wanted_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.deliveries.wanted_at IS 'when it was made, or asked for again';


--
-- Name: deliveries_id_seq; Type: SEQUENCE; Schema: safelight; Owner: -
--

ALTER TABLE safelight.deliveries ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME safelight.deliveries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: events; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.events (
    job_id text NOT NULL,
    seq bigint NOT NULL,
    type text NOT NULL,
    image_id text,
    data jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    account text NOT NULL,
    xact xid8 DEFAULT pg_current_xact_id() NOT NULL
);


--
-- Name: holds_id_seq; Type: SEQUENCE; Schema: safelight; Owner: -
--

ALTER TABLE safelight.holds ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME safelight.holds_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: image_references; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.image_references (
    child_row_id bigint NOT NULL,
    "position" smallint NOT NULL,
    parent_row_id bigint,
    role text,
    upload_id text,
    url text,
    is_mask boolean DEFAULT false NOT NULL,
    CONSTRAINT image_references_check CHECK ((child_row_id <> parent_row_id)),
    CONSTRAINT image_references_check1 CHECK (((parent_row_id IS NULL) = (num_nonnulls(upload_id, url) > 0))),
    CONSTRAINT image_references_check2 CHECK (((NOT is_mask) OR ((parent_row_id IS NULL) AND (url IS NULL))))
);


--
-- Name: TABLE image_references; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON TABLE safelight.image_references IS 'which pictures of its own job an image is made from, in the order in which its vendor sees them';


--
-- Name: COLUMN image_references.upload_id; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.image_references.upload_id IS 'without a foreign key: an upload goes when nothing that lives needs it, and what was made of it stays';


--
-- Name: COLUMN image_references.is_mask; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.image_references.is_mask IS 'where the first reference may be changed; it comes after all of them';


--
-- Name: images_row_id_seq; Type: SEQUENCE; Schema: safelight; Owner: -
--

ALTER TABLE safelight.images ALTER COLUMN row_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME safelight.images_row_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: ledger; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.ledger (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    account text NOT NULL,
    currency text NOT NULL,
    kind text NOT NULL,
    debit text NOT NULL,
    credit text NOT NULL,
    amount bigint NOT NULL,
    available_after bigint NOT NULL,
    held_after bigint NOT NULL,
    hold_id bigint,
    reason text,
    idempotency_key text,
    CONSTRAINT ledger_amount_check CHECK ((amount > 0)),
    CONSTRAINT ledger_available_after_check CHECK ((available_after >= 0)),
    CONSTRAINT ledger_check CHECK (((kind = ANY (ARRAY['hold'::text, 'capture'::text, 'release'::text])) = (hold_id IS NOT NULL))),
    CONSTRAINT ledger_check1 CHECK ((((kind = 'top_up'::text) AND (debit = 'outside'::text) AND (credit = 'available'::text)) OR ((kind = 'adjustment'::text) AND (((debit = 'outside'::text) AND (credit = 'available'::text)) OR ((debit = 'available'::text) AND (credit = 'outside'::text)))) OR ((kind = 'hold'::text) AND (debit = 'available'::text) AND (credit = 'held'::text)) OR ((kind = 'capture'::text) AND (debit = 'held'::text) AND (credit = 'captured'::text)) OR ((kind = 'release'::text) AND (debit = 'held'::text) AND (credit = 'available'::text)))),
    CONSTRAINT ledger_currency_check CHECK ((currency = ANY (ARRAY['credits'::text, 'usd'::text]))),
    CONSTRAINT ledger_held_after_check CHECK ((held_after >= 0)),
    CONSTRAINT ledger_kind_check CHECK ((kind = ANY (ARRAY['top_up'::text, 'adjustment'::text, 'hold'::text, 'capture'::text, 'release'::text])))
);


--
-- Name: TABLE ledger; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON TABLE safelight.ledger IS 'double entry, one row per transfer: what leaves the book `debit` arrives in the book `credit`';


--
-- Name: COLUMN ledger.available_after; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.ledger.available_after IS 'the balance once this was entered';


--
-- Name: ledger_id_seq; Type: SEQUENCE; Schema: safelight; Owner: -
--

ALTER TABLE safelight.ledger ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME safelight.ledger_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: migrations; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Name: notices; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.notices (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    type text NOT NULL,
    provider text,
    model text,
    code text,
    message text,
    data jsonb NOT NULL,
    account text,
    xact xid8 DEFAULT pg_current_xact_id() NOT NULL,
    CONSTRAINT notices_type_check CHECK ((type ~ '^[a-z]+\.[a-z_]+$'::text))
);


--
-- Name: TABLE notices; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON TABLE safelight.notices IS 'what concerns the whole installation, in order: a reader that has seen an id has seen all below it';


--
-- Name: COLUMN notices.account; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.notices.account IS 'whom it concerns; NULL: everybody';


--
-- Name: notices_id_seq; Type: SEQUENCE; Schema: safelight; Owner: -
--

ALTER TABLE safelight.notices ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME safelight.notices_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: pgqueuer; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.pgqueuer (
    id bigint NOT NULL,
    priority integer NOT NULL,
    queue_manager_id uuid,
    created timestamp with time zone DEFAULT now() NOT NULL,
    updated timestamp with time zone DEFAULT now() NOT NULL,
    heartbeat timestamp with time zone DEFAULT now() NOT NULL,
    execute_after timestamp with time zone DEFAULT now() NOT NULL,
    status safelight.pgqueuer_status NOT NULL,
    entrypoint text NOT NULL,
    dedupe_key text,
    payload bytea,
    headers jsonb,
    attempts integer DEFAULT 0 NOT NULL,
    slot bigint
);


--
-- Name: pgqueuer_id_seq; Type: SEQUENCE; Schema: safelight; Owner: -
--

CREATE SEQUENCE safelight.pgqueuer_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: pgqueuer_id_seq; Type: SEQUENCE OWNED BY; Schema: safelight; Owner: -
--

ALTER SEQUENCE safelight.pgqueuer_id_seq OWNED BY safelight.pgqueuer.id;


--
-- Name: pgqueuer_log; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.pgqueuer_log (
    id bigint NOT NULL,
    created timestamp with time zone DEFAULT now() NOT NULL,
    job_id bigint NOT NULL,
    status safelight.pgqueuer_status NOT NULL,
    priority integer NOT NULL,
    entrypoint text NOT NULL,
    traceback jsonb,
    aggregated boolean DEFAULT false
);


--
-- Name: pgqueuer_log_id_seq; Type: SEQUENCE; Schema: safelight; Owner: -
--

ALTER TABLE safelight.pgqueuer_log ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME safelight.pgqueuer_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: pgqueuer_schedules; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.pgqueuer_schedules (
    id bigint NOT NULL,
    expression text NOT NULL,
    entrypoint text NOT NULL,
    heartbeat timestamp with time zone DEFAULT now() NOT NULL,
    created timestamp with time zone DEFAULT now() NOT NULL,
    updated timestamp with time zone DEFAULT now() NOT NULL,
    next_run timestamp with time zone DEFAULT now() NOT NULL,
    last_run timestamp with time zone,
    status safelight.pgqueuer_status DEFAULT 'queued'::safelight.pgqueuer_status
);


--
-- Name: pgqueuer_schedules_id_seq; Type: SEQUENCE; Schema: safelight; Owner: -
--

CREATE SEQUENCE safelight.pgqueuer_schedules_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: pgqueuer_schedules_id_seq; Type: SEQUENCE OWNED BY; Schema: safelight; Owner: -
--

ALTER SEQUENCE safelight.pgqueuer_schedules_id_seq OWNED BY safelight.pgqueuer_schedules.id;


--
-- Name: pgqueuer_statistics; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.pgqueuer_statistics (
    id bigint NOT NULL,
    created timestamp with time zone DEFAULT date_trunc('sec'::text, now()) NOT NULL,
    count bigint NOT NULL,
    priority integer NOT NULL,
    status safelight.pgqueuer_status NOT NULL,
    entrypoint text NOT NULL
);


--
-- Name: pgqueuer_statistics_id_seq; Type: SEQUENCE; Schema: safelight; Owner: -
--

CREATE SEQUENCE safelight.pgqueuer_statistics_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: pgqueuer_statistics_id_seq; Type: SEQUENCE OWNED BY; Schema: safelight; Owner: -
--

ALTER SEQUENCE safelight.pgqueuer_statistics_id_seq OWNED BY safelight.pgqueuer_statistics.id;


--
-- Name: renditions; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.renditions (
    image_row_id bigint NOT NULL,
    name text NOT NULL,
    key text NOT NULL,
    format text NOT NULL,
    mime text NOT NULL,
    width_px integer NOT NULL,
    height_px integer NOT NULL,
    length bigint NOT NULL,
    sha256 text NOT NULL,
    is_internal boolean DEFAULT false NOT NULL
);


--
-- Name: schedule_runs; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.schedule_runs (
    id bigint NOT NULL,
    schedule_id text NOT NULL,
    trigger text NOT NULL,
    request_key text,
    scheduled_at timestamp with time zone NOT NULL,
    local_day date NOT NULL,
    status text NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    try_at timestamp with time zone NOT NULL,
    job_id text,
    detail text,
    faults jsonb,
    ready_by_at timestamp with time zone,
    is_watched boolean NOT NULL,
    at_risk_at timestamp with time zone,
    at_risk_reason text,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT schedule_runs_check CHECK (((status = ANY (ARRAY['submitted'::text, 'joined'::text])) = (job_id IS NOT NULL))),
    CONSTRAINT schedule_runs_check1 CHECK (((at_risk_at IS NULL) = (at_risk_reason IS NULL))),
    CONSTRAINT schedule_runs_status_check CHECK ((status = ANY (ARRAY['due'::text, 'submitted'::text, 'joined'::text, 'failed'::text, 'skipped'::text]))),
    CONSTRAINT schedule_runs_trigger_check CHECK ((trigger = ANY (ARRAY['cron'::text, 'manual'::text])))
);


--
-- Name: COLUMN schedule_runs.local_day; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.schedule_runs.local_day IS 'of scheduled_at, on the calendar of the zone that the schedule had then';


--
-- Name: COLUMN schedule_runs.status; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.schedule_runs.status IS 'due: to be made a job of; joined: the job of an earlier run of that day; failed: the template was refused';


--
-- Name: COLUMN schedule_runs.is_watched; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.schedule_runs.is_watched IS 'whether its job will be ready in time is still open';


--
-- Name: schedule_runs_id_seq; Type: SEQUENCE; Schema: safelight; Owner: -
--

ALTER TABLE safelight.schedule_runs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME safelight.schedule_runs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: schedules; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.schedules (
    id text NOT NULL,
    account text NOT NULL,
    name text NOT NULL,
    cron text NOT NULL,
    timezone text NOT NULL,
    job json NOT NULL,
    unique_per text,
    catch_up text NOT NULL,
    ready_by text,
    enabled boolean NOT NULL,
    next_run_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT schedules_catch_up_check CHECK ((catch_up = ANY (ARRAY['skip'::text, 'latest'::text, 'all'::text]))),
    CONSTRAINT schedules_check CHECK ((enabled OR (next_run_at IS NULL))),
    CONSTRAINT schedules_ready_by_check CHECK ((ready_by ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'::text)),
    CONSTRAINT schedules_unique_per_check CHECK ((unique_per = 'day'::text))
);


--
-- Name: COLUMN schedules.job; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.schedules.job IS 'the body as it was sent, in its own order: placeholders are filled for each run';


--
-- Name: COLUMN schedules.next_run_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.schedules.next_run_at IS 'NULL while disabled, or when no further time comes';


--
-- Name: styles; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.styles (
    account text NOT NULL,
    name text NOT NULL,
    description text,
    prefix text,
    suffix text,
    negative_prompt text,
    version integer DEFAULT 1 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT styles_check CHECK ((num_nonnulls(prefix, suffix, negative_prompt) > 0)),
    CONSTRAINT styles_name_check CHECK ((name ~ '^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$'::text)),
    CONSTRAINT styles_version_check CHECK ((version >= 1))
);


--
-- Name: COLUMN styles.version; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.styles.version IS 'raised by every change of the words; accepted jobs have the words they were accepted with';


--
-- Name: tally; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.tally (
    name text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    word text NOT NULL,
    kind text NOT NULL,
    le double precision NOT NULL,
    count bigint DEFAULT 0 NOT NULL,
    seconds double precision DEFAULT 0 NOT NULL,
    CONSTRAINT tally_count_check CHECK ((count >= 0))
)
WITH (fillfactor='50');


--
-- Name: TABLE tally; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON TABLE safelight.tally IS 'sums since this table is there; nothing in it ever becomes less';


--
-- Name: COLUMN tally.word; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.tally.word IS 'a state, or an outcome; what does not tell figures of this name apart is empty';


--
-- Name: COLUMN tally.le; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.tally.le IS 'of a distribution: the upper bound of the range that these are in';


--
-- Name: COLUMN tally.count; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.tally.count IS 'how many; of money, micro-USD';


--
-- Name: tally_notes; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.tally_notes (
    what text NOT NULL,
    image_row_id bigint,
    job_id text,
    provider text,
    model text,
    was text NOT NULL,
    became text NOT NULL,
    error_kind text,
    is_first boolean DEFAULT false NOT NULL,
    began_at timestamp with time zone,
    ended_at timestamp with time zone,
    cost_before bigint,
    cost_microusd bigint,
    estimate_microusd bigint,
    CONSTRAINT tally_notes_what_check CHECK ((what = ANY (ARRAY['job'::text, 'image'::text, 'call'::text, 'message'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000');


--
-- Name: TABLE tally_notes; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON TABLE safelight.tally_notes IS 'what has happened and is not in the tally yet; without an index: it is taken from the front, in no order';


--
-- Name: COLUMN tally_notes.is_first; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.tally_notes.is_first IS 'of a call: the image''s first; of an image: nobody has retried it; of a message: it was tried just now';


--
-- Name: tally_waste; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.tally_waste (
    image_row_id bigint NOT NULL,
    provider text NOT NULL,
    microusd bigint NOT NULL,
    CONSTRAINT tally_waste_microusd_check CHECK ((microusd > 0))
);


--
-- Name: TABLE tally_waste; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON TABLE safelight.tally_waste IS 'what the tally holds as wasted: a picture that was wasted when its image ended may be used by a retry';


--
-- Name: turns; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.turns (
    provider text NOT NULL,
    account text NOT NULL,
    at double precision NOT NULL
)
WITH (fillfactor='50');


--
-- Name: TABLE turns; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON TABLE safelight.turns IS 'clocks of accounts: each image that is begun moves its account''s on by one over its weight';


--
-- Name: COLUMN turns.provider; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.turns.provider IS 'empty: the slots of all workers together';


--
-- Name: COLUMN turns.account; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.turns.account IS 'empty: how far the clock of the last that was served had been when it was';


--
-- Name: uploads; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.uploads (
    id text NOT NULL,
    account text NOT NULL,
    given_sha256 text NOT NULL,
    is_fetched boolean DEFAULT false NOT NULL,
    key text NOT NULL,
    format text NOT NULL,
    mime text NOT NULL,
    width_px integer NOT NULL,
    height_px integer NOT NULL,
    length bigint NOT NULL,
    sha256 text NOT NULL,
    has_alpha boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    stored_at timestamp with time zone,
    expires_at timestamp with time zone NOT NULL
);


--
-- Name: COLUMN uploads.given_sha256; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.uploads.given_sha256 IS 'of the bytes as they were given; `sha256` and `length` are of what was made of them and is kept';


--
-- Name: COLUMN uploads.is_fetched; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.uploads.is_fetched IS 'read from an address for the images that name it, and shown to nobody';


--
-- Name: COLUMN uploads.stored_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.uploads.stored_at IS 'NULL: written down before its bytes are, so that none are left without a row';


--
-- Name: webhook_endpoints; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.webhook_endpoints (
    id text NOT NULL,
    account text NOT NULL,
    job_id text,
    url text NOT NULL,
    events text[],
    retry_seconds double precision[],
    description text,
    created_at timestamp with time zone NOT NULL,
    disabled_at timestamp with time zone,
    disabled_reason text,
    deleted_at timestamp with time zone,
    failing_since timestamp with time zone,
    site text GENERATED ALWAYS AS (
CASE
    WHEN (job_id IS NULL) THEN id
    ELSE ((account || ' '::text) || COALESCE(lower("substring"(url, '^\w+://[^/?#]*'::text)), id))
END) STORED NOT NULL,
    failed_at timestamp with time zone,
    CONSTRAINT webhook_endpoints_check CHECK (((disabled_at IS NULL) = (disabled_reason IS NULL))),
    CONSTRAINT webhook_endpoints_events_check CHECK ((cardinality(events) > 0)),
    CONSTRAINT webhook_endpoints_url_check CHECK ((length(url) <= 2048))
);


--
-- Name: COLUMN webhook_endpoints.job_id; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.webhook_endpoints.job_id IS 'the job whose request named this address; NULL: hears of all the account''s jobs';


--
-- Name: COLUMN webhook_endpoints.events; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.webhook_endpoints.events IS 'the types it wants; NULL: all';


--
-- Name: COLUMN webhook_endpoints.retry_seconds; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.webhook_endpoints.retry_seconds IS 'its own pauses between attempts at a message about a job''s end; NULL: the usual ones';


--
-- Name: COLUMN webhook_endpoints.failing_since; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.webhook_endpoints.failing_since IS 'the first failure since the last success, or since a time without any';


--
-- Name: COLUMN webhook_endpoints.site; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.webhook_endpoints.site IS 'what the number of messages in flight is bounded for: the endpoint; of jobs'' own, all on one host and port';


--
-- Name: COLUMN webhook_endpoints.failed_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.webhook_endpoints.failed_at IS 'the last failure that was noted, up to a minute ago';


--
-- Name: webhook_lanes; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.webhook_lanes (
    endpoint_id text NOT NULL,
    lane text NOT NULL,
    site text NOT NULL,
    revision bigint DEFAULT 1 NOT NULL,
    next_at timestamp with time zone,
    claim_token uuid,
    failing_since timestamp with time zone,
    progress_due_at timestamp with time zone,
    progress_again_at timestamp with time zone,
    CONSTRAINT webhook_lanes_check CHECK (((claim_token IS NULL) OR (next_at IS NOT NULL)))
)
WITH (fillfactor='70');


--
-- Name: COLUMN webhook_lanes.lane; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.webhook_lanes.lane IS 'a job''s id, `notices` or `tests`';


--
-- Name: COLUMN webhook_lanes.revision; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.webhook_lanes.revision IS 'raised by everything that is put into the lane, so that whoever leaves it knows whether it has seen all';


--
-- Name: COLUMN webhook_lanes.next_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.webhook_lanes.next_at IS 'from when on a courier may take it; while one has it, the end of its lease; NULL: nothing waits';


--
-- Name: COLUMN webhook_lanes.failing_since; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.webhook_lanes.failing_since IS 'the first failure since the last success; what is put in meanwhile hastens nothing';


--
-- Name: COLUMN webhook_lanes.progress_due_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.webhook_lanes.progress_due_at IS 'a job.progress is wanted, not before then; it becomes a message when it is sent';


--
-- Name: COLUMN webhook_lanes.progress_again_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.webhook_lanes.progress_again_at IS 'after a job.progress the next one is not due before then';


--
-- Name: webhook_secrets; Type: TABLE; Schema: safelight; Owner: -
--

CREATE TABLE safelight.webhook_secrets (
    id bigint NOT NULL,
    account text NOT NULL,
    endpoint_id text,
    ciphertext bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone
);


--
-- Name: COLUMN webhook_secrets.endpoint_id; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.webhook_secrets.endpoint_id IS 'NULL: the account''s default, for addresses that jobs name';


--
-- Name: COLUMN webhook_secrets.expires_at; Type: COMMENT; Schema: safelight; Owner: -
--

COMMENT ON COLUMN safelight.webhook_secrets.expires_at IS 'signs beside its successor until then; NULL: it has none';


--
-- Name: webhook_secrets_id_seq; Type: SEQUENCE; Schema: safelight; Owner: -
--

ALTER TABLE safelight.webhook_secrets ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME safelight.webhook_secrets_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: pgqueuer id; Type: DEFAULT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.pgqueuer ALTER COLUMN id SET DEFAULT nextval('safelight.pgqueuer_id_seq'::regclass);


--
-- Name: pgqueuer_schedules id; Type: DEFAULT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.pgqueuer_schedules ALTER COLUMN id SET DEFAULT nextval('safelight.pgqueuer_schedules_id_seq'::regclass);


--
-- Name: pgqueuer_statistics id; Type: DEFAULT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.pgqueuer_statistics ALTER COLUMN id SET DEFAULT nextval('safelight.pgqueuer_statistics_id_seq'::regclass);


--
-- Data for Name: account_days; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.account_days (account, day, held_microusd, spent_microusd, overage_microusd, told_of_microusd, told_percent) FROM stdin;
\.


--
-- Data for Name: accounts; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.accounts (id, billing, weight, max_concurrency, daily_budget_microusd, created_at, max_queued) FROM stdin;
default	none	1	\N	\N	2026-11-21 15:58:33.872332+00	\N
shop	usd	1	\N	\N	2026-11-21 15:58:52.891315+00	\N
\.


--
-- Data for Name: alert_messages; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.alert_messages (id, alert_id, rule, kind, severity, title, body, page, created_at, due_at, claim, tries, accepted, status, ended_at, error) FROM stdin;
\.


--
-- Data for Name: alert_watch; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.alert_watch (only_row, evaluated_at) FROM stdin;
t	2026-11-21 15:59:20.396799+00
\.


--
-- Data for Name: alerts; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.alerts (id, rule, subject, seen_since, seen_at, clear_since, firing_since, severity, told_severity, told_at, notified_at, resolved_at, title, found, remedy, page) FROM stdin;
\.


--
-- Data for Name: api_keys; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.api_keys (id, account, name, scopes, digest, created_at, expires_at, revoked_at, last_used_at) FROM stdin;
\.


--
-- Data for Name: attempts; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token, worker_id, sent_at, deadline_at, resolve_at, ended_at, estimate_microusd, cost_microusd, cost_basis, price_ref, usage, unbilled_by_policy, error_kind, error_code, http_status, request_id, sha256, length, remote, submitted_at, is_budgeted, budget_day, stranded_in) FROM stdin;
att_01M7ZDA956E8DBSZTK0VC23ZAD	2	1	1	settled	placeholder	placeholder-1	9af7a5e8743435cbfbb2bd0326571f2efe7a2bed7e3f0cb84c2482a2f26a7f0e	196addf7-97cd-48d5-be4c-8a9a5e6c9b21	01a1fed5-2180-76fd-9bdc-3927ec2b539c	2026-11-21 15:59:03.886032+00	2026-11-21 15:59:33.886032+00	2026-11-21 15:59:48.886032+00	2026-11-21 15:59:04.693327+00	0	0	table	free	{}	f	\N	\N	\N	att_01M7ZDA956E8DBSZTK0VC23ZAD	8bc0fea02033faf2705ea9695b923fb047127923b5e6564aa3e07760c07fbee3	1281	\N	\N	f	\N	\N
att_01M7ZDA956E8DBSZTK0W9BVPM1	1	1	1	settled	placeholder	placeholder-1	8a8adc163640de676b4d297199708cf1e31f05006a61afb130ea6282875cad80	06e0dec9-47e8-4e3b-9f90-722e72d010c8	01a1fed5-2180-76fd-9bdc-3927ec2b539c	2026-11-21 15:59:03.978478+00	2026-11-21 15:59:33.978478+00	2026-11-21 15:59:48.978478+00	2026-11-21 15:59:04.70625+00	0	0	table	free	{}	f	\N	\N	\N	att_01M7ZDA956E8DBSZTK0W9BVPM1	5e45aacd9d082e2c1fd2a4d73084398695c674702cb9edc71002ee39d41c7c78	1387	\N	\N	f	\N	\N
att_01M7ZDAADBEMK93QQZ3KM2X3TV	3	1	1	settled	placeholder	placeholder-1	c19bd27ea8f9f2fa91055a8a23022e6516ebcbdb318e577409da366ab9bd8ac4	a6b0f86c-4d84-4af8-a426-035241484b5f	01a1fed5-2180-76fd-9bdc-3927ec2b539c	2026-11-21 15:59:05.17063+00	2026-11-21 15:59:35.17063+00	2026-11-21 15:59:50.17063+00	2026-11-21 15:59:05.276263+00	0	0	table	free	{}	f	\N	\N	\N	att_01M7ZDAADBEMK93QQZ3KM2X3TV	ae5dbc95d61b0110a8cf601c80b96e451e27365bc401af81936ae3d23509b3b9	1207	\N	\N	f	\N	\N
att_01M7ZDACY4E0K81E0X0FF7GQES	4	1	1	refused	gemini	gemini-3.1-flash-lite-image	d38b06028ba9527919edfcde09738868a9e9f08bebfb188340c0042b4edae8c3	5ac17ea3-d4c3-4f12-afbc-2864f04ab289	01a1fed5-2180-76fd-9bdc-3927ec2b539c	2026-11-21 15:59:07.732442+00	2026-11-21 16:02:07.732442+00	2026-11-21 16:02:22.732442+00	2026-11-21 15:59:08.530458+00	34361	3	usage	genai-prices 0.2.3	{"totalTokenCount": 11, "promptTokenCount": 11, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 11}]}	f	SAFETY	SAFETY	\N	6l1ebXqfrMxMdNqfWOiSCQ	\N	\N	\N	\N	f	\N	\N
att_01M7ZDADZAE2494V7XCWCMBNJS	5	1	1	refused	gemini	gemini-3.1-flash-lite-image	6e552fc4541dc17556c1b03911e2495c18656732dbbb80619a99d67d3a2defd3	4c8c709c-e1ee-4b53-bc52-1e38e883124d	01a1fed5-2180-76fd-9bdc-3927ec2b539c	2026-11-21 15:59:08.799063+00	2026-11-21 16:02:08.799063+00	2026-11-21 16:02:23.799063+00	2026-11-21 15:59:08.87775+00	34364	0	table	free	{}	f	SAFETY	OTHER	\N	Shx2dDVGDF8w8Iyh0OyY7Q	\N	\N	\N	\N	f	\N	\N
att_01M7ZDAE8TEWJ8Q5QKJJB3RBVD	6	1	1	unknown	gemini	gemini-3.1-flash-lite-image	ff95480c2ecb5bdd0544435b457267f7ca52f9d231cb48c1a684e8083b06c5ed	a92bade5-c5fc-4423-9e53-15c274a82031	01a1fed5-2180-76fd-9bdc-3927ec2b539c	2026-11-21 15:59:09.106551+00	2026-11-21 15:59:19.106551+00	2026-11-21 15:59:34.106551+00	2026-11-21 15:59:10.863089+00	34359	\N	unknown	\N	{}	f	TEMPORARY	CONNECTION_LOST	\N	\N	\N	\N	\N	\N	f	\N	\N
att_01M7ZDATFFED8T9FN4A5C59QYG	8	1	1	sent	gemini	gemini-3.1-flash-lite-image	e3738ee5df1a330c8310cfb9ca54fe5906bcfc071ba9bb76e551f877178eaf20	39e41cee-2c0e-49b1-b5c8-cac7e7ba5abe	01a1fed5-653a-7054-9481-679594f36159	2026-11-21 15:59:21.602061+00	2026-11-21 16:04:21.602061+00	2026-11-21 16:04:36.602061+00	\N	34355	\N	\N	\N	\N	f	\N	\N	\N	\N	\N	\N	\N	\N	f	\N	\N
att_01M7ZDAXPCEGSRA4PFZ84TXHKK	9	1	1	submitted	fal	fal-ai/flux/dev	209446d8c5145485ab4511c32a02bc9a0e4c58eb6adb01b7c2a5fd3da1336de3	0e2f9cc4-f83e-4d37-82bd-a41f33149e66	01a1fed5-7612-747f-8689-d0d2967e239c	2026-11-21 15:59:24.882198+00	2026-11-21 16:00:24.882198+00	2026-11-21 16:00:39.882198+00	\N	25000	\N	\N	\N	\N	f	\N	\N	\N	\N	\N	\N	{"urls": {"cancel": "http://127.0.0.1:46601/fal/fal-ai/flux/requests/03c15f65-f22c-46c5-aadf-985237d31bde/cancel", "status": "http://127.0.0.1:46601/fal/fal-ai/flux/requests/03c15f65-f22c-46c5-aadf-985237d31bde/status", "response": "http://127.0.0.1:46601/fal/fal-ai/flux/requests/03c15f65-f22c-46c5-aadf-985237d31bde"}, "remote_id": "03c15f65-f22c-46c5-aadf-985237d31bde"}	2026-11-21 15:59:24.900725+00	f	\N	\N
att_01M7ZDB0G3EBVVGGQNBG4BM5AX	10	1	1	sent	placeholder	placeholder-1	572e4ad8358fe88b2c08883fa182c6466ad1d8568e39c0401bccc13b5a19a413	566d48c6-459f-485b-92db-323004a404f7	01a1fed5-8075-73e1-865d-5718c881090e	2026-11-21 15:59:27.750766+00	2026-11-21 15:59:57.750766+00	2026-11-21 16:00:12.750766+00	\N	0	\N	\N	\N	\N	f	\N	\N	\N	\N	\N	\N	\N	\N	f	\N	\N
att_01M7ZDB4RNEF7SP5QPATQNSTY9	11	1	1	received	placeholder	placeholder-1	080dd17d7f6ad915e9dea7cd563ff5274843adb161b7b1ce687056b260bd8cef	d74b74ce-adc9-48aa-a366-d8fc7e08c0cb	01a1fed5-919e-74f0-abfb-1ad61a7963f5	2026-11-21 15:59:32.125111+00	2026-11-21 16:00:02.125111+00	2026-11-21 16:00:17.125111+00	2026-11-21 15:59:32.497825+00	0	0	table	free	{}	f	\N	\N	\N	att_01M7ZDB4RNEF7SP5QPATQNSTY9	9a16b90c64936b3f88d3576e17a7f898be29e161c346c2987e6c32810528dd3c	1220	\N	\N	f	\N	\N
att_01M7ZDB8G6EY29EQ4V3DGGF7GY	13	1	1	received	placeholder	placeholder-1	3260f93b912932ff68be011170130ee459d12869b0fb86bfc6f7b9375accef6c	dcf0f4d0-e4bd-4804-9624-0d5e3deb01ed	01a1fed5-a033-72d3-ab9e-8524b00a2dfa	2026-11-21 15:59:35.957553+00	2026-11-21 16:00:05.957553+00	2026-11-21 16:00:20.957553+00	2026-11-21 15:59:36.273665+00	0	0	table	free	{}	f	\N	\N	\N	att_01M7ZDB8G6EY29EQ4V3DGGF7GY	c3907db11d0db81cae1e3fff141199727bc1a4add8a9f71efd00a4e12b96e495	1211	\N	\N	f	\N	\N
att_01M7ZDBCRBE6VRQAWMHAP65399	14	1	1	sent	gemini	gemini-3.1-flash-lite-image	ebc2856ad903ad040db1e6e1dd2b2d665fa0aa9fda40da0c62af755937672e01	a1aa1f58-3848-4637-a47a-961bfb818ab7	01a1fed5-ad7f-74d4-a40c-add0b7cfc260	2026-11-21 15:59:40.303383+00	2026-11-21 16:02:40.303383+00	2026-11-21 16:02:55.303383+00	\N	34360	\N	\N	\N	\N	f	\N	\N	\N	\N	\N	\N	\N	\N	f	\N	\N
\.


--
-- Data for Name: balances; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.balances (account, currency, available, held, captured) FROM stdin;
shop	usd	4896931	103069	0
\.


--
-- Data for Name: deliveries; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.deliveries (id, message_id, account, endpoint_id, lane, type, job_id, seq, notice_id, status, attempt_count, created_at, wanted_at, due_at, attempted_at, ended_at, http_status, error, reply) FROM stdin;
1	msg_2879f8b5ffb84499876f28f8eabe655e	default	whe_01M7ZD9XQMEQ78Z3BGWQNRN6TW	job_01M7ZD9YQ0EDVVTGQMQCGKDFWD	job.completed	job_01M7ZD9YQ0EDVVTGQMQCGKDFWD	9	\N	pending	2	2026-11-21 15:59:04.874322+00	2026-11-21 15:59:04.874322+00	2026-11-21 16:04:12.538384+00	2026-11-21 15:59:09.985303+00	\N	\N	`127.0.0.1` could not be asked: All connection attempts failed	\N
2	msg_31e7b9f99f494dc6a2f7599a9801b7f6	default	whe_01M7ZD9XQMEQ78Z3BGWQNRN6TW	job_01M7ZDAA6JEXZB7YG36Q7R59EG	job.partial	job_01M7ZDAA6JEXZB7YG36Q7R59EG	8	\N	pending	2	2026-11-21 15:59:08.595489+00	2026-11-21 15:59:08.595489+00	2026-11-21 16:03:24.309232+00	2026-11-21 15:59:17.082994+00	\N	\N	`127.0.0.1` could not be asked: All connection attempts failed	\N
3	msg_c464a60cf1034a5f980cc2f7d997ac21	default	whe_01M7ZD9XQMEQ78Z3BGWQNRN6TW	job_01M7ZDBCXYEKPBD366JNWBV6ZA	job.canceled	job_01M7ZDBCXYEKPBD366JNWBV6ZA	3	\N	pending	0	2026-11-21 15:59:40.530327+00	2026-11-21 15:59:40.530327+00	2026-11-21 15:59:40.530327+00	\N	\N	\N	\N	\N
4	msg_4fe0d6490ae94cb5bba313652ec402b4	default	whe_01M7ZDBD2FEZVAJ2TSDTHEAYAA	job_01M7ZDBD27ERA8CTTC3PCYTM4S	job.created	job_01M7ZDBD27ERA8CTTC3PCYTM4S	1	\N	pending	0	2026-11-21 15:59:40.624427+00	2026-11-21 15:59:40.624427+00	2026-11-21 15:59:40.624427+00	\N	\N	\N	\N	\N
\.


--
-- Data for Name: events; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.events (job_id, seq, type, image_id, data, created_at, account, xact) FROM stdin;
job_01M7ZD9YQ0EDVVTGQMQCGKDFWD	1	job.created	\N	{"total": 2}	2026-11-21 15:58:53.324314+00	default	786
job_01M7ZD9YQ0EDVVTGQMQCGKDFWD	2	job.started	\N	{}	2026-11-21 15:59:03.910794+00	default	797
job_01M7ZD9YQ0EDVVTGQMQCGKDFWD	3	image.started	b	{"attempt": 1}	2026-11-21 15:59:03.921454+00	default	797
job_01M7ZD9YQ0EDVVTGQMQCGKDFWD	4	image.started	a	{"attempt": 1}	2026-11-21 15:59:04.010392+00	default	798
job_01M7ZD9YQ0EDVVTGQMQCGKDFWD	5	image.received	b	{}	2026-11-21 15:59:04.697561+00	default	799
job_01M7ZD9YQ0EDVVTGQMQCGKDFWD	6	image.received	a	{}	2026-11-21 15:59:04.728205+00	default	800
job_01M7ZD9YQ0EDVVTGQMQCGKDFWD	7	image.completed	b	{}	2026-11-21 15:59:04.786767+00	default	801
job_01M7ZD9YQ0EDVVTGQMQCGKDFWD	8	image.completed	a	{}	2026-11-21 15:59:04.834445+00	default	802
job_01M7ZD9YQ0EDVVTGQMQCGKDFWD	9	job.completed	\N	{"total": 2, "failed": 0, "refused": 0, "canceled": 0, "completed": 2, "uncertain": 0}	2026-11-21 15:59:04.874322+00	default	802
job_01M7ZDAA6JEXZB7YG36Q7R59EG	1	job.created	\N	{"total": 2}	2026-11-21 15:59:05.014608+00	default	804
job_01M7ZDAA6JEXZB7YG36Q7R59EG	2	job.started	\N	{}	2026-11-21 15:59:05.178849+00	default	812
job_01M7ZDAA6JEXZB7YG36Q7R59EG	3	image.started	drawn	{"attempt": 1}	2026-11-21 15:59:05.221985+00	default	812
job_01M7ZDAA6JEXZB7YG36Q7R59EG	4	image.received	drawn	{}	2026-11-21 15:59:05.298027+00	default	813
job_01M7ZDAA6JEXZB7YG36Q7R59EG	5	image.completed	drawn	{}	2026-11-21 15:59:05.567238+00	default	814
job_01M7ZDAA6JEXZB7YG36Q7R59EG	6	image.started	no	{"attempt": 1}	2026-11-21 15:59:07.744459+00	default	817
job_01M7ZDAA6JEXZB7YG36Q7R59EG	7	image.refused	no	{"error": {"code": "SAFETY", "kind": "SAFETY", "billed": "yes", "message": "the vendor's safety policy refused this", "retryable": false}, "stage": "generating"}	2026-11-21 15:59:08.562865+00	default	818
job_01M7ZDAA6JEXZB7YG36Q7R59EG	8	job.partial	\N	{"total": 2, "failed": 0, "refused": 1, "canceled": 0, "completed": 1, "uncertain": 0}	2026-11-21 15:59:08.595489+00	default	818
job_01M7ZDADTYEX2TMP8F46DF99C9	1	job.created	\N	{"total": 1}	2026-11-21 15:59:08.670717+00	default	819
job_01M7ZDADTYEX2TMP8F46DF99C9	2	job.started	\N	{}	2026-11-21 15:59:08.809661+00	default	825
job_01M7ZDADTYEX2TMP8F46DF99C9	3	image.started	refused	{"attempt": 1}	2026-11-21 15:59:08.818265+00	default	825
job_01M7ZDADTYEX2TMP8F46DF99C9	4	image.refused	refused	{"error": {"code": "OTHER", "kind": "SAFETY", "billed": "no", "message": "the vendor's safety policy refused this", "retryable": false}, "stage": "generating"}	2026-11-21 15:59:08.881332+00	default	827
job_01M7ZDADTYEX2TMP8F46DF99C9	5	job.failed	\N	{"total": 1, "failed": 0, "refused": 1, "canceled": 0, "completed": 0, "uncertain": 0}	2026-11-21 15:59:08.893537+00	default	827
job_01M7ZDAE48ESZ9Z5YXD1D5H7BZ	1	job.created	\N	{"total": 1}	2026-11-21 15:59:08.976156+00	shop	828
job_01M7ZDAE48ESZ9Z5YXD1D5H7BZ	2	job.started	\N	{}	2026-11-21 15:59:09.122299+00	shop	833
job_01M7ZDAE48ESZ9Z5YXD1D5H7BZ	3	image.started	lost	{"attempt": 1}	2026-11-21 15:59:09.129819+00	shop	833
job_01M7ZDAE48ESZ9Z5YXD1D5H7BZ	4	image.uncertain	lost	{"error": {"code": "OUTCOME_UNKNOWN", "kind": "UNKNOWN", "billed": "unknown", "message": "The outcome of 1 call(s) is unknown and may be billed; no further call is allowed.", "retryable": true}, "stage": "generating"}	2026-11-21 15:59:10.892891+00	shop	838
job_01M7ZDAE48ESZ9Z5YXD1D5H7BZ	5	job.failed	\N	{"total": 1, "failed": 0, "refused": 0, "canceled": 0, "completed": 0, "uncertain": 1}	2026-11-21 15:59:10.913361+00	shop	838
job_01M7ZDAJE6EF1V7P5GADRF7YWM	1	job.created	\N	{"total": 1}	2026-11-21 15:59:13.355655+00	default	842
job_01M7ZDAP8MEV0AHM43SQZ8ETJD	1	job.created	\N	{"total": 1}	2026-11-21 15:59:17.283271+00	shop	854
job_01M7ZDAP8MEV0AHM43SQZ8ETJD	2	job.started	\N	{}	2026-11-21 15:59:21.607918+00	shop	865
job_01M7ZDAP8MEV0AHM43SQZ8ETJD	3	image.started	sent	{"attempt": 1}	2026-11-21 15:59:21.609538+00	shop	865
job_01M7ZDATHVEHZRZHB85XTDY3TQ	1	job.created	\N	{"total": 1}	2026-11-21 15:59:21.669808+00	default	866
job_01M7ZDATHVEHZRZHB85XTDY3TQ	2	job.started	\N	{}	2026-11-21 15:59:24.884311+00	default	874
job_01M7ZDATHVEHZRZHB85XTDY3TQ	3	image.started	remote	{"attempt": 1}	2026-11-21 15:59:24.885344+00	default	874
job_01M7ZDAXQTEB08FVT36A8CK6TG	1	job.created	\N	{"total": 1}	2026-11-21 15:59:24.927932+00	default	876
job_01M7ZDAXQTEB08FVT36A8CK6TG	2	job.started	\N	{}	2026-11-21 15:59:27.761712+00	default	886
job_01M7ZDAXQTEB08FVT36A8CK6TG	3	image.started	staged	{"attempt": 1}	2026-11-21 15:59:27.765914+00	default	886
job_01M7ZDB0K3E5S8W79FSKAZS3YP	1	job.created	\N	{"total": 2}	2026-11-21 15:59:27.855294+00	default	887
job_01M7ZDB0K3E5S8W79FSKAZS3YP	2	job.started	\N	{}	2026-11-21 15:59:32.133358+00	default	905
job_01M7ZDB0K3E5S8W79FSKAZS3YP	3	image.started	received	{"attempt": 1}	2026-11-21 15:59:32.135437+00	default	905
job_01M7ZDB0K3E5S8W79FSKAZS3YP	4	image.received	received	{}	2026-11-21 15:59:32.50534+00	default	906
job_01M7ZDB56REDR8D84F0GGE6WFB	1	job.created	\N	{"total": 1}	2026-11-21 15:59:32.580152+00	default	907
job_01M7ZDB56REDR8D84F0GGE6WFB	2	job.started	\N	{}	2026-11-21 15:59:35.97038+00	default	917
job_01M7ZDB56REDR8D84F0GGE6WFB	3	image.started	uploaded	{"attempt": 1}	2026-11-21 15:59:35.973507+00	default	917
job_01M7ZDB56REDR8D84F0GGE6WFB	4	image.received	uploaded	{}	2026-11-21 15:59:36.275674+00	default	918
job_01M7ZDB8W4EXF84P3KE6HSTX36	1	job.created	\N	{"total": 1}	2026-11-21 15:59:36.334868+00	default	919
job_01M7ZDB8W4EXF84P3KE6HSTX36	2	job.started	\N	{}	2026-11-21 15:59:40.311404+00	default	929
job_01M7ZDB8W4EXF84P3KE6HSTX36	3	image.started	slow	{"attempt": 1}	2026-11-21 15:59:40.312202+00	default	929
job_01M7ZDB8W4EXF84P3KE6HSTX36	4	job.canceling	\N	{}	2026-11-21 15:59:40.39791+00	default	930
job_01M7ZDBCXYEKPBD366JNWBV6ZA	1	job.created	\N	{"total": 1}	2026-11-21 15:59:40.494971+00	default	931
job_01M7ZDBCXYEKPBD366JNWBV6ZA	2	image.canceled	gone	{}	2026-11-21 15:59:40.520983+00	default	932
job_01M7ZDBCXYEKPBD366JNWBV6ZA	3	job.canceled	\N	{"total": 1, "failed": 0, "refused": 0, "canceled": 1, "completed": 0, "uncertain": 0}	2026-11-21 15:59:40.530327+00	default	932
job_01M7ZDBD0AEVBS64R113BAQ3S7	1	job.created	\N	{"total": 3}	2026-11-21 15:59:40.565657+00	default	933
job_01M7ZDBD0YE078HVG7GKQ56HWB	1	job.created	\N	{"total": 1}	2026-11-21 15:59:40.589572+00	shop	934
job_01M7ZDBD27ERA8CTTC3PCYTM4S	1	job.created	\N	{"total": 1}	2026-11-21 15:59:40.624427+00	default	936
job_01M7ZDBD31E71RY7R41EH528G2	1	job.created	\N	{"total": 1}	2026-11-21 15:59:40.650412+00	default	938
\.


--
-- Data for Name: gates; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.gates (provider, model, failures, code, message, shut_at, probe_at, failed_probes, probe_row_id, probe_given_at, probe_until, limits, limited_until) FROM stdin;
gemini	gemini-3.1-flash-lite-image	1	CONNECTION_LOST	RemoteProtocolError: Server disconnected without sending a response.	\N	\N	0	\N	\N	\N	0	\N
\.


--
-- Data for Name: holds; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.holds (id, account, currency, job_id, image_row_id, run, amount, status, created_at, resolved_at) FROM stdin;
1	shop	usd	job_01M7ZDAE48ESZ9Z5YXD1D5H7BZ	6	1	34359	held	2026-11-21 15:59:08.965664+00	\N
2	shop	usd	job_01M7ZDAP8MEV0AHM43SQZ8ETJD	8	1	34355	held	2026-11-21 15:59:17.277606+00	\N
3	shop	usd	job_01M7ZDBD0YE078HVG7GKQ56HWB	19	1	34355	held	2026-11-21 15:59:40.582481+00	\N
\.


--
-- Data for Name: image_references; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.image_references (child_row_id, "position", parent_row_id, role, upload_id, url, is_mask) FROM stdin;
12	0	11	\N	\N	\N	f
\.


--
-- Data for Name: images; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.images (row_id, job_id, "position", id, image_group, status, failure_stage, error, provider, model, prompt, options, fingerprint, estimate_microusd, timeout_seconds, max_attempts, max_rebuys, on_uncertain, run, retry_count, attempt_count, failures, not_before, generation, lane, admitted_at, queue_row_id, claim_token, worker_id, stop, furthest_stage, crash_count, crash_owner, created_at, changed_at, started_at, completed_at, broken_steps, targets, target, on_refusal, alternate_prompt, original_prompt, priority, awaits_parents, stuck_since, style, quote, reserved_microusd, reserved_on, account) FROM stdin;
2	job_01M7ZD9YQ0EDVVTGQMQCGKDFWD	1	b		completed	\N	\N	placeholder	placeholder-1	A picture of b	{"size": "64x64"}	9af7a5e8743435cbfbb2bd0326571f2efe7a2bed7e3f0cb84c2482a2f26a7f0e	0	30	3	1	retry_once	1	0	1	0	2026-11-21 15:58:53.157616+00	1	buy	\N	\N	\N	\N	\N	3	0	\N	2026-11-21 15:58:53.157616+00	2026-11-21 15:59:04.734867+00	2026-11-21 15:59:03.886032+00	2026-11-21 15:59:04.734867+00	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
1	job_01M7ZD9YQ0EDVVTGQMQCGKDFWD	0	a		completed	\N	\N	placeholder	placeholder-1	A picture of a	{"size": "64x64"}	8a8adc163640de676b4d297199708cf1e31f05006a61afb130ea6282875cad80	0	30	3	1	retry_once	1	0	1	0	2026-11-21 15:58:53.157616+00	1	buy	\N	\N	\N	\N	\N	3	0	\N	2026-11-21 15:58:53.157616+00	2026-11-21 15:59:04.788654+00	2026-11-21 15:59:03.978478+00	2026-11-21 15:59:04.788654+00	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
5	job_01M7ZDADTYEX2TMP8F46DF99C9	0	refused		refused	generating	{"code": "OTHER", "kind": "SAFETY", "billed": "no", "message": "the vendor's safety policy refused this", "retryable": false}	gemini	gemini-3.1-flash-lite-image	A picture of refused [[sandbox: refuse-prompt OTHER]]	{}	6e552fc4541dc17556c1b03911e2495c18656732dbbb80619a99d67d3a2defd3	34364	180	3	1	retry_once	1	0	1	0	2026-11-21 15:59:08.65464+00	1	buy	\N	\N	\N	\N	\N	2	0	\N	2026-11-21 15:59:08.65464+00	2026-11-21 15:59:08.880467+00	2026-11-21 15:59:08.799063+00	2026-11-21 15:59:08.880467+00	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
3	job_01M7ZDAA6JEXZB7YG36Q7R59EG	0	drawn		completed	\N	\N	placeholder	placeholder-1	A picture of drawn	{"size": "64x64"}	c19bd27ea8f9f2fa91055a8a23022e6516ebcbdb318e577409da366ab9bd8ac4	0	30	3	1	retry_once	1	0	1	0	2026-11-21 15:59:04.931634+00	1	buy	\N	\N	\N	\N	\N	3	0	\N	2026-11-21 15:59:04.931634+00	2026-11-21 15:59:05.489426+00	2026-11-21 15:59:05.17063+00	2026-11-21 15:59:05.489426+00	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
4	job_01M7ZDAA6JEXZB7YG36Q7R59EG	1	no		refused	generating	{"code": "SAFETY", "kind": "SAFETY", "billed": "yes", "message": "the vendor's safety policy refused this", "retryable": false}	gemini	gemini-3.1-flash-lite-image	A picture of no [[sandbox: refuse SAFETY]]	{}	d38b06028ba9527919edfcde09738868a9e9f08bebfb188340c0042b4edae8c3	34361	180	3	1	retry_once	1	0	1	0	2026-11-21 15:59:04.931634+00	1	buy	\N	\N	\N	\N	\N	2	0	\N	2026-11-21 15:59:04.931634+00	2026-11-21 15:59:08.558049+00	2026-11-21 15:59:07.732442+00	2026-11-21 15:59:08.558049+00	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
6	job_01M7ZDAE48ESZ9Z5YXD1D5H7BZ	0	lost		uncertain	generating	{"code": "OUTCOME_UNKNOWN", "kind": "UNKNOWN", "billed": "unknown", "message": "The outcome of 1 call(s) is unknown and may be billed; no further call is allowed.", "retryable": true}	gemini	gemini-3.1-flash-lite-image	A picture of lost [[sandbox: cut]]	{}	ff95480c2ecb5bdd0544435b457267f7ca52f9d231cb48c1a684e8083b06c5ed	34359	10	3	1	hold	1	0	1	0	2026-11-21 15:59:08.945716+00	1	buy	\N	\N	\N	\N	\N	2	0	\N	2026-11-21 15:59:08.945716+00	2026-11-21 15:59:10.881276+00	2026-11-21 15:59:09.106551+00	2026-11-21 15:59:10.881276+00	0	\N	0	stop	\N	\N	1	f	\N	\N	34359	\N	\N	shop
7	job_01M7ZDAJE6EF1V7P5GADRF7YWM	0	claimed		processing	\N	\N	placeholder	placeholder-1	A picture of claimed	{"size": "64x64"}	012351bad9560bcc3ea35c0ea5ed265ddac2e86f408c903a8865e65eaca4e615	0	30	3	1	retry_once	1	0	0	0	2026-11-21 15:59:13.351406+00	1	buy	\N	7	6736affd-12b8-4144-b1f3-b4693843f7fa	01a1fed5-576b-72f1-9398-d1bbe18f017a	\N	1	0	\N	2026-11-21 15:59:13.351406+00	2026-11-21 15:59:17.23332+00	\N	\N	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
8	job_01M7ZDAP8MEV0AHM43SQZ8ETJD	0	sent		generating	\N	\N	gemini	gemini-3.1-flash-lite-image	A picture of sent	{}	e3738ee5df1a330c8310cfb9ca54fe5906bcfc071ba9bb76e551f877178eaf20	34355	300	3	1	retry_once	1	0	1	0	2026-11-21 15:59:17.273706+00	1	buy	\N	8	39e41cee-2c0e-49b1-b5c8-cac7e7ba5abe	01a1fed5-653a-7054-9481-679594f36159	\N	2	0	\N	2026-11-21 15:59:17.273706+00	2026-11-21 15:59:21.602061+00	2026-11-21 15:59:21.602061+00	\N	0	\N	0	stop	\N	\N	1	f	\N	\N	34355	\N	\N	shop
9	job_01M7ZDATHVEHZRZHB85XTDY3TQ	0	remote		generating	\N	\N	fal	fal-ai/flux/dev	A picture of remote [[sandbox: slow 600]]	{}	209446d8c5145485ab4511c32a02bc9a0e4c58eb6adb01b7c2a5fd3da1336de3	25000	180	3	1	retry_once	1	0	1	0	2026-11-21 15:59:21.659551+00	1	buy	\N	9	0e2f9cc4-f83e-4d37-82bd-a41f33149e66	01a1fed5-7612-747f-8689-d0d2967e239c	\N	2	0	\N	2026-11-21 15:59:21.659551+00	2026-11-21 15:59:24.882198+00	2026-11-21 15:59:24.882198+00	\N	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
10	job_01M7ZDAXQTEB08FVT36A8CK6TG	0	staged		generating	\N	\N	placeholder	placeholder-1	A picture of staged	{"size": "64x64"}	572e4ad8358fe88b2c08883fa182c6466ad1d8568e39c0401bccc13b5a19a413	0	30	3	1	retry_once	1	0	1	0	2026-11-21 15:59:24.925199+00	1	buy	\N	10	566d48c6-459f-485b-92db-323004a404f7	01a1fed5-8075-73e1-865d-5718c881090e	\N	2	0	\N	2026-11-21 15:59:24.925199+00	2026-11-21 15:59:27.750766+00	2026-11-21 15:59:27.750766+00	\N	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
12	job_01M7ZDB0K3E5S8W79FSKAZS3YP	1	waiting		queued	\N	\N	gemini	gemini-3.1-flash-lite-image	A picture of waiting	{}	e95a299a195335ce095468653d2dc480bc38e6b768d63d7b9d6829c0cc607b5e	34635	180	3	1	retry_once	1	0	0	0	2026-11-21 15:59:27.844432+00	0	buy	\N	\N	\N	\N	\N	0	0	\N	2026-11-21 15:59:27.844432+00	2026-11-21 15:59:27.844432+00	\N	\N	0	\N	0	stop	\N	\N	1	t	\N	\N	\N	\N	\N	default
11	job_01M7ZDB0K3E5S8W79FSKAZS3YP	0	received		uploading	\N	\N	placeholder	placeholder-1	A picture of received	{"size": "64x64"}	080dd17d7f6ad915e9dea7cd563ff5274843adb161b7b1ce687056b260bd8cef	0	30	3	1	retry_once	1	0	1	0	2026-11-21 15:59:27.844432+00	1	buy	\N	11	d74b74ce-adc9-48aa-a366-d8fc7e08c0cb	01a1fed5-919e-74f0-abfb-1ad61a7963f5	\N	3	0	\N	2026-11-21 15:59:27.844432+00	2026-11-21 15:59:32.501784+00	2026-11-21 15:59:32.125111+00	\N	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
13	job_01M7ZDB56REDR8D84F0GGE6WFB	0	uploaded		uploading	\N	\N	placeholder	placeholder-1	A picture of uploaded	{"size": "64x64"}	3260f93b912932ff68be011170130ee459d12869b0fb86bfc6f7b9375accef6c	0	30	3	1	retry_once	1	0	1	0	2026-11-21 15:59:32.57446+00	1	buy	\N	12	dcf0f4d0-e4bd-4804-9624-0d5e3deb01ed	01a1fed5-a033-72d3-ab9e-8524b00a2dfa	\N	3	0	\N	2026-11-21 15:59:32.57446+00	2026-11-21 15:59:36.274861+00	2026-11-21 15:59:35.957553+00	\N	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
14	job_01M7ZDB8W4EXF84P3KE6HSTX36	0	slow		generating	\N	\N	gemini	gemini-3.1-flash-lite-image	A picture of slow [[sandbox: slow 600]]	{}	ebc2856ad903ad040db1e6e1dd2b2d665fa0aa9fda40da0c62af755937672e01	34360	180	3	1	retry_once	1	0	1	0	2026-11-21 15:59:36.329405+00	1	buy	\N	13	a1aa1f58-3848-4637-a47a-961bfb818ab7	01a1fed5-ad7f-74d4-a40c-add0b7cfc260	cancel	2	0	\N	2026-11-21 15:59:36.329405+00	2026-11-21 15:59:40.303383+00	2026-11-21 15:59:40.303383+00	\N	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
15	job_01M7ZDBCXYEKPBD366JNWBV6ZA	0	gone		canceled	processing	\N	placeholder	placeholder-1	A picture of gone	{"size": "64x64"}	3a7f22e3e8a6972be6d5438a10329a504cd1932a86e0e9df01eaa343c420cbf4	0	30	3	1	retry_once	1	0	0	0	2026-11-21 15:59:40.481046+00	0	buy	\N	\N	\N	\N	\N	0	0	\N	2026-11-21 15:59:40.481046+00	2026-11-21 15:59:40.520011+00	\N	2026-11-21 15:59:40.520011+00	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
16	job_01M7ZDBD0AEVBS64R113BAQ3S7	0	first		queued	\N	\N	placeholder	placeholder-1	A picture of first	{"size": "64x64"}	30b00ca0ca3b2fba4835ab3f77997eace90695afca9cda71fbde62d2a3c1f552	0	30	3	1	retry_once	1	0	0	0	2026-11-21 15:59:40.554904+00	1	buy	2026-11-21 15:59:40.59455+00	14	\N	\N	\N	0	0	\N	2026-11-21 15:59:40.554904+00	2026-11-21 15:59:40.554904+00	\N	\N	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
17	job_01M7ZDBD0AEVBS64R113BAQ3S7	1	second		queued	\N	\N	gemini	gemini-3.1-flash-lite-image	A picture of second	{}	09eb0867e7544c719e07fa8ee3e9307d90c6a99fc38065a594839bf026e15514	34355	180	3	1	retry_once	1	0	0	0	2026-11-21 15:59:40.554904+00	1	buy	2026-11-21 15:59:40.59455+00	15	\N	\N	\N	0	0	\N	2026-11-21 15:59:40.554904+00	2026-11-21 15:59:40.554904+00	\N	\N	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
18	job_01M7ZDBD0AEVBS64R113BAQ3S7	2	third		queued	\N	\N	placeholder	placeholder-1	Film noir.\nA picture of third\nGrain.	{"size": "64x64"}	57373ae19d0fb1cedb635582ea7b8d3742ff6c12836dc25d0c58b5b69c28d89e	0	30	3	1	retry_once	1	0	0	0	2026-11-21 15:59:40.554904+00	1	buy	2026-11-21 15:59:40.59455+00	16	\N	\N	\N	0	0	\N	2026-11-21 15:59:40.554904+00	2026-11-21 15:59:40.554904+00	\N	\N	0	\N	0	stop	\N	\N	1	f	\N	{"name": "noir", "after_chars": 7, "before_chars": 11}	\N	\N	\N	default
19	job_01M7ZDBD0YE078HVG7GKQ56HWB	0	paid		queued	\N	\N	gemini	gemini-3.1-flash-lite-image	A picture of paid	{}	9339b3a05e50bac85ba618e1a14b6b335240d9234a09b94d710ba92ea1837550	34355	180	3	1	retry_once	1	0	0	0	2026-11-21 15:59:40.577491+00	1	buy	2026-11-21 15:59:40.639651+00	17	\N	\N	\N	0	0	\N	2026-11-21 15:59:40.577491+00	2026-11-21 15:59:40.577491+00	\N	\N	0	\N	0	stop	\N	\N	1	f	\N	\N	34355	\N	\N	shop
20	job_01M7ZDBD27ERA8CTTC3PCYTM4S	0	told		queued	\N	\N	placeholder	placeholder-1	A picture of told	{"size": "64x64"}	0f25f1ba5946b16cbafa47ddcf5d501dc0aeb65af05d84a73dba13b17a20b4b9	0	30	3	1	retry_once	1	0	0	0	2026-11-21 15:59:40.622518+00	1	buy	2026-11-21 15:59:40.639651+00	18	\N	\N	\N	0	0	\N	2026-11-21 15:59:40.622518+00	2026-11-21 15:59:40.622518+00	\N	\N	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
21	job_01M7ZDBD31E71RY7R41EH528G2	0	later		queued	\N	\N	placeholder	placeholder-1	A picture of later	{"size": "64x64"}	ae24d86f0c802344a359a759b471b57764be9de7bd56956e37c14df56c0002a0	0	30	3	1	retry_once	1	0	0	0	2026-11-22 15:59:40.640435+00	0	buy	\N	\N	\N	\N	\N	0	0	\N	2026-11-21 15:59:40.649474+00	2026-11-21 15:59:40.649474+00	\N	\N	0	\N	0	stop	\N	\N	1	f	\N	\N	\N	\N	\N	default
\.


--
-- Data for Name: installation; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.installation (only_row, clock_shift, store_marker, paused_at, pause_reason, feed_epoch, blobs_walked_at) FROM stdin;
t	00:00:00	48aea3ed13fd54d3267f5f3891d3651c 3dec4dd8b8ba7ccd91454cd9607a2056	\N	\N	1	2026-11-21 15:59:03.259292+00
\.


--
-- Data for Name: jobs; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.jobs (id, account, idempotency_key, request_fingerprint, status, run, retry_count, seq, storage_prefix, outputs, metadata, deadline_seconds, on_deadline, run_started_at, deadline_at, run_ends_at, deadline_passed, created_at, started_at, completed_at, priority, not_before, log_cut_at, currency, max_cost_microusd, link_key, removed_at, cleared_at, prompts_removed_at, handed_over_at, trace_context) FROM stdin;
job_01M7ZDAXQTEB08FVT36A8CK6TG	default	\N	0771c407cc85f31ce2c22c01c26df838e28be1a96389c3b9be93332ca204c427	generating	1	0	3	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "staged"}	3600	continue	2026-11-21 15:59:24.925199+00	2026-11-21 16:59:24.925199+00	2026-11-22 15:59:24.925199+00	f	2026-11-21 15:59:24.925199+00	2026-11-21 15:59:27.757497+00	\N	1	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N
job_01M7ZDAP8MEV0AHM43SQZ8ETJD	shop	\N	9e260aab2f764753209c8e27b429bf1f81e00b377bedd54eea3dce953fbe38c9	generating	1	0	3	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "sent"}	3600	continue	2026-11-21 15:59:17.273706+00	2026-11-21 16:59:17.273706+00	2026-11-22 15:59:17.273706+00	f	2026-11-21 15:59:17.273706+00	2026-11-21 15:59:21.606497+00	\N	1	\N	\N	usd	\N	\N	\N	\N	\N	\N	\N
job_01M7ZDAA6JEXZB7YG36Q7R59EG	default	\N	f56c0c22b4771edc7166f65132f7679985e3c0d622c9b4f051762a0dcfbcaac5	partial	1	0	8	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "partial"}	3600	continue	2026-11-21 15:59:04.931634+00	2026-11-21 16:59:04.931634+00	2026-11-22 15:59:04.931634+00	f	2026-11-21 15:59:04.931634+00	2026-11-21 15:59:05.17423+00	2026-11-21 15:59:08.593748+00	1	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N
job_01M7ZD9YQ0EDVVTGQMQCGKDFWD	default	\N	ada4bc2733395533c01fdabe6e02cbf9e2f1593cdfed4f1a5c0bebc1381c6693	completed	1	0	9	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "completed"}	3600	continue	2026-11-21 15:58:53.157616+00	2026-11-21 16:58:53.157616+00	2026-11-22 15:58:53.157616+00	f	2026-11-21 15:58:53.157616+00	2026-11-21 15:59:03.897358+00	2026-11-21 15:59:04.865839+00	1	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N
job_01M7ZDAE48ESZ9Z5YXD1D5H7BZ	shop	\N	d1328bd95c542eee15ffd9b2da608c95d84803e70289de6a1811289494baa4f5	failed	1	0	5	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "uncertain"}	3600	continue	2026-11-21 15:59:08.945716+00	2026-11-21 16:59:08.945716+00	2026-11-22 15:59:08.945716+00	f	2026-11-21 15:59:08.945716+00	2026-11-21 15:59:09.117701+00	2026-11-21 15:59:10.902941+00	1	\N	\N	usd	\N	\N	\N	\N	\N	\N	\N
job_01M7ZDAJE6EF1V7P5GADRF7YWM	default	\N	0677da66db1a0489254bf3a70e6d36a391651fa37d89233a3af62bf6f076b9cb	pending	1	0	1	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "claimed"}	3600	continue	2026-11-21 15:59:13.351406+00	2026-11-21 16:59:13.351406+00	2026-11-22 15:59:13.351406+00	f	2026-11-21 15:59:13.351406+00	\N	\N	1	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N
job_01M7ZDADTYEX2TMP8F46DF99C9	default	\N	fd19898e98b593419d304aa05a1a5cbb8ea943e52808fee9ec5aef58f14a6cd0	failed	1	0	5	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "failed"}	3600	continue	2026-11-21 15:59:08.65464+00	2026-11-21 16:59:08.65464+00	2026-11-22 15:59:08.65464+00	f	2026-11-21 15:59:08.65464+00	2026-11-21 15:59:08.803871+00	2026-11-21 15:59:08.891107+00	1	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N
job_01M7ZDATHVEHZRZHB85XTDY3TQ	default	\N	b3fac19e8858591ef0846c3f7f48ba147d4f0e2f767cbbd74b2afd5aa9572057	generating	1	0	3	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "remote"}	3600	continue	2026-11-21 15:59:21.659551+00	2026-11-21 16:59:21.659551+00	2026-11-22 15:59:21.659551+00	f	2026-11-21 15:59:21.659551+00	2026-11-21 15:59:24.882904+00	\N	1	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N
job_01M7ZDB56REDR8D84F0GGE6WFB	default	\N	d15832574e7a7e809e3e57ced89568cbc8c558b4d2b90f5c95d2ce7de52d2670	generating	1	0	4	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "uploaded"}	3600	continue	2026-11-21 15:59:32.57446+00	2026-11-21 16:59:32.57446+00	2026-11-22 15:59:32.57446+00	f	2026-11-21 15:59:32.57446+00	2026-11-21 15:59:35.964151+00	\N	1	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N
job_01M7ZDB0K3E5S8W79FSKAZS3YP	default	\N	e68f451a5a756e1539a30f44597eac7a764d40cf51e1055267689646006caed0	generating	1	0	4	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "received"}	3600	continue	2026-11-21 15:59:27.844432+00	2026-11-21 16:59:27.844432+00	2026-11-22 15:59:27.844432+00	f	2026-11-21 15:59:27.844432+00	2026-11-21 15:59:32.127711+00	\N	1	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N
job_01M7ZDBCXYEKPBD366JNWBV6ZA	default	\N	59ad8023f5ed03431f0ad800ac6e50781310c9d753134c2f3c23b3af178f7241	canceled	1	0	3	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "canceled"}	3600	continue	2026-11-21 15:59:40.481046+00	2026-11-21 16:59:40.481046+00	2026-11-22 15:59:40.481046+00	f	2026-11-21 15:59:40.481046+00	\N	2026-11-21 15:59:40.529859+00	1	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N
job_01M7ZDB8W4EXF84P3KE6HSTX36	default	\N	37d42f61a208fdc3c70afa1a7b03e0b2dacf0686418b6e91aef714c96d8a8f15	canceling	1	0	4	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "canceling"}	3600	continue	2026-11-21 15:59:36.329405+00	2026-11-21 16:59:36.329405+00	2026-11-22 15:59:36.329405+00	f	2026-11-21 15:59:36.329405+00	2026-11-21 15:59:40.309766+00	\N	1	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N
job_01M7ZDBD0YE078HVG7GKQ56HWB	shop	\N	f9900c8bbc9b106fcae998c00738e2cbe056df2805306929efc8e2db1b577818	pending	1	0	1	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "billed"}	3600	continue	2026-11-21 15:59:40.577491+00	2026-11-21 16:59:40.577491+00	2026-11-22 15:59:40.577491+00	f	2026-11-21 15:59:40.577491+00	\N	\N	1	\N	\N	usd	\N	\N	\N	\N	\N	\N	\N
job_01M7ZDBD0AEVBS64R113BAQ3S7	default	\N	2b2ef5a444238aa993a8b5ee1f29632213cfe285ec69f1a7363271ca85772bf7	pending	1	0	1	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "queued"}	3600	continue	2026-11-21 15:59:40.554904+00	2026-11-21 16:59:40.554904+00	2026-11-22 15:59:40.554904+00	f	2026-11-21 15:59:40.554904+00	\N	\N	1	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N
job_01M7ZDBD27ERA8CTTC3PCYTM4S	default	\N	2e604903338ac203b79d1c458cc315e4649c6a9ef34dfadf7410b62f46289124	pending	1	0	1	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "hook"}	3600	continue	2026-11-21 15:59:40.622518+00	2026-11-21 16:59:40.622518+00	2026-11-22 15:59:40.622518+00	f	2026-11-21 15:59:40.622518+00	\N	\N	1	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N
job_01M7ZDBD31E71RY7R41EH528G2	default	\N	d2b2fa05974a9c2277852b78c23a96ba7bc92e4779fd40411a9cdd7aa58e1aeb	pending	1	0	1	\N	[{"fit": "cover", "name": "card", "format": "jpeg", "quality": 80, "width_px": 48, "height_px": 48}]	{"state": "later"}	3600	continue	2026-11-22 15:59:40.640435+00	2026-11-22 16:59:40.640435+00	2026-11-23 15:59:40.640435+00	f	2026-11-21 15:59:40.649474+00	\N	\N	1	2026-11-22 15:59:40.640435+00	\N	\N	\N	\N	\N	\N	\N	\N	\N
\.


--
-- Data for Name: ledger; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.ledger (id, at, account, currency, kind, debit, credit, amount, available_after, held_after, hold_id, reason, idempotency_key) FROM stdin;
1	2026-11-21 15:58:53.009697+00	shop	usd	top_up	outside	available	5000000	5000000	0	\N	\N	\N
2	2026-11-21 15:59:08.965664+00	shop	usd	hold	available	held	34359	4965641	34359	1	\N	\N
3	2026-11-21 15:59:17.277606+00	shop	usd	hold	available	held	34355	4931286	68714	2	\N	\N
4	2026-11-21 15:59:40.582481+00	shop	usd	hold	available	held	34355	4896931	103069	3	\N	\N
\.


--
-- Data for Name: migrations; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.migrations (version, name, checksum, applied_at) FROM stdin;
0	pgqueuer_1_6_0	b472f7aef493ea5c386cdf22cdc2e3fa36c440b54c0709e5d8248d708e0b07fc	2026-11-21 15:58:33.196695+00
1	jobs	caded27ce596a7e27ce684554c13a39844bd5d1e44e97ca3ae010e4383de96b1	2026-11-21 15:58:33.425333+00
2	history	20849aa7be7851f8e98644957743441d434f8f59425773cbb796118780f19565	2026-11-21 15:58:33.441337+00
3	pause	d0a7bd9a89e8771ecd7b43fb79fdf283233597715feba24d6f07c16b574fefc2	2026-11-21 15:58:33.453373+00
4	remote_jobs	58b1274d629f6d3995e9f1117d064403a100ba63f6bcf1e36d691bc36506ab7c	2026-11-21 15:58:33.482454+00
5	gates	bf9fa2ecb78a89cfa3e438441135d76bc41fb33ed120f408506580fb4520d911	2026-11-21 15:58:33.544098+00
6	fallback	f74f2409bb89e449aee7f3ed9739cd772ec1c2f48f218b1a570f43a7b6cce857	2026-11-21 15:58:33.55869+00
7	feed	802fbe1f914b8a15c1bf0d09ad5f8dc06ea8e714e548de6f2329491088eb4055	2026-11-21 15:58:33.58405+00
8	webhooks	2b364b4849900e9aa5993499cf6f711bea9c2fba10e6960e0e550c3ef60840ac	2026-11-21 15:58:33.705154+00
10	order_of_work	5f449a9fb98109fb3e827c8188fef1f0438eb6a22104c1dd10d83f27231befe1	2026-11-21 15:58:33.786523+00
11	schedules	05d00034040b75314721cbc5a415750a16131e506dfab277964eaf5c5ea81342	2026-11-21 15:58:33.835546+00
12	stuck	9f27dae840af505cf21a0f6c78c645eb33025dcc8a06ccebea291f1174048b33	2026-11-21 15:58:33.84514+00
13	styles	0120be5981b70bad569ae784020de011a02b954c9de961e4e764ac37bac3555b	2026-11-21 15:58:33.865567+00
14	accounts	d37691bff9ce70af80d406942e1652e08a1eaff6940fe4fcf29cdcc364e99beb	2026-11-21 15:58:33.895504+00
15	api_keys	06f34deafb3830ffdd2447520431e12439e0a975390164bab15bbfe897038ea2	2026-11-21 15:58:33.925572+00
16	ledger	062bee0ab171e4d7fce5e519cb2c3f87a5240e8dc205812f3e1d4a1ed438a192	2026-11-21 15:58:34.083062+00
17	fair_share	97e193935d087e782e7bfd8678e66bad257f8c20efd5510ff2fcc13acdcd17fc	2026-11-21 15:58:34.122525+00
18	uploads	2a28023a36034da340853012c8a6486810730db84d3ae23856e441e616deff3d	2026-11-21 15:58:34.164238+00
19	serving	df7479b3708aa9e4f0b5019a933fb19f5a91c06d6f51834a405d0b606a0a6560	2026-11-21 15:58:34.180276+00
20	openai	2aec2b51718a36a567f1e6f0a5be8f02c127006c7d8b9cba5b37f6d447bcf59a	2026-11-21 15:58:34.19208+00
21	statistics	e99cede6b2a732c590b8139e3e78aa021595c8268c64c29efe82b7cd2c4a66d0	2026-11-21 15:58:34.195453+00
22	stranded	3f70e565bc237ae60c91f57f146cdf8a87e8c83f785892f787677d1f56a49e93	2026-11-21 15:58:34.203001+00
23	failing_webhooks	99c0b31ba637bf938d365799adabe1f269f2317d14f1c0584e90d6dcc90ce119	2026-11-21 15:58:34.210521+00
24	counted_at_once	30b570893ac35b253cbfa30a4c5a98799b6ae0149d118ab4b3148773c263a32b	2026-11-21 15:58:34.232494+00
25	tally	80061a0657fbccacc5194dbe77b65da0326f7c8f7fd4210c15b6e52cd5d774b5	2026-11-21 15:58:34.275057+00
26	trace_context	226438481791d490f20bc1bea21a7cbf359349d5409ec5939c0ccef66649d273	2026-11-21 15:58:34.291698+00
27	alerts	6f2f2b6c0fd2130cecafe08f4ffd1c2523df410d6fd5df1b8da7b4ac2ba50fb3	2026-11-21 15:58:34.358384+00
\.


--
-- Data for Name: notices; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.notices (id, at, type, provider, model, code, message, data, account, xact) FROM stdin;
\.


--
-- Data for Name: pgqueuer; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.pgqueuer (id, priority, queue_manager_id, created, updated, heartbeat, execute_after, status, entrypoint, dedupe_key, payload, headers, attempts, slot) FROM stdin;
7	0	85418495-0e17-4438-9f4b-619ed2a99562	2026-11-21 15:59:16.910199+00	2026-11-21 15:59:17.22984+00	2026-11-21 15:59:17.22984+00	2026-11-21 15:59:16.910199+00	picked	image.placeholder	\N	\\x7b22696d616765223a372c2267656e65726174696f6e223a317d	null	0	\N
8	0	a67eff76-038f-43ea-9b04-77dd8ceae976	2026-11-21 15:59:17.283984+00	2026-11-21 15:59:20.629044+00	2026-11-21 15:59:20.629044+00	2026-11-21 15:59:17.283984+00	picked	image.gemini	\N	\\x7b22696d616765223a382c2267656e65726174696f6e223a317d	null	0	\N
9	0	7ea81ad6-9766-40f2-9fb4-6850b501eed9	2026-11-21 15:59:21.670621+00	2026-11-21 15:59:24.836829+00	2026-11-21 15:59:24.836829+00	2026-11-21 15:59:21.670621+00	picked	image.fal	\N	\\x7b22696d616765223a392c2267656e65726174696f6e223a317d	null	0	\N
10	0	0dea903e-e755-41c7-ba10-2c47c738ff68	2026-11-21 15:59:24.931142+00	2026-11-21 15:59:27.674219+00	2026-11-21 15:59:27.674219+00	2026-11-21 15:59:24.931142+00	picked	image.placeholder	\N	\\x7b22696d616765223a31302c2267656e65726174696f6e223a317d	null	0	\N
11	0	34e6829a-be98-4ce2-a11d-5aa82a1f4242	2026-11-21 15:59:27.856773+00	2026-11-21 15:59:32.051193+00	2026-11-21 15:59:32.051193+00	2026-11-21 15:59:27.856773+00	picked	image.placeholder	\N	\\x7b22696d616765223a31312c2267656e65726174696f6e223a317d	null	0	\N
12	0	786ced7c-9dbc-4eb0-8844-c4ee529f33b4	2026-11-21 15:59:32.581047+00	2026-11-21 15:59:35.835315+00	2026-11-21 15:59:35.835315+00	2026-11-21 15:59:32.581047+00	picked	image.placeholder	\N	\\x7b22696d616765223a31332c2267656e65726174696f6e223a317d	null	0	\N
13	0	54acdd65-a453-4384-be00-36b271c25dcd	2026-11-21 15:59:36.335598+00	2026-11-21 15:59:39.127324+00	2026-11-21 15:59:39.127324+00	2026-11-21 15:59:36.335598+00	picked	image.gemini	\N	\\x7b22696d616765223a31342c2267656e65726174696f6e223a317d	null	0	\N
14	0	\N	2026-11-21 15:59:40.585398+00	2026-11-21 15:59:40.585398+00	2026-11-21 15:59:40.585398+00	2026-11-21 15:59:40.585398+00	queued	image.placeholder	\N	\\x7b22696d616765223a31362c2267656e65726174696f6e223a317d	null	0	\N
15	0	\N	2026-11-21 15:59:40.585398+00	2026-11-21 15:59:40.585398+00	2026-11-21 15:59:40.585398+00	2026-11-21 15:59:40.585398+00	queued	image.gemini	\N	\\x7b22696d616765223a31372c2267656e65726174696f6e223a317d	null	0	\N
16	0	\N	2026-11-21 15:59:40.585398+00	2026-11-21 15:59:40.585398+00	2026-11-21 15:59:40.585398+00	2026-11-21 15:59:40.585398+00	queued	image.placeholder	\N	\\x7b22696d616765223a31382c2267656e65726174696f6e223a317d	null	0	\N
17	0	\N	2026-11-21 15:59:40.624579+00	2026-11-21 15:59:40.624579+00	2026-11-21 15:59:40.624579+00	2026-11-21 15:59:40.624579+00	queued	image.gemini	\N	\\x7b22696d616765223a31392c2267656e65726174696f6e223a317d	null	0	\N
18	0	\N	2026-11-21 15:59:40.624579+00	2026-11-21 15:59:40.624579+00	2026-11-21 15:59:40.624579+00	2026-11-21 15:59:40.624579+00	queued	image.placeholder	\N	\\x7b22696d616765223a32302c2267656e65726174696f6e223a317d	null	0	\N
\.


--
-- Data for Name: pgqueuer_log; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.pgqueuer_log (id, created, job_id, status, priority, entrypoint, traceback, aggregated) FROM stdin;
1	2026-11-21 15:59:03.140747+00	1	queued	0	image.placeholder	\N	f
2	2026-11-21 15:59:03.140747+00	2	queued	0	image.placeholder	\N	f
3	2026-11-21 15:59:03.597046+00	1	picked	0	image.placeholder	\N	f
4	2026-11-21 15:59:03.597046+00	2	picked	0	image.placeholder	\N	f
5	2026-11-21 15:59:04.851999+00	2	successful	0	image.placeholder	\N	f
6	2026-11-21 15:59:04.970628+00	1	successful	0	image.placeholder	\N	f
7	2026-11-21 15:59:05.024842+00	3	queued	0	image.placeholder	\N	f
8	2026-11-21 15:59:05.024842+00	4	queued	0	image.gemini	\N	f
9	2026-11-21 15:59:05.107401+00	4	picked	0	image.gemini	\N	f
10	2026-11-21 15:59:05.107401+00	3	picked	0	image.placeholder	\N	f
11	2026-11-21 15:59:05.789058+00	3	successful	0	image.placeholder	\N	f
12	2026-11-21 15:59:08.695188+00	4	successful	0	image.gemini	\N	f
13	2026-11-21 15:59:08.673609+00	5	queued	0	image.gemini	\N	f
14	2026-11-21 15:59:08.73769+00	5	picked	0	image.gemini	\N	f
15	2026-11-21 15:59:08.974673+00	5	successful	0	image.gemini	\N	f
16	2026-11-21 15:59:08.986103+00	6	queued	0	image.gemini	\N	f
17	2026-11-21 15:59:09.04016+00	6	picked	0	image.gemini	\N	f
18	2026-11-21 15:59:10.997608+00	6	successful	0	image.gemini	\N	f
19	2026-11-21 15:59:16.910199+00	7	queued	0	image.placeholder	\N	f
20	2026-11-21 15:59:17.22984+00	7	picked	0	image.placeholder	\N	f
21	2026-11-21 15:59:17.283984+00	8	queued	0	image.gemini	\N	f
22	2026-11-21 15:59:20.629044+00	8	picked	0	image.gemini	\N	f
23	2026-11-21 15:59:21.670621+00	9	queued	0	image.fal	\N	f
24	2026-11-21 15:59:24.836829+00	9	picked	0	image.fal	\N	f
25	2026-11-21 15:59:24.931142+00	10	queued	0	image.placeholder	\N	f
26	2026-11-21 15:59:27.674219+00	10	picked	0	image.placeholder	\N	f
27	2026-11-21 15:59:27.856773+00	11	queued	0	image.placeholder	\N	f
28	2026-11-21 15:59:32.051193+00	11	picked	0	image.placeholder	\N	f
29	2026-11-21 15:59:32.581047+00	12	queued	0	image.placeholder	\N	f
30	2026-11-21 15:59:35.835315+00	12	picked	0	image.placeholder	\N	f
31	2026-11-21 15:59:36.335598+00	13	queued	0	image.gemini	\N	f
32	2026-11-21 15:59:39.127324+00	13	picked	0	image.gemini	\N	f
33	2026-11-21 15:59:40.585398+00	14	queued	0	image.placeholder	\N	f
34	2026-11-21 15:59:40.585398+00	15	queued	0	image.gemini	\N	f
35	2026-11-21 15:59:40.585398+00	16	queued	0	image.placeholder	\N	f
36	2026-11-21 15:59:40.624579+00	17	queued	0	image.gemini	\N	f
37	2026-11-21 15:59:40.624579+00	18	queued	0	image.placeholder	\N	f
\.


--
-- Data for Name: pgqueuer_schedules; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.pgqueuer_schedules (id, expression, entrypoint, heartbeat, created, updated, next_run, last_run, status) FROM stdin;
\.


--
-- Data for Name: pgqueuer_statistics; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.pgqueuer_statistics (id, created, count, priority, status, entrypoint) FROM stdin;
\.


--
-- Data for Name: renditions; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.renditions (image_row_id, name, key, format, mime, width_px, height_px, length, sha256, is_internal) FROM stdin;
2	card	job_01M7ZD9YQ0EDVVTGQMQCGKDFWD/b.card-00000002a4894813.jpg	jpeg	image/jpeg	48	48	966	a48948132d35be1d99743d89b097fe27d70bc3f27348651b7c07c5ca0baad86d	f
1	card	job_01M7ZD9YQ0EDVVTGQMQCGKDFWD/a.card-00000001ac584a2b.jpg	jpeg	image/jpeg	48	48	992	ac584a2b78fc80c2af1d6570781d60304ffb801738329830bb165c486ac1c0eb	f
3	card	job_01M7ZDAA6JEXZB7YG36Q7R59EG/drawn.card-00000003dbd9f1ea.jpg	jpeg	image/jpeg	48	48	916	dbd9f1ea7cd0e94652fc0fe333f000785d454559048c0906a940ceaa9eebadc9	f
\.


--
-- Data for Name: schedule_runs; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.schedule_runs (id, schedule_id, trigger, request_key, scheduled_at, local_day, status, tries, try_at, job_id, detail, faults, ready_by_at, is_watched, at_risk_at, at_risk_reason, created_at) FROM stdin;
\.


--
-- Data for Name: schedules; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.schedules (id, account, name, cron, timezone, job, unique_per, catch_up, ready_by, enabled, next_run_at, created_at, updated_at) FROM stdin;
sch_01M7ZD9Y8HEE7SYNA9XFEPS6FW	default	hourly	@hourly	UTC	{"images":[{"id":"of-the-hour","prompt":"A picture of of-the-hour","provider":"placeholder","size":"64x64"}],"outputs":[{"name":"card","width":48,"height":48,"format":"jpeg"}]}	\N	latest	\N	t	2026-11-21 16:00:00+00	2026-11-21 15:58:52.702773+00	2026-11-21 15:58:52.702773+00
\.


--
-- Data for Name: styles; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.styles (account, name, description, prefix, suffix, negative_prompt, version, created_at, updated_at) FROM stdin;
default	noir	\N	Film noir.	Grain.	\N	1	2026-11-21 15:58:52.818715+00	2026-11-21 15:58:52.818715+00
\.


--
-- Data for Name: tally; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.tally (name, provider, model, word, kind, le, count, seconds) FROM stdin;
image	placeholder				15	2	23.208289
queue_wait	placeholder				15	2	21.549278
images	placeholder		completed		0	3	0
image	placeholder				1	1	0.557792
queue_wait	placeholder				0.5	1	0.238996
generation	placeholder				0.5	1	0.105633
generation	placeholder				1	2	1.535067
jobs			completed		0	1	0
wasted_cost	gemini				0	3	0
images	gemini		refused	SAFETY	0	2	0
cost	gemini				0	3	0
queue_wait	gemini				5	1	2.800808
attempts	gemini	gemini-3.1-flash-lite-image	refused		0	2	0
jobs			partial		0	1	0
attempt_errors	gemini			SAFETY	0	2	0
jobs			failed		0	2	0
images	gemini		uncertain	UNKNOWN	0	1	0
attempt_errors	gemini			TEMPORARY	0	1	0
queue_wait	gemini				0.5	2	0.30525800000000003
uncertain_cost	gemini				0	34359	0
attempts	gemini	gemini-3.1-flash-lite-image	unknown		0	1	0
webhook_failures					0	4	0
queue_wait	fal				5	1	3.222647
attempts	placeholder	placeholder-1	picture		0	5	0
queue_wait	placeholder				5	2	7.663772
\.


--
-- Data for Name: tally_notes; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.tally_notes (what, image_row_id, job_id, provider, model, was, became, error_kind, is_first, began_at, ended_at, cost_before, cost_microusd, estimate_microusd) FROM stdin;
image	15	job_01M7ZDBCXYEKPBD366JNWBV6ZA	placeholder	placeholder-1	queued	canceled	\N	t	2026-11-21 15:59:40.481046+00	2026-11-21 15:59:40.520011+00	\N	\N	\N
job	\N	job_01M7ZDBCXYEKPBD366JNWBV6ZA	\N	\N	pending	canceled	\N	f	\N	\N	\N	\N	\N
\.


--
-- Data for Name: tally_waste; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.tally_waste (image_row_id, provider, microusd) FROM stdin;
4	gemini	3
\.


--
-- Data for Name: turns; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.turns (provider, account, at) FROM stdin;
fal	default	-1
fal		0
gemini	default	2
gemini	shop	1
gemini		1
placeholder	default	8
placeholder		7
\.


--
-- Data for Name: uploads; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.uploads (id, account, given_sha256, is_fetched, key, format, mime, width_px, height_px, length, sha256, has_alpha, created_at, stored_at, expires_at) FROM stdin;
\.


--
-- Data for Name: webhook_endpoints; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.webhook_endpoints (id, account, job_id, url, events, retry_seconds, description, created_at, disabled_at, disabled_reason, deleted_at, failing_since, failed_at) FROM stdin;
whe_01M7ZD9XQMEQ78Z3BGWQNRN6TW	default	\N	http://127.0.0.1:9/hook	{job.completed,job.partial,job.canceled}	\N	\N	2026-11-21 15:58:52.461881+00	\N	\N	\N	2026-11-21 15:59:05.122495+00	2026-11-21 15:59:05.122495+00
whe_01M7ZDBD2FEZVAJ2TSDTHEAYAA	default	job_01M7ZDBD27ERA8CTTC3PCYTM4S	http://127.0.0.1:9/job	\N	\N	\N	2026-11-21 15:59:40.62388+00	\N	\N	\N	\N	\N
\.


--
-- Data for Name: webhook_lanes; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.webhook_lanes (endpoint_id, lane, site, revision, next_at, claim_token, failing_since, progress_due_at, progress_again_at) FROM stdin;
whe_01M7ZD9XQMEQ78Z3BGWQNRN6TW	job_01M7ZD9YQ0EDVVTGQMQCGKDFWD	whe_01M7ZD9XQMEQ78Z3BGWQNRN6TW	1	2026-11-21 16:04:12.538384+00	\N	2026-11-21 15:59:05.122495+00	\N	\N
whe_01M7ZD9XQMEQ78Z3BGWQNRN6TW	job_01M7ZDAA6JEXZB7YG36Q7R59EG	whe_01M7ZD9XQMEQ78Z3BGWQNRN6TW	1	2026-11-21 16:03:24.309232+00	\N	2026-11-21 15:59:08.791666+00	\N	\N
whe_01M7ZD9XQMEQ78Z3BGWQNRN6TW	job_01M7ZDBCXYEKPBD366JNWBV6ZA	whe_01M7ZD9XQMEQ78Z3BGWQNRN6TW	1	2026-11-21 15:59:40.530327+00	\N	\N	\N	\N
whe_01M7ZDBD2FEZVAJ2TSDTHEAYAA	job_01M7ZDBD27ERA8CTTC3PCYTM4S	default http://127.0.0.1:9	1	2026-11-21 15:59:40.624427+00	\N	\N	\N	\N
\.


--
-- Data for Name: webhook_secrets; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.webhook_secrets (id, account, endpoint_id, ciphertext, created_at, expires_at) FROM stdin;
1	default	whe_01M7ZD9XQMEQ78Z3BGWQNRN6TW	\\x674141414141427241622d38325845795a35625f4d4b4f304b755a313477397a57687253616c6f484f742d325975355234414677736561394e594c4f324239706159754834445a666d57455a324b4863324646315044784f663272446e392d393571466a6f64793074395f4b516c5261353345414f6e592d4c4c6e6d6f61516d4a496435474b627257794f416730706f4c313835505142723576546b5f4c4a4165673d3d	2026-11-21 15:58:52.596312+00	\N
\.


--
-- Data for Name: workers; Type: TABLE DATA; Schema: safelight; Owner: -
--

COPY safelight.workers (id, host, pid, providers, slots, finish_slots, draining, started_at, heartbeat_at) FROM stdin;
01a1fed5-576b-72f1-9398-d1bbe18f017a	vm	24350	{gemini,fal,placeholder}	32	4	f	2026-11-21 15:59:16.893207+00	2026-11-21 15:59:16.928318+00
01a1fed5-653a-7054-9481-679594f36159	vm	24415	{gemini,fal,placeholder}	32	4	f	2026-11-21 15:59:20.413738+00	2026-11-21 15:59:20.456556+00
01a1fed5-7612-747f-8689-d0d2967e239c	vm	24483	{gemini,fal,placeholder}	32	4	f	2026-11-21 15:59:24.717153+00	2026-11-21 15:59:24.745139+00
01a1fed5-8075-73e1-865d-5718c881090e	vm	24596	{gemini,fal,placeholder}	32	4	f	2026-11-21 15:59:27.421303+00	2026-11-21 15:59:27.490636+00
01a1fed5-919e-74f0-abfb-1ad61a7963f5	vm	24646	{gemini,fal,placeholder}	32	4	f	2026-11-21 15:59:31.80041+00	2026-11-21 15:59:31.839088+00
01a1fed5-a033-72d3-ab9e-8524b00a2dfa	vm	24788	{gemini,fal,placeholder}	32	4	f	2026-11-21 15:59:35.538438+00	2026-11-21 15:59:35.576757+00
01a1fed5-ad7f-74d4-a40c-add0b7cfc260	vm	24849	{gemini,fal,placeholder}	32	4	f	2026-11-21 15:59:38.929315+00	2026-11-21 15:59:38.974018+00
\.


--
-- Name: alert_messages_id_seq; Type: SEQUENCE SET; Schema: safelight; Owner: -
--

SELECT pg_catalog.setval('safelight.alert_messages_id_seq', 1, false);


--
-- Name: alerts_id_seq; Type: SEQUENCE SET; Schema: safelight; Owner: -
--

SELECT pg_catalog.setval('safelight.alerts_id_seq', 1, false);


--
-- Name: deliveries_id_seq; Type: SEQUENCE SET; Schema: safelight; Owner: -
--

SELECT pg_catalog.setval('safelight.deliveries_id_seq', 4, true);


--
-- Name: holds_id_seq; Type: SEQUENCE SET; Schema: safelight; Owner: -
--

SELECT pg_catalog.setval('safelight.holds_id_seq', 3, true);


--
-- Name: images_row_id_seq; Type: SEQUENCE SET; Schema: safelight; Owner: -
--

SELECT pg_catalog.setval('safelight.images_row_id_seq', 21, true);


--
-- Name: ledger_id_seq; Type: SEQUENCE SET; Schema: safelight; Owner: -
--

SELECT pg_catalog.setval('safelight.ledger_id_seq', 4, true);


--
-- Name: notices_id_seq; Type: SEQUENCE SET; Schema: safelight; Owner: -
--

SELECT pg_catalog.setval('safelight.notices_id_seq', 1, false);


--
-- Name: pgqueuer_id_seq; Type: SEQUENCE SET; Schema: safelight; Owner: -
--

SELECT pg_catalog.setval('safelight.pgqueuer_id_seq', 18, true);


--
-- Name: pgqueuer_log_id_seq; Type: SEQUENCE SET; Schema: safelight; Owner: -
--

SELECT pg_catalog.setval('safelight.pgqueuer_log_id_seq', 37, true);


--
-- Name: pgqueuer_schedules_id_seq; Type: SEQUENCE SET; Schema: safelight; Owner: -
--

SELECT pg_catalog.setval('safelight.pgqueuer_schedules_id_seq', 1, false);


--
-- Name: pgqueuer_statistics_id_seq; Type: SEQUENCE SET; Schema: safelight; Owner: -
--

SELECT pg_catalog.setval('safelight.pgqueuer_statistics_id_seq', 1, false);


--
-- Name: schedule_runs_id_seq; Type: SEQUENCE SET; Schema: safelight; Owner: -
--

SELECT pg_catalog.setval('safelight.schedule_runs_id_seq', 1, false);


--
-- Name: webhook_secrets_id_seq; Type: SEQUENCE SET; Schema: safelight; Owner: -
--

SELECT pg_catalog.setval('safelight.webhook_secrets_id_seq', 1, true);


--
-- Name: account_days account_days_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.account_days
    ADD CONSTRAINT account_days_pkey PRIMARY KEY (account, day);


--
-- Name: accounts accounts_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);


--
-- Name: alert_messages alert_messages_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.alert_messages
    ADD CONSTRAINT alert_messages_pkey PRIMARY KEY (id);


--
-- Name: alert_watch alert_watch_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.alert_watch
    ADD CONSTRAINT alert_watch_pkey PRIMARY KEY (only_row);


--
-- Name: alerts alerts_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.alerts
    ADD CONSTRAINT alerts_pkey PRIMARY KEY (id);


--
-- Name: api_keys api_keys_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);


--
-- Name: attempts attempts_image_row_id_number_key; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.attempts
    ADD CONSTRAINT attempts_image_row_id_number_key UNIQUE (image_row_id, number);


--
-- Name: attempts attempts_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (id);


--
-- Name: balances balances_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.balances
    ADD CONSTRAINT balances_pkey PRIMARY KEY (account, currency);


--
-- Name: deliveries deliveries_message_id_key; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.deliveries
    ADD CONSTRAINT deliveries_message_id_key UNIQUE (message_id);


--
-- Name: deliveries deliveries_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (id);


--
-- Name: events events_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (job_id, seq);


--
-- Name: gates gates_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.gates
    ADD CONSTRAINT gates_pkey PRIMARY KEY (provider, model);


--
-- Name: holds holds_image_row_id_run_key; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.holds
    ADD CONSTRAINT holds_image_row_id_run_key UNIQUE (image_row_id, run);


--
-- Name: holds holds_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.holds
    ADD CONSTRAINT holds_pkey PRIMARY KEY (id);


--
-- Name: image_references image_references_child_row_id_parent_row_id_key; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.image_references
    ADD CONSTRAINT image_references_child_row_id_parent_row_id_key UNIQUE (child_row_id, parent_row_id);


--
-- Name: image_references image_references_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.image_references
    ADD CONSTRAINT image_references_pkey PRIMARY KEY (child_row_id, "position");


--
-- Name: images images_job_id_id_key; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.images
    ADD CONSTRAINT images_job_id_id_key UNIQUE (job_id, id);


--
-- Name: images images_job_id_position_key; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.images
    ADD CONSTRAINT images_job_id_position_key UNIQUE (job_id, "position");


--
-- Name: images images_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.images
    ADD CONSTRAINT images_pkey PRIMARY KEY (row_id);


--
-- Name: installation installation_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.installation
    ADD CONSTRAINT installation_pkey PRIMARY KEY (only_row);


--
-- Name: jobs jobs_account_idempotency_key_key; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.jobs
    ADD CONSTRAINT jobs_account_idempotency_key_key UNIQUE (account, idempotency_key);


--
-- Name: jobs jobs_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);


--
-- Name: jobs jobs_trace_context; Type: CHECK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE safelight.jobs
    ADD CONSTRAINT jobs_trace_context CHECK (((length(trace_context) >= 55) AND (length(trace_context) <= 568))) NOT VALID;


--
-- Name: ledger ledger_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.ledger
    ADD CONSTRAINT ledger_pkey PRIMARY KEY (id);


--
-- Name: migrations migrations_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (version);


--
-- Name: notices notices_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.notices
    ADD CONSTRAINT notices_pkey PRIMARY KEY (id);


--
-- Name: pgqueuer_log pgqueuer_log_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.pgqueuer_log
    ADD CONSTRAINT pgqueuer_log_pkey PRIMARY KEY (id);


--
-- Name: pgqueuer pgqueuer_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.pgqueuer
    ADD CONSTRAINT pgqueuer_pkey PRIMARY KEY (id);


--
-- Name: pgqueuer_schedules pgqueuer_schedules_expression_entrypoint_key; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.pgqueuer_schedules
    ADD CONSTRAINT pgqueuer_schedules_expression_entrypoint_key UNIQUE (expression, entrypoint);


--
-- Name: pgqueuer_schedules pgqueuer_schedules_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.pgqueuer_schedules
    ADD CONSTRAINT pgqueuer_schedules_pkey PRIMARY KEY (id);


--
-- Name: pgqueuer_statistics pgqueuer_statistics_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.pgqueuer_statistics
    ADD CONSTRAINT pgqueuer_statistics_pkey PRIMARY KEY (id);


--
-- Name: renditions renditions_key_key; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.renditions
    ADD CONSTRAINT renditions_key_key UNIQUE (key);


--
-- Name: renditions renditions_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.renditions
    ADD CONSTRAINT renditions_pkey PRIMARY KEY (image_row_id, name);


--
-- Name: schedule_runs schedule_runs_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.schedule_runs
    ADD CONSTRAINT schedule_runs_pkey PRIMARY KEY (id);


--
-- Name: schedules schedules_account_name_key; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.schedules
    ADD CONSTRAINT schedules_account_name_key UNIQUE (account, name);


--
-- Name: schedules schedules_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.schedules
    ADD CONSTRAINT schedules_pkey PRIMARY KEY (id);


--
-- Name: styles styles_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.styles
    ADD CONSTRAINT styles_pkey PRIMARY KEY (account, name);


--
-- Name: tally tally_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.tally
    ADD CONSTRAINT tally_pkey PRIMARY KEY (name, provider, model, word, kind, le);


--
-- Name: tally_waste tally_waste_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.tally_waste
    ADD CONSTRAINT tally_waste_pkey PRIMARY KEY (image_row_id, provider);


--
-- Name: turns turns_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.turns
    ADD CONSTRAINT turns_pkey PRIMARY KEY (provider, account);


--
-- Name: uploads uploads_key_key; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.uploads
    ADD CONSTRAINT uploads_key_key UNIQUE (key);


--
-- Name: uploads uploads_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.uploads
    ADD CONSTRAINT uploads_pkey PRIMARY KEY (id);


--
-- Name: webhook_endpoints webhook_endpoints_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.webhook_endpoints
    ADD CONSTRAINT webhook_endpoints_pkey PRIMARY KEY (id);


--
-- Name: webhook_lanes webhook_lanes_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.webhook_lanes
    ADD CONSTRAINT webhook_lanes_pkey PRIMARY KEY (endpoint_id, lane);


--
-- Name: webhook_secrets webhook_secrets_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.webhook_secrets
    ADD CONSTRAINT webhook_secrets_pkey PRIMARY KEY (id);


--
-- Name: workers workers_pkey; Type: CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);


--
-- Name: alert_messages_due; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX alert_messages_due ON safelight.alert_messages USING btree (due_at) WHERE (status = 'pending'::text);


--
-- Name: alert_messages_of_alert; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX alert_messages_of_alert ON safelight.alert_messages USING btree (alert_id);


--
-- Name: alerts_open; Type: INDEX; Schema: safelight; Owner: -
--

CREATE UNIQUE INDEX alerts_open ON safelight.alerts USING btree (rule, subject) WHERE (resolved_at IS NULL);


--
-- Name: alerts_resolved; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX alerts_resolved ON safelight.alerts USING btree (resolved_at) WHERE (resolved_at IS NOT NULL);


--
-- Name: api_keys_of_account; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX api_keys_of_account ON safelight.api_keys USING btree (account, id);


--
-- Name: attempts_by_provider; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX attempts_by_provider ON safelight.attempts USING btree (provider, sent_at);


--
-- Name: attempts_one_unresolved; Type: INDEX; Schema: safelight; Owner: -
--

CREATE UNIQUE INDEX attempts_one_unresolved ON safelight.attempts USING btree (image_row_id) WHERE (status = ANY (ARRAY['sent'::text, 'submitted'::text]));


--
-- Name: attempts_open; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX attempts_open ON safelight.attempts USING btree (image_row_id) WHERE (status = ANY (ARRAY['sent'::text, 'submitted'::text, 'received'::text]));


--
-- Name: attempts_stranded; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX attempts_stranded ON safelight.attempts USING btree (id) WHERE (stranded_in IS NOT NULL);


--
-- Name: attempts_unknown; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX attempts_unknown ON safelight.attempts USING btree (sent_at) WHERE (status = 'unknown'::text);


--
-- Name: attempts_unresolved; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX attempts_unresolved ON safelight.attempts USING btree (resolve_at) WHERE (status = 'sent'::text);


--
-- Name: deliveries_by_end; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX deliveries_by_end ON safelight.deliveries USING btree (ended_at) WHERE (ended_at IS NOT NULL);


--
-- Name: deliveries_dead; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX deliveries_dead ON safelight.deliveries USING btree (account, id) WHERE (status = 'dead'::text);


--
-- Name: deliveries_given_up; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX deliveries_given_up ON safelight.deliveries USING btree (ended_at, account) WHERE (status = 'dead'::text);


--
-- Name: deliveries_newest; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX deliveries_newest ON safelight.deliveries USING btree (account, id);


--
-- Name: deliveries_of_endpoint; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX deliveries_of_endpoint ON safelight.deliveries USING btree (endpoint_id, id);


--
-- Name: deliveries_of_job; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX deliveries_of_job ON safelight.deliveries USING btree (job_id, id) WHERE (job_id IS NOT NULL);


--
-- Name: deliveries_pending; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX deliveries_pending ON safelight.deliveries USING btree (endpoint_id, lane, id) WHERE (status = 'pending'::text);


--
-- Name: events_in_order; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX events_in_order ON safelight.events USING btree (xact, job_id, seq);


--
-- Name: events_of_account; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX events_of_account ON safelight.events USING btree (account, xact, job_id, seq);


--
-- Name: holds_of_job; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX holds_of_job ON safelight.holds USING btree (job_id);


--
-- Name: holds_open; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX holds_open ON safelight.holds USING btree (image_row_id) WHERE (status = 'held'::text);


--
-- Name: image_references_by_parent; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX image_references_by_parent ON safelight.image_references USING btree (parent_row_id);


--
-- Name: image_references_by_upload; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX image_references_by_upload ON safelight.image_references USING btree (upload_id) WHERE (upload_id IS NOT NULL);


--
-- Name: images_awaiting; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX images_awaiting ON safelight.images USING btree (job_id) WHERE awaits_parents;


--
-- Name: images_backlog; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX images_backlog ON safelight.images USING btree (provider, model, account, priority, not_before, job_id, "position") WHERE ((status = 'queued'::text) AND (admitted_at IS NULL) AND (NOT awaits_parents));


--
-- Name: images_ended; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX images_ended ON safelight.images USING btree (completed_at) INCLUDE (provider, status) WHERE (completed_at IS NOT NULL);


--
-- Name: images_held; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX images_held ON safelight.images USING btree (provider) WHERE ((status = ANY (ARRAY['processing'::text, 'generating'::text, 'uploading'::text])) OR ((status = 'queued'::text) AND (admitted_at IS NOT NULL)));


--
-- Name: images_queued; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX images_queued ON safelight.images USING btree (account) WHERE (lower(status) = 'queued'::text);


--
-- Name: images_stopped; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX images_stopped ON safelight.images USING btree (job_id) WHERE (stop IS NOT NULL);


--
-- Name: jobs_by_day; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX jobs_by_day ON safelight.jobs USING brin (created_at) WITH (pages_per_range='16', autosummarize='on');


--
-- Name: jobs_by_time; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX jobs_by_time ON safelight.jobs USING btree (account, created_at);


--
-- Name: jobs_kept; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX jobs_kept ON safelight.jobs USING btree (completed_at) WHERE ((completed_at IS NOT NULL) AND (removed_at IS NULL));


--
-- Name: jobs_metadata; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX jobs_metadata ON safelight.jobs USING gin (metadata jsonb_path_ops);


--
-- Name: jobs_newest; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX jobs_newest ON safelight.jobs USING btree (account, id DESC);


--
-- Name: jobs_of_request; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX jobs_of_request ON safelight.jobs USING btree (account, request_fingerprint, created_at DESC) WHERE (idempotency_key ~~ 'openai %'::text);


--
-- Name: jobs_open; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX jobs_open ON safelight.jobs USING btree (deadline_at) WHERE (status = ANY (ARRAY['pending'::text, 'generating'::text, 'canceling'::text]));


--
-- Name: jobs_to_clear; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX jobs_to_clear ON safelight.jobs USING btree (removed_at) WHERE ((removed_at IS NOT NULL) AND (cleared_at IS NULL));


--
-- Name: jobs_with_log; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX jobs_with_log ON safelight.jobs USING btree (completed_at) WHERE ((completed_at IS NOT NULL) AND ((log_cut_at IS NULL) OR (log_cut_at < completed_at)));


--
-- Name: jobs_with_prompts; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX jobs_with_prompts ON safelight.jobs USING btree (completed_at) WHERE ((completed_at IS NOT NULL) AND (prompts_removed_at IS NULL));


--
-- Name: ledger_by_key; Type: INDEX; Schema: safelight; Owner: -
--

CREATE UNIQUE INDEX ledger_by_key ON safelight.ledger USING btree (account, idempotency_key) WHERE (idempotency_key IS NOT NULL);


--
-- Name: ledger_of_account; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX ledger_of_account ON safelight.ledger USING btree (account, id);


--
-- Name: ledger_one_end; Type: INDEX; Schema: safelight; Owner: -
--

CREATE UNIQUE INDEX ledger_one_end ON safelight.ledger USING btree (hold_id) WHERE (kind = ANY (ARRAY['capture'::text, 'release'::text]));


--
-- Name: ledger_one_hold; Type: INDEX; Schema: safelight; Owner: -
--

CREATE UNIQUE INDEX ledger_one_hold ON safelight.ledger USING btree (hold_id) WHERE (kind = 'hold'::text);


--
-- Name: notices_by_time; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX notices_by_time ON safelight.notices USING btree (at);


--
-- Name: pgqueuer_ep_ea_idx; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX pgqueuer_ep_ea_idx ON safelight.pgqueuer USING btree (entrypoint, execute_after) WHERE (status = 'queued'::safelight.pgqueuer_status);


--
-- Name: pgqueuer_ep_prio_id_idx; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX pgqueuer_ep_prio_id_idx ON safelight.pgqueuer USING btree (entrypoint, priority DESC, id) WHERE (status = 'queued'::safelight.pgqueuer_status);


--
-- Name: pgqueuer_log_created; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX pgqueuer_log_created ON safelight.pgqueuer_log USING btree (created);


--
-- Name: pgqueuer_log_job_id_status; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX pgqueuer_log_job_id_status ON safelight.pgqueuer_log USING btree (job_id, created DESC);


--
-- Name: pgqueuer_log_not_aggregated; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX pgqueuer_log_not_aggregated ON safelight.pgqueuer_log USING btree ((1)) WHERE (NOT aggregated);


--
-- Name: pgqueuer_log_status; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX pgqueuer_log_status ON safelight.pgqueuer_log USING btree (status);


--
-- Name: pgqueuer_picked_heartbeat_idx; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX pgqueuer_picked_heartbeat_idx ON safelight.pgqueuer USING btree (heartbeat) WHERE (status = 'picked'::safelight.pgqueuer_status);


--
-- Name: pgqueuer_picked_slot_idx; Type: INDEX; Schema: safelight; Owner: -
--

CREATE UNIQUE INDEX pgqueuer_picked_slot_idx ON safelight.pgqueuer USING btree (entrypoint, slot) WHERE ((status = 'picked'::safelight.pgqueuer_status) AND (slot IS NOT NULL));


--
-- Name: pgqueuer_priority_id_id1_idx; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX pgqueuer_priority_id_id1_idx ON safelight.pgqueuer USING btree (priority, id DESC) INCLUDE (id) WHERE (status = 'queued'::safelight.pgqueuer_status);


--
-- Name: pgqueuer_queue_manager_id_idx; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX pgqueuer_queue_manager_id_idx ON safelight.pgqueuer USING btree (queue_manager_id) WHERE (queue_manager_id IS NOT NULL);


--
-- Name: pgqueuer_statistics_unique_count; Type: INDEX; Schema: safelight; Owner: -
--

CREATE UNIQUE INDEX pgqueuer_statistics_unique_count ON safelight.pgqueuer_statistics USING btree (priority, date_trunc('sec'::text, timezone('UTC'::text, created)), status, entrypoint);


--
-- Name: pgqueuer_unique_dedupe_key; Type: INDEX; Schema: safelight; Owner: -
--

CREATE UNIQUE INDEX pgqueuer_unique_dedupe_key ON safelight.pgqueuer USING btree (dedupe_key) WHERE ((status = ANY (ARRAY['queued'::safelight.pgqueuer_status, 'picked'::safelight.pgqueuer_status])) AND (dedupe_key IS NOT NULL));


--
-- Name: pgqueuer_updated_id_id1_idx; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX pgqueuer_updated_id_id1_idx ON safelight.pgqueuer USING btree (updated, id DESC) INCLUDE (id) WHERE (status = 'picked'::safelight.pgqueuer_status);


--
-- Name: schedule_runs_by_key; Type: INDEX; Schema: safelight; Owner: -
--

CREATE UNIQUE INDEX schedule_runs_by_key ON safelight.schedule_runs USING btree (schedule_id, request_key) WHERE (request_key IS NOT NULL);


--
-- Name: schedule_runs_due; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX schedule_runs_due ON safelight.schedule_runs USING btree (try_at) WHERE (status = 'due'::text);


--
-- Name: schedule_runs_newest; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX schedule_runs_newest ON safelight.schedule_runs USING btree (schedule_id, id DESC);


--
-- Name: schedule_runs_of_cron; Type: INDEX; Schema: safelight; Owner: -
--

CREATE UNIQUE INDEX schedule_runs_of_cron ON safelight.schedule_runs USING btree (schedule_id, scheduled_at) WHERE (trigger = 'cron'::text);


--
-- Name: schedule_runs_of_day; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX schedule_runs_of_day ON safelight.schedule_runs USING btree (schedule_id, local_day) WHERE (job_id IS NOT NULL);


--
-- Name: schedule_runs_watched; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX schedule_runs_watched ON safelight.schedule_runs USING btree (schedule_id) WHERE is_watched;


--
-- Name: schedules_due; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX schedules_due ON safelight.schedules USING btree (next_run_at) WHERE (next_run_at IS NOT NULL);


--
-- Name: uploads_expiring; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX uploads_expiring ON safelight.uploads USING btree (expires_at);


--
-- Name: uploads_same; Type: INDEX; Schema: safelight; Owner: -
--

CREATE UNIQUE INDEX uploads_same ON safelight.uploads USING btree (account, given_sha256, is_fetched) WHERE (stored_at IS NOT NULL);


--
-- Name: webhook_endpoints_disabled; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX webhook_endpoints_disabled ON safelight.webhook_endpoints USING btree (disabled_at) WHERE ((disabled_at IS NOT NULL) AND (deleted_at IS NULL) AND (job_id IS NULL));


--
-- Name: webhook_endpoints_failing; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX webhook_endpoints_failing ON safelight.webhook_endpoints USING btree (site) WHERE ((failing_since IS NOT NULL) AND (disabled_at IS NULL) AND (deleted_at IS NULL));


--
-- Name: webhook_endpoints_live; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX webhook_endpoints_live ON safelight.webhook_endpoints USING btree (account) WHERE ((job_id IS NULL) AND (disabled_at IS NULL) AND (deleted_at IS NULL));


--
-- Name: webhook_endpoints_of_account; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX webhook_endpoints_of_account ON safelight.webhook_endpoints USING btree (account, id) WHERE ((job_id IS NULL) AND (deleted_at IS NULL));


--
-- Name: webhook_endpoints_of_job; Type: INDEX; Schema: safelight; Owner: -
--

CREATE UNIQUE INDEX webhook_endpoints_of_job ON safelight.webhook_endpoints USING btree (job_id) WHERE (job_id IS NOT NULL);


--
-- Name: webhook_lanes_claimed; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX webhook_lanes_claimed ON safelight.webhook_lanes USING btree (site) WHERE (claim_token IS NOT NULL);


--
-- Name: webhook_lanes_next; Type: INDEX; Schema: safelight; Owner: -
--

CREATE INDEX webhook_lanes_next ON safelight.webhook_lanes USING btree (site, next_at) WHERE (next_at IS NOT NULL);


--
-- Name: webhook_secrets_of_endpoint; Type: INDEX; Schema: safelight; Owner: -
--

CREATE UNIQUE INDEX webhook_secrets_of_endpoint ON safelight.webhook_secrets USING btree (account, COALESCE(endpoint_id, ''::text), ((expires_at IS NULL)));


--
-- Name: account_days account_days_thresholds; Type: TRIGGER; Schema: safelight; Owner: -
--

CREATE TRIGGER account_days_thresholds BEFORE UPDATE OF held_microusd, spent_microusd ON safelight.account_days FOR EACH ROW EXECUTE FUNCTION safelight.tell_thresholds();


--
-- Name: attempts attempts_count; Type: TRIGGER; Schema: safelight; Owner: -
--

CREATE TRIGGER attempts_count AFTER UPDATE ON safelight.attempts FOR EACH ROW WHEN ((new.is_budgeted AND (NOT (new.budget_day IS DISTINCT FROM old.budget_day)))) EXECUTE FUNCTION safelight.count_call();


--
-- Name: attempts attempts_count_new; Type: TRIGGER; Schema: safelight; Owner: -
--

CREATE TRIGGER attempts_count_new AFTER INSERT ON safelight.attempts FOR EACH ROW WHEN (new.is_budgeted) EXECUTE FUNCTION safelight.count_call();


--
-- Name: attempts attempts_note; Type: TRIGGER; Schema: safelight; Owner: -
--

CREATE TRIGGER attempts_note AFTER UPDATE ON safelight.attempts FOR EACH ROW WHEN (((old.status IS DISTINCT FROM new.status) OR (old.cost_microusd IS DISTINCT FROM new.cost_microusd))) EXECUTE FUNCTION safelight.note_call();


--
-- Name: attempts attempts_note_new; Type: TRIGGER; Schema: safelight; Owner: -
--

CREATE TRIGGER attempts_note_new AFTER INSERT ON safelight.attempts FOR EACH ROW WHEN ((new.status <> 'sent'::text)) EXECUTE FUNCTION safelight.note_call();


--
-- Name: deliveries deliveries_note; Type: TRIGGER; Schema: safelight; Owner: -
--

CREATE TRIGGER deliveries_note AFTER UPDATE OF status, attempt_count ON safelight.deliveries FOR EACH ROW WHEN (((new.attempt_count > old.attempt_count) OR ((old.status = 'pending'::text) AND (new.status <> 'pending'::text)))) EXECUTE FUNCTION safelight.note_message();


--
-- Name: images images_count; Type: TRIGGER; Schema: safelight; Owner: -
--

CREATE TRIGGER images_count AFTER UPDATE ON safelight.images FOR EACH ROW WHEN ((((old.reserved_on IS NOT NULL) OR (new.reserved_on IS NOT NULL)) AND (((old.status IS DISTINCT FROM new.status) OR (old.reserved_on IS DISTINCT FROM new.reserved_on)) OR (old.reserved_microusd IS DISTINCT FROM new.reserved_microusd)))) EXECUTE FUNCTION safelight.count_image();


--
-- Name: images images_note; Type: TRIGGER; Schema: safelight; Owner: -
--

CREATE TRIGGER images_note AFTER UPDATE OF status ON safelight.images FOR EACH ROW WHEN (((old.status IS DISTINCT FROM new.status) AND ((old.status = ANY (ARRAY['completed'::text, 'failed'::text, 'refused'::text, 'canceled'::text, 'uncertain'::text])) OR (new.status = ANY (ARRAY['completed'::text, 'failed'::text, 'refused'::text, 'canceled'::text, 'uncertain'::text]))))) EXECUTE FUNCTION safelight.note_image();


--
-- Name: images images_resolve_hold; Type: TRIGGER; Schema: safelight; Owner: -
--

CREATE TRIGGER images_resolve_hold AFTER UPDATE OF status ON safelight.images FOR EACH ROW WHEN (((old.quote IS NOT NULL) AND (old.status <> new.status) AND ((new.status = ANY (ARRAY['completed'::text, 'failed'::text, 'refused'::text, 'canceled'::text])) OR (new.run <> old.run)))) EXECUTE FUNCTION safelight.follow_image();


--
-- Name: jobs jobs_note; Type: TRIGGER; Schema: safelight; Owner: -
--

CREATE TRIGGER jobs_note AFTER UPDATE OF status ON safelight.jobs FOR EACH ROW WHEN (((new.status = ANY (ARRAY['completed'::text, 'partial'::text, 'failed'::text, 'canceled'::text])) AND (old.status IS DISTINCT FROM new.status))) EXECUTE FUNCTION safelight.note_job();


--
-- Name: ledger ledger_is_kept; Type: TRIGGER; Schema: safelight; Owner: -
--

CREATE TRIGGER ledger_is_kept BEFORE DELETE OR UPDATE ON safelight.ledger FOR EACH ROW EXECUTE FUNCTION safelight.refuse_change();


--
-- Name: ledger ledger_is_whole; Type: TRIGGER; Schema: safelight; Owner: -
--

CREATE TRIGGER ledger_is_whole BEFORE TRUNCATE ON safelight.ledger FOR EACH STATEMENT EXECUTE FUNCTION safelight.refuse_change();


--
-- Name: notices post_notice; Type: TRIGGER; Schema: safelight; Owner: -
--

CREATE TRIGGER post_notice AFTER INSERT ON safelight.notices FOR EACH ROW EXECUTE FUNCTION safelight.post_notice();


--
-- Name: pgqueuer tg_pgqueuer_changed; Type: TRIGGER; Schema: safelight; Owner: -
--

CREATE TRIGGER tg_pgqueuer_changed AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON safelight.pgqueuer FOR EACH STATEMENT EXECUTE FUNCTION safelight.fn_pgqueuer_changed();


--
-- Name: account_days account_days_account_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.account_days
    ADD CONSTRAINT account_days_account_fkey FOREIGN KEY (account) REFERENCES safelight.accounts(id);


--
-- Name: alert_messages alert_messages_alert_id_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.alert_messages
    ADD CONSTRAINT alert_messages_alert_id_fkey FOREIGN KEY (alert_id) REFERENCES safelight.alerts(id) ON DELETE CASCADE;


--
-- Name: api_keys api_keys_account_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.api_keys
    ADD CONSTRAINT api_keys_account_fkey FOREIGN KEY (account) REFERENCES safelight.accounts(id);


--
-- Name: attempts attempts_image_row_id_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.attempts
    ADD CONSTRAINT attempts_image_row_id_fkey FOREIGN KEY (image_row_id) REFERENCES safelight.images(row_id);


--
-- Name: balances balances_account_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.balances
    ADD CONSTRAINT balances_account_fkey FOREIGN KEY (account) REFERENCES safelight.accounts(id);


--
-- Name: events events_job_id_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.events
    ADD CONSTRAINT events_job_id_fkey FOREIGN KEY (job_id) REFERENCES safelight.jobs(id);


--
-- Name: holds holds_account_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.holds
    ADD CONSTRAINT holds_account_fkey FOREIGN KEY (account) REFERENCES safelight.accounts(id);


--
-- Name: holds holds_image_row_id_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.holds
    ADD CONSTRAINT holds_image_row_id_fkey FOREIGN KEY (image_row_id) REFERENCES safelight.images(row_id);


--
-- Name: holds holds_job_id_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.holds
    ADD CONSTRAINT holds_job_id_fkey FOREIGN KEY (job_id) REFERENCES safelight.jobs(id);


--
-- Name: image_references image_references_child_row_id_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.image_references
    ADD CONSTRAINT image_references_child_row_id_fkey FOREIGN KEY (child_row_id) REFERENCES safelight.images(row_id) ON DELETE CASCADE;


--
-- Name: image_references image_references_parent_row_id_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.image_references
    ADD CONSTRAINT image_references_parent_row_id_fkey FOREIGN KEY (parent_row_id) REFERENCES safelight.images(row_id) ON DELETE CASCADE;


--
-- Name: images images_job_id_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.images
    ADD CONSTRAINT images_job_id_fkey FOREIGN KEY (job_id) REFERENCES safelight.jobs(id);


--
-- Name: ledger ledger_account_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.ledger
    ADD CONSTRAINT ledger_account_fkey FOREIGN KEY (account) REFERENCES safelight.accounts(id);


--
-- Name: ledger ledger_hold_id_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.ledger
    ADD CONSTRAINT ledger_hold_id_fkey FOREIGN KEY (hold_id) REFERENCES safelight.holds(id);


--
-- Name: renditions renditions_image_row_id_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.renditions
    ADD CONSTRAINT renditions_image_row_id_fkey FOREIGN KEY (image_row_id) REFERENCES safelight.images(row_id);


--
-- Name: schedule_runs schedule_runs_schedule_id_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.schedule_runs
    ADD CONSTRAINT schedule_runs_schedule_id_fkey FOREIGN KEY (schedule_id) REFERENCES safelight.schedules(id) ON DELETE CASCADE;


--
-- Name: webhook_endpoints webhook_endpoints_job_id_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.webhook_endpoints
    ADD CONSTRAINT webhook_endpoints_job_id_fkey FOREIGN KEY (job_id) REFERENCES safelight.jobs(id) ON DELETE CASCADE;


--
-- Name: webhook_secrets webhook_secrets_endpoint_id_fkey; Type: FK CONSTRAINT; Schema: safelight; Owner: -
--

ALTER TABLE ONLY safelight.webhook_secrets
    ADD CONSTRAINT webhook_secrets_endpoint_id_fkey FOREIGN KEY (endpoint_id) REFERENCES safelight.webhook_endpoints(id) ON DELETE CASCADE;


--
-- PostgreSQL database dump complete
--

\unrestrict W93MJoViaTKhEpdM7qQLjto94LNKcWEgyQSaEBu4L9EQFHxunDY0fAMsDhqytXD

