-- Styles: words of an account that go around its prompts. Those that come with Safelight are files.

CREATE TABLE styles (
    account         text NOT NULL,
    name            text NOT NULL CHECK (name ~ '^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$'),
    description     text,
    prefix          text,
    suffix          text,
    negative_prompt text,
    version         integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (account, name),
    CHECK (num_nonnulls(prefix, suffix, negative_prompt) > 0)
);

COMMENT ON COLUMN styles.version IS 'raised by every change of the words; accepted jobs have the words they were accepted with';

ALTER TABLE images ADD COLUMN style jsonb;

COMMENT ON COLUMN images.style IS
    'name, before_chars, after_chars: what stands around the caller''s own words in prompt and alternate_prompt; NULL: nothing';
