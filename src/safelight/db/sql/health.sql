-- name: health_of_providers
-- How the latest calls of each provider ($1) have ended: at most $2 of them are read, by index, newest first. A refusal is
-- an answer and no failure, and neither is what was never sent; a call that is open has not ended yet. The share and the
-- median are of those that were sent in the last hour. Of one account ($3) or of all (NULL).
SELECT p.name,
       max(c.ended_at) FILTER (WHERE c.is_success) AS last_success_at,
       max(c.ended_at) FILTER (WHERE c.is_failure) AS last_failure_at,
       count(*) FILTER (WHERE c.is_recent AND c.is_success)::int AS successes,
       count(*) FILTER (WHERE c.is_recent AND c.is_failure)::int AS failures,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM c.ended_at - c.sent_at)::float8)
           FILTER (WHERE c.is_recent AND c.is_success) AS median_seconds
FROM unnest($1::text[]) AS p (name)
LEFT JOIN LATERAL (
    SELECT a.sent_at, a.ended_at, a.sent_at > safelight.now() - interval '1 hour' AS is_recent,
           a.status IN ('received', 'settled') AS is_success,
           a.status IN ('unbilled', 'no_image', 'unknown')
               AND coalesce(a.error_code, '') NOT IN ('NOT_SENT', 'REFERENCE_NOT_READ', 'REFERENCE_GONE') AS is_failure
    FROM (SELECT * FROM attempts WHERE provider = p.name ORDER BY sent_at DESC LIMIT $2) AS a
    WHERE $3::text IS NULL OR EXISTS (SELECT FROM images AS i JOIN jobs AS j ON j.id = i.job_id
                                      WHERE i.row_id = a.image_row_id AND j.account = $3)
) AS c ON true
GROUP BY p.name;
