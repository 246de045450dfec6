-- name: claim_messages
-- Messages that are due are this sender's ($1) for $2 seconds, the oldest $3 of them. Who has taken a later one about the
-- same subject, of this firing or of one since, is not told any more what was before it.
UPDATE alert_messages SET claim = $1, due_at = safelight.now() + make_interval(secs => $2), tries = tries + 1
WHERE id IN (
    SELECT m.id FROM alert_messages AS m
    WHERE m.status = 'pending' AND m.due_at <= safelight.now()
    ORDER BY m.due_at, m.id LIMIT $3 FOR UPDATE SKIP LOCKED)
  AND status = 'pending'
RETURNING id, alert_id, rule, kind, severity, title, body, page, accepted, tries,
          ARRAY(SELECT DISTINCT service
                FROM alerts AS mine
                JOIN alerts AS newer ON newer.rule = mine.rule AND newer.subject = mine.subject AND newer.id >= mine.id
                JOIN alert_messages AS later ON later.alert_id = newer.id AND later.id > alert_messages.id,
                     unnest(later.accepted) AS service
                WHERE mine.id = alert_messages.alert_id) AS further,
          extract(epoch FROM safelight.now() - created_at)::float8 AS age_seconds;

-- name: end_message
-- Every service has taken it, or there is none for it ($3); or it is given up ($3 = 'dead', why in $5).
UPDATE alert_messages SET status = $3, accepted = $4, error = $5, ended_at = safelight.now(), claim = NULL
WHERE id = $1 AND claim = $2 AND status = 'pending'
RETURNING alert_id;

-- name: note_told
UPDATE alerts SET notified_at = safelight.now() WHERE id = $1;

-- name: put_off_message
-- Some service has not taken it: it is tried again in $5 seconds, there alone.
UPDATE alert_messages
SET accepted = $3, error = $4, due_at = safelight.now() + make_interval(secs => $5), claim = NULL
WHERE id = $1 AND claim = $2 AND status = 'pending';
