-- The tally: figures for /metrics that only grow, whoever is killed and whatever is forgotten later.
--
-- What changes an image, a job, a call or a message leaves a note in its own transaction, by trigger. Notes are taken away
-- and added to the tally in one transaction, a bounded number at a time, by one process at a time. So each is counted once,
-- in whatever order transactions end, and no settle touches a row that another one touches.

CREATE TABLE tally_notes (
    what              text NOT NULL CHECK (what IN ('job', 'image', 'call', 'message')),
    image_row_id      bigint,
    job_id            text,
    provider          text,
    model             text,
    was               text NOT NULL,
    became            text NOT NULL,
    error_kind        text,
    is_first          boolean NOT NULL DEFAULT false,
    began_at          timestamptz,
    ended_at          timestamptz,
    cost_before       bigint,
    cost_microusd     bigint,
    estimate_microusd bigint
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

COMMENT ON TABLE tally_notes IS 'what has happened and is not in the tally yet; without an index: it is taken from the front, in no order';
COMMENT ON COLUMN tally_notes.is_first IS 'of a call: the image''s first; of an image: nobody has retried it; of a message: it was tried just now';

CREATE TABLE tally (
    name     text NOT NULL,
    provider text NOT NULL,
    model    text NOT NULL,
    word     text NOT NULL,
    kind     text NOT NULL,
    le       double precision NOT NULL,
    count    bigint NOT NULL DEFAULT 0 CHECK (count >= 0),
    seconds  double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (name, provider, model, word, kind, le)
) WITH (fillfactor = 50);

COMMENT ON TABLE tally IS 'sums since this table is there; nothing in it ever becomes less';
COMMENT ON COLUMN tally.word IS 'a state, or an outcome; what does not tell figures of this name apart is empty';
COMMENT ON COLUMN tally.le IS 'of a distribution: the upper bound of the range that these are in';
COMMENT ON COLUMN tally.count IS 'how many; of money, micro-USD';

CREATE TABLE tally_waste (
    image_row_id bigint NOT NULL,
    provider     text NOT NULL,
    microusd     bigint NOT NULL CHECK (microusd > 0),
    PRIMARY KEY (image_row_id, provider)
);
COMMENT ON TABLE tally_waste IS 'what the tally holds as wasted: a picture that was wasted when its image ended may be used by a retry';

CREATE FUNCTION note_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO safelight.tally_notes (what, job_id, was, became) VALUES ('job', NEW.id, OLD.status, NEW.status);
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_note AFTER UPDATE OF status ON jobs FOR EACH ROW
    WHEN (NEW.status IN ('completed', 'partial', 'failed', 'canceled') AND OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION note_job();

-- An image that ends, and one that opens again.
CREATE FUNCTION note_image() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO safelight.tally_notes (what, image_row_id, job_id, provider, model, was, became, error_kind, is_first, began_at, ended_at)
    VALUES ('image', NEW.row_id, NEW.job_id, NEW.provider, NEW.model, OLD.status, NEW.status,
            CASE WHEN NEW.status <> 'completed' THEN NEW.error ->> 'kind' END, NEW.retry_count = 0, NEW.created_at,
            NEW.completed_at);
    RETURN NULL;
END $$;
CREATE TRIGGER images_note AFTER UPDATE OF status ON images FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status
          AND (OLD.status IN ('completed', 'failed', 'refused', 'canceled', 'uncertain')
               OR NEW.status IN ('completed', 'failed', 'refused', 'canceled', 'uncertain')))
    EXECUTE FUNCTION note_image();

CREATE FUNCTION note_call() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO safelight.tally_notes (what, image_row_id, provider, model, was, became, error_kind, is_first, began_at, ended_at,
                             cost_before, cost_microusd, estimate_microusd)
    VALUES ('call', NEW.image_row_id, NEW.provider, NEW.model, CASE TG_OP WHEN 'UPDATE' THEN OLD.status ELSE 'sent' END,
            NEW.status, NEW.error_kind, NEW.number = 1, NEW.sent_at, NEW.ended_at,
            CASE TG_OP WHEN 'UPDATE' THEN OLD.cost_microusd END, NEW.cost_microusd, NEW.estimate_microusd);
    RETURN NULL;
END $$;
CREATE TRIGGER attempts_note AFTER UPDATE ON attempts FOR EACH ROW
    WHEN ((OLD.status, OLD.cost_microusd) IS DISTINCT FROM (NEW.status, NEW.cost_microusd))
    EXECUTE FUNCTION note_call();
-- One whose bytes were found after a restore begins with its receipt.
CREATE TRIGGER attempts_note_new AFTER INSERT ON attempts FOR EACH ROW
    WHEN (NEW.status <> 'sent') EXECUTE FUNCTION note_call();

CREATE FUNCTION note_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO safelight.tally_notes (what, was, became, is_first, began_at, ended_at)
    VALUES ('message', OLD.status, NEW.status, NEW.attempt_count > OLD.attempt_count, NEW.wanted_at, NEW.ended_at);
    RETURN NULL;
END $$;
CREATE TRIGGER deliveries_note AFTER UPDATE OF status, attempt_count ON deliveries FOR EACH ROW
    WHEN (NEW.attempt_count > OLD.attempt_count OR (OLD.status = 'pending' AND NEW.status <> 'pending'))
    EXECUTE FUNCTION note_message();

-- Which messages were given up of late, without walking those that arrived.
CREATE INDEX deliveries_given_up ON deliveries (ended_at, account) WHERE status = 'dead';
