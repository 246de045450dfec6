-- name: has_notes
SELECT EXISTS (SELECT FROM tally_notes);

-- name: take_turn
-- One process adds at a time; the answer to others is no, and nobody waits. A statement of its own: what follows has to
-- see all that the one before has done.
SELECT pg_try_advisory_xact_lock(hashtext('safelight.tally'));

-- name: advance
-- Takes $1 notes away and adds them to the tally. Distributions have the bounds $2. Of each provider $3 models are told
-- apart by name, all others are one.
--
-- What a call counts for is the difference between what it was and what it became: so a call of unknown outcome that turns
-- out later is taken back by a figure of its own. What is wasted depends on the image too, and on whoever uses the picture
-- later: it is worked out anew for every image that is noted, and compared with what the tally holds for it.
WITH taken AS (
    DELETE FROM tally_notes WHERE ctid = ANY (ARRAY(SELECT n.ctid FROM tally_notes AS n LIMIT $1)) RETURNING *
), known AS MATERIALIZED (
    SELECT DISTINCT t.provider, t.model FROM tally AS t WHERE t.name = 'attempts' AND t.model <> 'other'
), named AS MATERIALIZED (
    SELECT known.provider, known.model FROM known
    UNION
    SELECT n.provider, n.model FROM (
        SELECT t.provider, t.model,
               row_number() OVER (PARTITION BY t.provider ORDER BY count(*) DESC, t.model)
                   + (SELECT count(*) FROM known WHERE known.provider = t.provider) AS nth
        FROM taken AS t
        WHERE t.what = 'call'
          AND NOT EXISTS (SELECT FROM known WHERE known.provider = t.provider AND known.model = t.model)
        GROUP BY t.provider, t.model
    ) AS n WHERE n.nth <= $3
), calls AS MATERIALIZED (
    SELECT t.*,
           CASE WHEN EXISTS (SELECT FROM named WHERE named.provider = t.provider AND named.model = t.model)
                THEN t.model ELSE 'other' END AS label,
           CASE WHEN t.was IN ('received', 'settled') THEN 'picture' WHEN t.was NOT IN ('sent', 'submitted') THEN t.was END
               AS outcome_before,
           CASE WHEN t.became IN ('received', 'settled') THEN 'picture'
                WHEN t.became NOT IN ('sent', 'submitted') THEN t.became END AS outcome,
           greatest(CASE WHEN t.became <> 'unknown' THEN coalesce(t.cost_microusd, 0) ELSE 0 END
                    - CASE WHEN t.was <> 'unknown' THEN coalesce(t.cost_before, 0) ELSE 0 END, 0) AS cost,
           t.was = 'unknown' OR (t.cost_before IS NULL AND t.was NOT IN ('sent', 'submitted', 'unbilled'))
               AS was_uncertain,
           t.became = 'unknown' OR (t.cost_microusd IS NULL AND t.became NOT IN ('sent', 'submitted', 'unbilled'))
               AS is_uncertain
    FROM taken AS t WHERE t.what = 'call'
), uncertain AS (
    SELECT c.provider,
           CASE WHEN c.is_uncertain THEN coalesce(c.cost_microusd, c.estimate_microusd, 0) ELSE 0 END
               - CASE WHEN c.was_uncertain THEN coalesce(c.cost_before, c.estimate_microusd, 0) ELSE 0 END AS microusd,
           c.is_uncertain AND NOT c.was_uncertain AND coalesce(c.cost_microusd, c.estimate_microusd) IS NULL AS is_unbounded
    FROM calls AS c
), noted AS MATERIALIZED (
    SELECT DISTINCT t.image_row_id FROM taken AS t WHERE t.what IN ('image', 'call')
), wasted AS (
    SELECT n.image_row_id, a.provider, sum(a.cost_microusd)::bigint AS microusd
    FROM noted AS n
    JOIN images AS i ON i.row_id = n.image_row_id
    JOIN attempts AS a ON a.image_row_id = n.image_row_id
    WHERE a.cost_microusd > 0 AND a.status NOT IN ('settled', 'unknown')
      AND NOT (a.status = 'received' AND i.status IN ('queued', 'processing', 'generating', 'uploading'))
    GROUP BY n.image_row_id, a.provider
), booked AS (
    SELECT w.* FROM noted AS n JOIN tally_waste AS w ON w.image_row_id = n.image_row_id
), waste AS MATERIALIZED (
    SELECT image_row_id, provider, wasted.microusd, coalesce(wasted.microusd, 0) - coalesce(booked.microusd, 0) AS more
    FROM wasted FULL JOIN booked USING (image_row_id, provider)
    WHERE wasted.microusd IS DISTINCT FROM booked.microusd
), kept AS (
    INSERT INTO tally_waste (image_row_id, provider, microusd)
    SELECT image_row_id, provider, microusd FROM waste WHERE microusd IS NOT NULL
    ON CONFLICT (image_row_id, provider) DO UPDATE SET microusd = EXCLUDED.microusd
), used_after_all AS (
    DELETE FROM tally_waste AS t USING waste
    WHERE waste.microusd IS NULL AND t.image_row_id = waste.image_row_id AND t.provider = waste.provider
), taking AS (
    SELECT 'queue_wait' AS name, c.provider,
           extract(epoch FROM c.began_at - greatest(i.created_at, j.not_before))::float8 AS seconds
    FROM calls AS c JOIN images AS i ON i.row_id = c.image_row_id JOIN jobs AS j ON j.id = i.job_id
    WHERE c.is_first AND c.was = 'sent' AND i.retry_count = 0
      AND NOT EXISTS (SELECT FROM image_references AS r
                      WHERE r.child_row_id = i.row_id AND r.parent_row_id IS NOT NULL)
    UNION ALL
    SELECT 'generation', c.provider, extract(epoch FROM c.ended_at - c.began_at)::float8
    FROM calls AS c WHERE c.became = 'settled' AND c.was <> 'settled'
    UNION ALL
    SELECT 'image', t.provider, extract(epoch FROM t.ended_at - greatest(t.began_at, j.not_before))::float8
    FROM taken AS t JOIN jobs AS j ON j.id = t.job_id
    WHERE t.what = 'image' AND t.became = 'completed' AND t.is_first
    UNION ALL
    SELECT 'webhook', '', extract(epoch FROM t.ended_at - t.began_at)::float8
    FROM taken AS t WHERE t.what = 'message' AND t.became = 'delivered' AND t.was = 'pending'
), ranged AS (
    SELECT t.name, t.provider, greatest(t.seconds, 0) AS seconds,
           coalesce((SELECT min(b.bound) FROM unnest($2::float8[]) AS b (bound) WHERE b.bound >= t.seconds), 'Infinity') AS le
    FROM taking AS t WHERE t.seconds IS NOT NULL
), more AS (
    SELECT 'jobs' AS name, '' AS provider, '' AS model, t.became AS word, '' AS kind, 0::float8 AS le, 1::bigint AS count,
           0::float8 AS seconds
    FROM taken AS t WHERE t.what = 'job'
    UNION ALL
    SELECT 'images', t.provider, '', t.became, coalesce(t.error_kind, ''), 0, 1, 0
    FROM taken AS t
    WHERE t.what = 'image' AND t.became IN ('completed', 'failed', 'refused', 'canceled', 'uncertain')
    UNION ALL
    SELECT 'attempts', c.provider, c.label, c.outcome, '', 0, 1, 0
    FROM calls AS c WHERE c.outcome IS NOT NULL AND c.outcome IS DISTINCT FROM c.outcome_before
    UNION ALL
    SELECT 'attempts_revised', c.provider, c.label, c.outcome_before, '', 0, 1, 0
    FROM calls AS c WHERE c.outcome_before IS NOT NULL AND c.outcome IS DISTINCT FROM c.outcome_before
    UNION ALL
    SELECT 'attempt_errors', c.provider, '', '', c.error_kind, 0, 1, 0
    FROM calls AS c
    WHERE c.error_kind IS NOT NULL AND c.outcome IS NOT NULL AND c.outcome IS DISTINCT FROM c.outcome_before
    UNION ALL
    SELECT 'cost', c.provider, '', '', '', 0, c.cost, 0 FROM calls AS c WHERE c.cost > 0
    UNION ALL
    SELECT CASE WHEN u.microusd > 0 THEN 'uncertain_cost' ELSE 'resolved_cost' END, u.provider, '', '', '', 0,
           abs(u.microusd), 0
    FROM uncertain AS u WHERE u.microusd <> 0
    UNION ALL
    SELECT 'unpriced', u.provider, '', '', '', 0, 1, 0 FROM uncertain AS u WHERE u.is_unbounded
    UNION ALL
    SELECT CASE WHEN w.more > 0 THEN 'wasted_cost' ELSE 'recovered_cost' END, w.provider, '', '', '', 0, abs(w.more), 0
    FROM waste AS w
    UNION ALL
    SELECT 'webhook_messages', '', '', t.became, '', 0, 1, 0
    FROM taken AS t WHERE t.what = 'message' AND t.was = 'pending' AND t.became <> 'pending'
    UNION ALL
    SELECT 'webhook_failures', '', '', '', '', 0, 1, 0
    FROM taken AS t WHERE t.what = 'message' AND t.is_first AND t.became <> 'delivered'
    UNION ALL
    SELECT r.name, r.provider, '', '', '', r.le, 1, r.seconds FROM ranged AS r
), added AS (
    INSERT INTO tally AS t (name, provider, model, word, kind, le, count, seconds)
    SELECT name, provider, model, word, kind, le, sum(count), sum(seconds) FROM more
    GROUP BY name, provider, model, word, kind, le
    ON CONFLICT (name, provider, model, word, kind, le) DO UPDATE
    SET count = t.count + EXCLUDED.count, seconds = t.seconds + EXCLUDED.seconds
)
SELECT count(*)::int FROM taken;

-- name: hurry
-- What follows is for a scrape, which nobody should wait for.
SET LOCAL statement_timeout = '2s';

-- name: sums
-- The whole tally: as many rows as there are series, whatever has happened.
SELECT name, provider, model, word, kind, le, count, seconds FROM tally
ORDER BY name, provider, model, word, kind, le;

-- name: open_images
-- Images that have not ended, by provider and state, and how long the longest of those that are due has waited: three
-- indexes, which hold no others.
SELECT provider, status, sum(images)::int AS images, max(waited_seconds) AS waited_seconds
FROM (
    SELECT i.provider, 'queued' AS status, count(*) AS images,
           extract(epoch FROM safelight.now() - min(i.not_before) FILTER (WHERE i.not_before <= safelight.now()))::float8
               AS waited_seconds
    FROM images AS i WHERE i.status = 'queued' AND i.admitted_at IS NULL AND NOT i.awaits_parents GROUP BY i.provider
    UNION ALL
    SELECT i.provider, 'queued', count(*), NULL FROM images AS i WHERE i.awaits_parents GROUP BY i.provider
    UNION ALL
    SELECT i.provider, i.status, count(*),
           CASE i.status WHEN 'queued' THEN extract(epoch FROM safelight.now() - min(i.not_before))::float8 END
    FROM images AS i
    WHERE i.status IN ('processing', 'generating', 'uploading') OR (i.status = 'queued' AND i.admitted_at IS NOT NULL)
    GROUP BY i.provider, i.status
) AS found
GROUP BY provider, status;

-- name: installation
-- What is one figure for all: jobs that have not ended, workers that live ($1 = lease in seconds) and their places,
-- endpoints that take nothing, calls under way, whether buying is paused, and notes that wait to be added, up to $2.
SELECT (SELECT count(*) FROM jobs WHERE status IN ('pending', 'generating', 'canceling'))::int AS open_jobs,
       w.workers, w.draining, w.slots, w.finish_slots,
       (SELECT count(*) FROM webhook_endpoints
        WHERE job_id IS NULL AND deleted_at IS NULL AND disabled_at IS NOT NULL)::int AS disabled_endpoints,
       (SELECT count(*) FROM webhook_endpoints
        WHERE failing_since IS NOT NULL AND disabled_at IS NULL AND deleted_at IS NULL)::int AS failing_endpoints,
       (SELECT paused_at IS NOT NULL FROM installation) AS is_paused,
       (SELECT count(*) FROM (SELECT FROM tally_notes LIMIT $2) AS n)::int AS notes
FROM (SELECT count(*) FILTER (WHERE NOT draining)::int AS workers, count(*) FILTER (WHERE draining)::int AS draining,
             coalesce(sum(slots) FILTER (WHERE NOT draining), 0)::int AS slots,
             coalesce(sum(finish_slots) FILTER (WHERE NOT draining), 0)::int AS finish_slots
      FROM workers WHERE heartbeat_at > safelight.now() - make_interval(secs => $1)) AS w;
