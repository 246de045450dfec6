-- Money: what accounts have paid in advance and what is held of it, and how much may be bought for them.
--
-- Two books. The ledger is the customer's: what was asked of an account for its pictures. The attempts are the provider's:
-- what the calls cost. Nothing in one is ever taken out of the other.
--
-- Lock order: the job, its images by position, then the account's row. Whoever writes balances, holds, entries or a day's
-- figures holds that row first (take_account), so that no two wait for each other.

CREATE FUNCTION take_account(of_account text) RETURNS void LANGUAGE plpgsql SET search_path = safelight AS $$
BEGIN
    PERFORM FROM accounts WHERE id = of_account FOR NO KEY UPDATE;
END $$;

-- The customer's book ----------------------------------------------------------------------------------------------

CREATE TABLE balances (
    account   text NOT NULL REFERENCES accounts,
    currency  text NOT NULL CHECK (currency IN ('credits', 'usd')),
    available bigint NOT NULL DEFAULT 0 CHECK (available >= 0),
    held      bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    captured  bigint NOT NULL DEFAULT 0 CHECK (captured >= 0),
    PRIMARY KEY (account, currency)
) WITH (fillfactor = 70);
COMMENT ON TABLE balances IS 'the sums of the ledger, book by book; credits are whole, dollars are micro-USD';

CREATE TABLE holds (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account      text NOT NULL REFERENCES accounts,
    currency     text NOT NULL CHECK (currency IN ('credits', 'usd')),
    job_id       text NOT NULL REFERENCES jobs,
    image_row_id bigint NOT NULL REFERENCES images,
    run          integer NOT NULL,
    amount       bigint NOT NULL CHECK (amount > 0),
    status       text NOT NULL DEFAULT 'held' CHECK (status IN ('held', 'captured', 'released')),
    created_at   timestamptz NOT NULL,
    resolved_at  timestamptz,
    UNIQUE (image_row_id, run),
    CHECK ((status = 'held') = (resolved_at IS NULL))
);
CREATE INDEX holds_of_job ON holds (job_id);
CREATE INDEX holds_open ON holds (image_row_id) WHERE status = 'held';
COMMENT ON TABLE holds IS 'the quote of one picture in one run of its image, taken at submit or retry and resolved once';

CREATE TABLE ledger (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at              timestamptz NOT NULL,
    account         text NOT NULL REFERENCES accounts,
    currency        text NOT NULL CHECK (currency IN ('credits', 'usd')),
    kind            text NOT NULL CHECK (kind IN ('top_up', 'adjustment', 'hold', 'capture', 'release')),
    debit           text NOT NULL,
    credit          text NOT NULL,
    amount          bigint NOT NULL CHECK (amount > 0),
    available_after bigint NOT NULL CHECK (available_after >= 0),
    held_after      bigint NOT NULL CHECK (held_after >= 0),
    hold_id         bigint REFERENCES holds,
    reason          text,
    idempotency_key text,
    CHECK ((kind IN ('hold', 'capture', 'release')) = (hold_id IS NOT NULL)),
    CHECK ((kind = 'top_up' AND debit = 'outside' AND credit = 'available')
        OR (kind = 'adjustment' AND (debit, credit) IN (('outside', 'available'), ('available', 'outside')))
        OR (kind = 'hold' AND debit = 'available' AND credit = 'held')
        OR (kind = 'capture' AND debit = 'held' AND credit = 'captured')
        OR (kind = 'release' AND debit = 'held' AND credit = 'available'))
);
CREATE INDEX ledger_of_account ON ledger (account, id);
CREATE UNIQUE INDEX ledger_by_key ON ledger (account, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX ledger_one_hold ON ledger (hold_id) WHERE kind = 'hold';
CREATE UNIQUE INDEX ledger_one_end ON ledger (hold_id) WHERE kind IN ('capture', 'release');
COMMENT ON TABLE ledger IS 'double entry, one row per transfer: what leaves the book `debit` arrives in the book `credit`';
COMMENT ON COLUMN ledger.available_after IS 'the balance once this was entered';

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is only ever added to' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER ledger_is_kept BEFORE UPDATE OR DELETE ON ledger FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_is_whole BEFORE TRUNCATE ON ledger FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Makes sure of the account's row and of its balance in a currency, and holds the former until the transaction ends.
CREATE FUNCTION open_books(of_account text, in_currency text) RETURNS void LANGUAGE plpgsql SET search_path = safelight AS $$
BEGIN
    PERFORM take_account(of_account);
    INSERT INTO balances (account, currency) VALUES (of_account, in_currency) ON CONFLICT DO NOTHING;
END $$;

-- What was held for a picture goes where it belongs, once: to us when it was delivered, back to the account when not.
CREATE FUNCTION resolve_hold(of_image bigint, in_run integer, is_delivered boolean) RETURNS boolean
LANGUAGE plpgsql SET search_path = safelight AS $$
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

-- The hold of a picture ends with its image, in the statement that ends it, whichever that is. An image of unknown
-- outcome keeps its own; a retry begins a run with a hold of its own and gives the former back.
ALTER TABLE images ADD COLUMN quote bigint CHECK (quote >= 0);
COMMENT ON COLUMN images.quote IS 'what its picture costs the account in this run, in the job''s currency; NULL: nothing is asked';

CREATE FUNCTION follow_image() RETURNS trigger LANGUAGE plpgsql SET search_path = safelight AS $$
BEGIN
    PERFORM resolve_hold(OLD.row_id, OLD.run, NEW.run = OLD.run AND NEW.status = 'completed');
    RETURN NULL;
END $$;
CREATE TRIGGER images_resolve_hold AFTER UPDATE OF status ON images FOR EACH ROW
    WHEN (OLD.quote IS NOT NULL AND OLD.status <> NEW.status
          AND (NEW.status IN ('completed', 'failed', 'refused', 'canceled') OR NEW.run <> OLD.run))
    EXECUTE FUNCTION follow_image();

ALTER TABLE jobs ADD COLUMN currency text CHECK (currency IN ('credits', 'usd')),
    ADD COLUMN max_cost_microusd bigint CHECK (max_cost_microusd >= 0);
COMMENT ON COLUMN jobs.currency IS 'what its pictures are paid with, as of its latest hold; NULL: they are not';
COMMENT ON COLUMN jobs.max_cost_microusd IS 'what its calls may cost in all its runs';

-- What a job costs its account, in the currency of its latest hold; NULL when nothing is asked.
CREATE FUNCTION charge_of(of_job text) RETURNS jsonb LANGUAGE sql STABLE
RETURN (SELECT jsonb_build_object('currency', j.currency,
                                  'held', coalesce(sum(h.amount) FILTER (WHERE h.status = 'held'), 0),
                                  'captured', coalesce(sum(h.amount) FILTER (WHERE h.status = 'captured'), 0))
        FROM jobs AS j LEFT JOIN holds AS h ON h.job_id = j.id AND h.currency = j.currency
        WHERE j.id = of_job AND j.currency IS NOT NULL GROUP BY j.currency);

-- What may be bought -----------------------------------------------------------------------------------------------
--
-- A budget counts what calls have cost on a day (UTC), and holds what those may cost that are open or still to come. An
-- image that is under a budget reserves its estimate; the call takes that over; its cost takes the call's place.

CREATE TABLE account_days (
    account          text NOT NULL REFERENCES accounts,
    day              date NOT NULL,
    held_microusd    bigint NOT NULL DEFAULT 0,
    spent_microusd   bigint NOT NULL DEFAULT 0,
    overage_microusd bigint NOT NULL DEFAULT 0,
    told_of_microusd bigint,
    told_percent     smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (account, day)
) WITH (fillfactor = 70);
COMMENT ON TABLE account_days IS 'figures for budgets, of days on which the account had one, or a job that reserved for it';
COMMENT ON COLUMN account_days.spent_microusd IS 'of calls whose cost nobody knows, the estimate';
COMMENT ON COLUMN account_days.overage_microusd IS 'what calls have cost beyond their estimates: the one way past a budget';
COMMENT ON COLUMN account_days.told_percent IS 'the highest threshold that was told of the budget `told_of_microusd`';

ALTER TABLE images ADD COLUMN reserved_microusd bigint CHECK (reserved_microusd >= 0), ADD COLUMN reserved_on date;
COMMENT ON COLUMN images.reserved_microusd IS 'of a budget, for its next call; NULL: no budget concerns it';
COMMENT ON COLUMN images.reserved_on IS 'the day of its account whose budget that is; NULL: its job''s alone';

ALTER TABLE attempts ADD COLUMN is_budgeted boolean NOT NULL DEFAULT false, ADD COLUMN budget_day date;
COMMENT ON COLUMN attempts.budget_day IS 'the day of its account that it is counted on; NULL: of none';

CREATE FUNCTION today() RETURNS date LANGUAGE sql STABLE RETURN (safelight.now() AT TIME ZONE 'UTC')::date;

CREATE FUNCTION usd(microusd bigint) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE WHEN microusd % 1000 = 0 THEN round(microusd / 1000000.0, 3)::text
            ELSE trim_scale(microusd / 1000000.0)::text END;

-- What an image or a call counts for on its day: `held` while it may still cost something, `spent` once it has.
CREATE FUNCTION reserved_by(image images) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN CASE WHEN image.reserved_on IS NOT NULL AND image.status IN ('queued', 'processing', 'generating', 'uploading')
            THEN coalesce(image.reserved_microusd, 0) ELSE 0 END;
CREATE FUNCTION held_by(call attempts) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN CASE WHEN call.status IN ('sent', 'submitted') THEN coalesce(call.estimate_microusd, 0) ELSE 0 END;
CREATE FUNCTION spent_by(call attempts) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN CASE WHEN call.status IN ('sent', 'submitted') THEN 0
            WHEN call.status = 'unbilled' THEN coalesce(call.cost_microusd, 0)
            ELSE coalesce(call.cost_microusd, call.estimate_microusd, 0) END;
CREATE FUNCTION overage_of(call attempts) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN greatest(spent_by(call) - coalesce(call.estimate_microusd, 0), 0);

CREATE FUNCTION count_on_day(of_account text, on_day date, held bigint, spent bigint, overage bigint) RETURNS void
LANGUAGE plpgsql SET search_path = safelight AS $$
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

CREATE FUNCTION count_image() RETURNS trigger LANGUAGE plpgsql SET search_path = safelight AS $$
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
CREATE TRIGGER images_count AFTER UPDATE ON images FOR EACH ROW
    WHEN ((OLD.reserved_on IS NOT NULL OR NEW.reserved_on IS NOT NULL)
          AND (OLD.status, OLD.reserved_on, OLD.reserved_microusd)
              IS DISTINCT FROM (NEW.status, NEW.reserved_on, NEW.reserved_microusd))
    EXECUTE FUNCTION count_image();

-- A call that was proven to have cost nothing gives its image the reservation back, so that it can be tried again.
CREATE FUNCTION count_call() RETURNS trigger LANGUAGE plpgsql SET search_path = safelight AS $$
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
CREATE TRIGGER attempts_count AFTER INSERT OR UPDATE ON attempts FOR EACH ROW
    WHEN (NEW.is_budgeted) EXECUTE FUNCTION count_call();

-- Half of a day's budget, four fifths and all of it: each is told once for the day and the budget.
CREATE FUNCTION tell_thresholds() RETURNS trigger LANGUAGE plpgsql SET search_path = safelight AS $$
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
CREATE TRIGGER account_days_thresholds BEFORE UPDATE OF held_microusd, spent_microusd ON account_days
    FOR EACH ROW EXECUTE FUNCTION tell_thresholds();
