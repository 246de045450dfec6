-- name: latest_of_request
-- The newest job that a request without a key of its own has made ($2 is its fingerprint): whether it still runs, whether
-- it has pictures, whether anybody was given them, and whether it ended within $3 seconds, or within $4. Of a job that was
-- removed nothing can be given, and one without its prompts cannot be tried again; but the key of the next one is made of
-- its id, so it is found all the same. Another run would come to the same only with every upload that it was made from,
-- and by the model ($6 of provider $5) that the request means today; NULL: none.
SELECT j.id, j.status IN ('pending', 'generating', 'canceling') AS is_live,
       EXISTS (SELECT FROM images AS i WHERE i.job_id = j.id AND i.status = 'completed') AS has_pictures,
       j.handed_over_at IS NOT NULL AS is_handed_over,
       coalesce(j.completed_at > safelight.now() - make_interval(secs => $3), false)
           AND j.removed_at IS NULL AS has_just_ended,
       coalesce(j.completed_at > safelight.now() - make_interval(secs => $4), false)
           AND j.prompts_removed_at IS NULL AS is_kept_ready,
       NOT EXISTS (SELECT FROM images AS i WHERE i.job_id = j.id AND (i.provider <> $5 OR i.model <> $6))
           AND NOT EXISTS (SELECT FROM images AS i JOIN image_references AS r ON r.child_row_id = i.row_id
                           LEFT JOIN uploads AS u ON u.id = r.upload_id AND u.stored_at IS NOT NULL
                           WHERE i.job_id = j.id AND u.id IS NULL) AS can_run_again
FROM jobs AS j
WHERE j.account = $1 AND j.request_fingerprint = $2 AND j.idempotency_key LIKE 'openai %'
ORDER BY j.created_at DESC LIMIT 1;

-- name: state
-- How a job stands, for whoever is about to wait for it.
SELECT status IN ('pending', 'generating', 'canceling') AS is_live, seq FROM jobs WHERE id = $1;

-- name: ended_images
-- A job's images in their order: how each ended, the output $2 where it has a picture, and what the call that brought it
-- counted. Of a job that was removed there is none.
SELECT i.id, i.status, i.error, r.key, r.format, r.width_px, r.height_px, r.length, a.usage, j.created_at
FROM jobs AS j
JOIN images AS i ON i.job_id = j.id
LEFT JOIN renditions AS r ON r.image_row_id = i.row_id AND r.name = $2 AND i.status = 'completed' AND j.removed_at IS NULL
LEFT JOIN LATERAL (SELECT usage FROM attempts WHERE image_row_id = i.row_id AND status = 'settled'
                   ORDER BY number DESC LIMIT 1) AS a ON true
WHERE j.id = $1 ORDER BY i.position;

-- name: hand_over
-- The pictures of a job that has ended were sent to somebody, for the first time.
UPDATE jobs SET handed_over_at = safelight.now()
WHERE id = $1 AND handed_over_at IS NULL AND status IN ('completed', 'partial');
