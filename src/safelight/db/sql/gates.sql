-- name: count_against
-- One more failure in a row at an open gate ($1, $2 = '' for the whole account). At the $5th the gate is shut, and told
-- so once: its first probe is due $7 seconds later, or at the next midnight of zone $6. A shut gate stays as it is.
WITH gate AS (
    INSERT INTO gates AS g (provider, model, failures, code, message, shut_at, probe_at)
    SELECT $1, $2, 1, $3, $4, CASE WHEN $5 <= 1 THEN safelight.now() END,
           CASE WHEN $5 <= 1 THEN coalesce(next_midnight($6), safelight.now() + make_interval(secs => $7)) END
    ON CONFLICT (provider, model) DO UPDATE
    SET failures = g.failures + 1, code = EXCLUDED.code, message = EXCLUDED.message,
        shut_at = CASE WHEN g.failures + 1 >= $5 THEN safelight.now() END,
        probe_at = CASE WHEN g.failures + 1 >= $5
                        THEN coalesce(next_midnight($6), safelight.now() + make_interval(secs => $7)) END
    WHERE g.shut_at IS NULL
    RETURNING *
), turn AS MATERIALIZED (
    -- Ids in the order of their commits, so that no reader passes over one.
    SELECT pg_advisory_xact_lock(hashtext('safelight.notices')) FROM gate WHERE shut_at IS NOT NULL
)
INSERT INTO notices (at, type, provider, model, code, message, data)
SELECT safelight.now(), 'provider.paused', provider, model, code, message, jsonb_build_object('probe_at', probe_at)
FROM gate WHERE shut_at IS NOT NULL AND EXISTS (SELECT FROM turn)
RETURNING model, code;

-- name: end_probe
-- The probe of image $3 brought no answer. A gate in $4 takes that as a failure and waits longer than before, $8 seconds
-- doubled with each, $9 at most; or until the next midnight of zone $7, unless that has only just passed: a quota may be
-- renewed a little late. Another gate has learned nothing, and waits as long as before.
UPDATE gates
SET failed_probes = failed_probes + (model = ANY($4::text[]))::int,
    code = CASE WHEN model = ANY($4) THEN $5 ELSE code END, message = CASE WHEN model = ANY($4) THEN $6 ELSE message END,
    probe_at = CASE WHEN model = ANY($4) AND (safelight.now() AT TIME ZONE $7)::time >= '01:00' THEN next_midnight($7)
                    ELSE safelight.now() + make_interval(
                        secs => least($8 * 2 ^ least(failed_probes + (model = ANY($4))::int, 30), $9)) END,
    probe_row_id = NULL, probe_given_at = NULL, probe_until = NULL
WHERE provider = $1 AND model IN ('', $2) AND shut_at IS NOT NULL AND probe_row_id = $3;

-- name: limit_rate
-- No call until $3 seconds from now. When the vendor names no time ($3 NULL): $4 seconds, doubled with each limit in a
-- row, 60 times that at most; answers that were under way together count once.
INSERT INTO gates AS g (provider, model, limits, limited_until)
VALUES ($1, $2, 1, safelight.now() + make_interval(secs => coalesce($3::float8, $4::float8)))
ON CONFLICT (provider, model) DO UPDATE
SET limits = g.limits + (coalesce(g.limited_until, '-infinity') <= safelight.now())::int,
    limited_until = greatest(g.limited_until, safelight.now() + make_interval(
        secs => coalesce($3::float8, $4::float8 * least(2 ^ least(g.limits, 6), 60))))
WHERE $3::float8 IS NOT NULL OR coalesce(g.limited_until, '-infinity') <= safelight.now();

-- name: answer
-- A call for image $3 was answered by a vendor that works. Its gates, if it was their probe, are open, and told so once;
-- at open ones what was counted is forgotten. Writes nothing when there is nothing to forget.
--
-- A call that was made since a gate was shut was its probe, though another one may have taken its place meanwhile: a
-- vendor's job can take longer than a probe is waited for.
WITH known AS (
    SELECT *, coalesce(limited_until > safelight.now(), false) AS is_limited FROM gates AS g
    WHERE provider = $1 AND model IN ('', $2)
      AND CASE WHEN shut_at IS NOT NULL
               THEN probe_row_id = $3
                    OR EXISTS (SELECT FROM attempts AS a
                               WHERE a.image_row_id = $3 AND a.provider = $1 AND a.model = $2 AND a.sent_at > g.shut_at)
               ELSE failures > 0 OR coalesce(limited_until <= safelight.now(), true) END
    FOR UPDATE
), forgotten AS (
    DELETE FROM gates AS g USING known
    WHERE g.provider = known.provider AND g.model = known.model AND NOT known.is_limited
), kept_for_its_limit AS (
    UPDATE gates AS g
    SET failures = 0, code = NULL, message = NULL, shut_at = NULL, probe_at = NULL, failed_probes = 0,
        probe_row_id = NULL, probe_given_at = NULL, probe_until = NULL
    FROM known WHERE g.provider = known.provider AND g.model = known.model AND known.is_limited
), turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(hashtext('safelight.notices')) FROM known WHERE shut_at IS NOT NULL
)
INSERT INTO notices (at, type, provider, model, code, message, data)
SELECT safelight.now(), 'provider.resumed', provider, model, code, NULL,
       jsonb_build_object('paused_seconds', extract(epoch FROM safelight.now() - shut_at)::float8)
FROM known WHERE shut_at IS NOT NULL AND EXISTS (SELECT FROM turn)
RETURNING model, code;

-- name: hasten_probes
-- Shut gates of these providers may be probed at once.
UPDATE gates SET probe_at = safelight.now()
WHERE provider = ANY($1::text[]) AND shut_at IS NOT NULL AND probe_at > safelight.now()
RETURNING model;

-- name: states
-- Every gate that has anything to say.
SELECT g.provider, g.model, g.failures, g.code, g.message, g.shut_at, g.probe_at, g.failed_probes,
       g.shut_at IS NOT NULL AND probe_is_out(g) AS is_probing,
       CASE WHEN g.limited_until > safelight.now() THEN g.limited_until END AS limited_until
FROM gates AS g
WHERE g.shut_at IS NOT NULL OR g.failures > 0 OR g.limited_until > safelight.now()
ORDER BY g.provider, g.model;

-- name: notices_after
-- Those that are about providers.
SELECT id, at, type, provider, model, code, message, data FROM notices
WHERE id > $1 AND provider IS NOT NULL ORDER BY id LIMIT $2;

-- name: forget_notices
DELETE FROM notices WHERE at < safelight.now() - $1::interval;
