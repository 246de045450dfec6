-- name: pause
-- Nothing is bought from now on; a pause that is in force stays as it is.
UPDATE installation SET paused_at = coalesce(paused_at, safelight.now()), pause_reason = coalesce(pause_reason, $1);

-- name: resume
UPDATE installation SET paused_at = NULL, pause_reason = NULL;

-- name: paused
SELECT paused_at, pause_reason FROM installation;
