-- Buying can be paused for the whole installation: what is bought already is finished, nothing new is bought.

ALTER TABLE installation ADD COLUMN paused_at timestamptz, ADD COLUMN pause_reason text;

-- Steps in a row that broke off inside Safelight, apart from the vendor's failures, which have a backoff of their own.
ALTER TABLE images ADD COLUMN broken_steps smallint NOT NULL DEFAULT 0;
