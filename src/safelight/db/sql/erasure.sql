-- name: share
-- The pictures of a job that was just submitted have links that last, derived from $2.
UPDATE jobs SET link_key = $2 WHERE id = $1 AND status = 'pending' AND link_key IS NULL;

-- name: job_to_remove
-- A locked job's account and whether it was removed already.
SELECT account, removed_at IS NOT NULL AS is_removed, prompts_removed_at IS NOT NULL AS has_no_prompts
FROM jobs WHERE id = $1;

-- name: mark_removed
-- From here on nothing of it is served, and whoever finds the mark without `cleared_at` deletes what is stored. What the
-- caller wrote on the job goes at once.
UPDATE jobs SET removed_at = safelight.now(), metadata = '{}', storage_prefix = NULL
WHERE id = $1 AND removed_at IS NULL AND status IN ('completed', 'partial', 'failed', 'canceled')
RETURNING id;

-- name: mark_prompts_removed
UPDATE jobs SET prompts_removed_at = safelight.now()
WHERE id = $1 AND prompts_removed_at IS NULL AND status IN ('completed', 'partial', 'failed', 'canceled')
RETURNING id;

-- name: remove_prompts
-- Of the images of a locked job: their prompts, and everything that quotes them. What a style put around them has no
-- length any more.
UPDATE images
SET prompt = '', alternate_prompt = CASE WHEN alternate_prompt IS NOT NULL THEN '' END, original_prompt = NULL,
    options = options - 'negative_prompt'::text,
    targets = (SELECT jsonb_agg(jsonb_set(t.target, '{options}', (t.target -> 'options') - 'negative_prompt'::text) ORDER BY t.n)
               FROM jsonb_array_elements(targets) WITH ORDINALITY AS t (target, n)),
    style = style || '{"before_chars": 0, "after_chars": 0}'::jsonb,
    error = CASE WHEN error ? 'message' THEN error || '{"message": ""}'::jsonb ELSE error END
WHERE job_id = $1 AND status IN ('completed', 'failed', 'refused', 'canceled', 'uncertain');

-- name: remove_words_of_references
-- What the caller called the pictures that the images were made from, and where they were fetched.
UPDATE image_references SET role = NULL, url = CASE WHEN url IS NOT NULL THEN '' END
WHERE child_row_id IN (SELECT row_id FROM images WHERE job_id = $1) AND (role IS NOT NULL OR url <> '');

-- name: remove_messages
-- A vendor's words may quote a prompt. Events keep their place, their type and their codes.
UPDATE events SET data = jsonb_set(data, '{error,message}', '""')
WHERE job_id = $1 AND data -> 'error' ? 'message' AND data #>> '{error,message}' <> '';

-- name: remove_replies
-- What receivers of webhooks have answered.
UPDATE deliveries SET reply = NULL WHERE job_id = $1 AND reply IS NOT NULL;

-- name: forget_remote_jobs
-- A vendor's address of its job may lead to the picture.
UPDATE attempts SET remote = NULL
WHERE image_row_id IN (SELECT row_id FROM images WHERE job_id = $1) AND status <> 'submitted' AND remote IS NOT NULL;

-- name: stored_of
-- What is stored of a job that was removed.
SELECT r.key FROM renditions AS r JOIN images AS i ON i.row_id = r.image_row_id
JOIN jobs AS j ON j.id = i.job_id
WHERE j.id = $1 AND j.removed_at IS NOT NULL ORDER BY r.key;

-- name: mark_cleared
-- Its stored pictures are deleted: their rows go with the mark.
WITH cleared AS (
    UPDATE jobs SET cleared_at = safelight.now()
    WHERE id = $1 AND removed_at IS NOT NULL AND cleared_at IS NULL
      AND status IN ('completed', 'partial', 'failed', 'canceled')
    RETURNING id
), forgotten AS (
    DELETE FROM renditions WHERE image_row_id IN (SELECT row_id FROM images JOIN cleared ON cleared.id = images.job_id)
)
SELECT id FROM cleared;

-- name: jobs_to_clear
-- Jobs that were removed and are still stored, but for those in $2, oldest first; $1 of them at most.
SELECT id FROM jobs WHERE removed_at IS NOT NULL AND cleared_at IS NULL AND id <> ALL ($2::text[])
ORDER BY removed_at LIMIT $1;

-- name: jobs_past_keeping
-- Jobs that ended $1 ago and are still there, oldest first; $2 of them at most.
SELECT id FROM jobs
WHERE completed_at IS NOT NULL AND completed_at <= safelight.now() - $1::interval AND removed_at IS NULL
  AND status IN ('completed', 'partial', 'failed', 'canceled')
ORDER BY completed_at LIMIT $2;

-- name: jobs_past_remembering
-- The same, with prompts that are still there.
SELECT id FROM jobs
WHERE completed_at IS NOT NULL AND completed_at <= safelight.now() - $1::interval AND prompts_removed_at IS NULL
  AND status IN ('completed', 'partial', 'failed', 'canceled')
ORDER BY completed_at LIMIT $2;
