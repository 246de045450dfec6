-- name: moment
-- What this moment sees: events of transactions that are not part of it come later.
SELECT pg_current_snapshot();

-- name: news
-- This moment, and the events that it sees and an earlier one did not, $3 at most. Of that earlier moment, $1 is the first
-- transaction that had not begun and $2 are those that were open: so each event is found once, whoever is slow to commit.
SELECT moment.snapshot, e.*
FROM (SELECT pg_current_snapshot() AS snapshot) AS moment
LEFT JOIN LATERAL (
    (SELECT account, job_id, seq, type, image_id, data, created_at,
            CASE type WHEN 'image.completed' THEN (SELECT j.link_key FROM jobs AS j WHERE j.id = events.job_id) END AS link_key
     FROM events
     WHERE xact >= $1::xid8 ORDER BY xact, job_id, seq LIMIT $3)
    UNION ALL
    (SELECT account, job_id, seq, type, image_id, data, created_at,
            CASE type WHEN 'image.completed' THEN (SELECT j.link_key FROM jobs AS j WHERE j.id = events.job_id) END AS link_key
     FROM events
     WHERE xact = ANY($2::text[]::xid8[]) ORDER BY xact, job_id, seq LIMIT $3)
    LIMIT $3
) AS e ON true;

-- name: position_of_job
-- How far the job's log goes, and from where on it is still kept (NULL: nothing is).
SELECT seq, status, (SELECT min(seq) FROM events WHERE job_id = jobs.id) AS oldest_seq
FROM jobs WHERE id = $1 AND ($2::text IS NULL OR account = $2);

-- name: progress_of_jobs
SELECT jobs.id, jobs.status AS job_status, images.status, count(*)::int AS images, safelight.now() AS at
FROM jobs JOIN images ON images.job_id = jobs.id
WHERE jobs.id = ANY($1::text[]) GROUP BY jobs.id, images.status;

-- name: numbering
-- Whose transaction ids the feed counts in, as one text, and the first one that has not begun. Another server, another
-- database of it, or rows that were numbered anew: positions of before mean nothing any more.
SELECT feed_epoch || '.' || (SELECT system_identifier FROM pg_control_system()) || '.'
           || (SELECT oid FROM pg_database WHERE datname = current_database()) AS name,
       pg_snapshot_xmax(pg_current_snapshot()) AS ends_at
FROM installation;

-- name: events_of_account
-- A page of everything after ($2, $3, $4). It goes no further than the oldest transaction that is still open: below it
-- nothing can appear any more. Notices have no job; their id takes the place of seq.
(SELECT xact, account, job_id, seq, type, image_id, data, created_at,
        CASE type WHEN 'image.completed' THEN (SELECT j.link_key FROM jobs AS j WHERE j.id = events.job_id) END AS link_key
 FROM events
 WHERE account = $1 AND (xact, job_id, seq) > ($2::xid8, $3::text, $4::bigint)
   AND xact < pg_snapshot_xmin(pg_current_snapshot())
 ORDER BY xact, job_id, seq LIMIT $5)
UNION ALL
(SELECT xact, account, '', id, type, NULL,
        jsonb_strip_nulls(jsonb_build_object('provider', provider, 'model', nullif(model, ''), 'code', code,
                                             'message', message)) || data, at, NULL
 FROM notices
 WHERE (account IS NULL OR account = $1) AND (xact, ''::text, id) > ($2::xid8, $3::text, $4::bigint)
   AND xact < pg_snapshot_xmin(pg_current_snapshot())
 ORDER BY xact, id LIMIT $5)
ORDER BY xact, job_id, seq LIMIT $5;

-- name: feeds_that_go_on
-- Of those who wait at a place in the feed of an account ($1, and $2, $3, $4 as in events_of_account), $5 for whom something
-- has come after it: which ones, counted from 1. Notices are looked for by their time, of which a transaction takes seconds.
WITH recent AS MATERIALIZED (
    SELECT account, xact, id FROM notices
    WHERE at > safelight.now() - interval '5 minutes' AND xact < pg_snapshot_xmin(pg_current_snapshot())
)
SELECT w.nth::int
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) WITH ORDINALITY AS w (account, xact, job_id, seq, nth)
WHERE EXISTS (SELECT FROM events AS e
              WHERE e.account = w.account AND (e.xact, e.job_id, e.seq) > (w.xact::xid8, w.job_id, w.seq)
                AND e.xact < pg_snapshot_xmin(pg_current_snapshot()))
   OR EXISTS (SELECT FROM recent AS n
              WHERE (n.account IS NULL OR n.account = w.account)
                AND (n.xact, ''::text, n.id) > (w.xact::xid8, w.job_id, w.seq))
LIMIT $5;

-- name: is_numbered_elsewhere
-- Whether rows bear numbers that this server has not given yet: they came out of a dump of another one.
SELECT coalesce(greatest((SELECT xact FROM events ORDER BY xact DESC LIMIT 1),
                         (SELECT xact FROM notices ORDER BY xact DESC LIMIT 1))
                >= pg_snapshot_xmax(pg_current_snapshot()), false);

-- name: take_turn_at_numbering
SELECT FROM installation FOR UPDATE;

-- name: renumber_events
-- Every row is this transaction's; among themselves they stay in the order of job and seq.
UPDATE events SET xact = pg_current_xact_id();

-- name: renumber_notices
UPDATE notices SET xact = pg_current_xact_id();

-- name: raise_feed_epoch
-- Positions in the feed that were given out before are refused from now on.
UPDATE installation SET feed_epoch = feed_epoch + 1;
