-- Other ways to an image: further providers in order, and another prompt for one that is refused.

ALTER TABLE images
    ADD COLUMN targets jsonb,
    ADD COLUMN target smallint NOT NULL DEFAULT 0,
    ADD COLUMN on_refusal text NOT NULL DEFAULT 'stop' CHECK (on_refusal IN ('stop', 'next_provider', 'alternate_prompt')),
    ADD COLUMN alternate_prompt text,
    ADD COLUMN original_prompt text,
    ADD CHECK (target = 0 OR target < jsonb_array_length(targets));

COMMENT ON COLUMN images.targets IS 'what provider, model, options, timeout_seconds and estimate_microusd may become, in order; NULL: there is no other way';
COMMENT ON COLUMN images.original_prompt IS 'the prompt as ordered, once the alternate one has taken its place';
