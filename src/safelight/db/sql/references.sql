-- name: release_children
-- Images of a locked job whose parents all have their picture need wait for them no longer.
UPDATE images SET awaits_parents = false, changed_at = safelight.now()
WHERE row_id IN (
    SELECT c.row_id FROM images AS c
    WHERE c.job_id = $1 AND c.awaits_parents
      AND NOT EXISTS (SELECT FROM image_references AS r JOIN images AS p ON p.row_id = r.parent_row_id
                      WHERE r.child_row_id = c.row_id AND p.status <> 'completed')
    ORDER BY c.position FOR NO KEY UPDATE)
RETURNING row_id;

-- name: lost_children
-- Images of a locked job that await a picture which will not come, each with the first such parent.
SELECT DISTINCT ON (c.position) c.row_id, c.id, p.id AS parent_id, p.status AS parent_status
FROM images AS c
JOIN image_references AS r ON r.child_row_id = c.row_id
JOIN images AS p ON p.row_id = r.parent_row_id
WHERE c.job_id = $1 AND c.awaits_parents AND p.status IN ('failed', 'refused', 'canceled', 'uncertain')
ORDER BY c.position, r.position;

-- name: unsettled_children
-- Jobs with images that still await their parents, though all of those have their picture or one will never have it.
SELECT DISTINCT c.job_id FROM images AS c
WHERE c.awaits_parents
  AND (SELECT bool_and(p.status = 'completed') OR bool_or(p.status IN ('failed', 'refused', 'canceled', 'uncertain'))
       FROM image_references AS r JOIN images AS p ON p.row_id = r.parent_row_id WHERE r.child_row_id = c.row_id);

-- name: references_of_job
-- What the images of a job are made from, in the order of the images and of their references: others, uploads, addresses.
SELECT r.child_row_id, c.id AS child_id, p.row_id AS parent_row_id, p.id AS parent_id, r.upload_id, r.url, r.is_mask
FROM images AS c
JOIN image_references AS r ON r.child_row_id = c.row_id
LEFT JOIN images AS p ON p.row_id = r.parent_row_id
WHERE c.job_id = $1 ORDER BY c.position, r.position;

-- name: sources_of
-- Where the pictures lie that image $1 is made from, in order; NULLs for one that is not kept.
SELECT p.id AS parent_id, r.upload_id, r.url IS NOT NULL AS is_fetched, r.is_mask, coalesce(s.key, u.key) AS key,
       coalesce(s.mime, u.mime) AS mime, coalesce(s.sha256, u.sha256) AS sha256
FROM image_references AS r
LEFT JOIN images AS p ON p.row_id = r.parent_row_id
LEFT JOIN renditions AS s ON s.image_row_id = p.row_id AND s.is_internal
LEFT JOIN uploads AS u ON u.id = r.upload_id AND u.stored_at IS NOT NULL
WHERE r.child_row_id = $1 ORDER BY r.position;
