-- name: same_upload
-- The upload that was made of the same bytes ($2) for the account, if there is one, kept for $4 seconds from now at least.
UPDATE uploads SET expires_at = greatest(expires_at, safelight.now() + make_interval(secs => $4))
WHERE account = $1 AND given_sha256 = $2 AND is_fetched = $3 AND stored_at IS NOT NULL
RETURNING id, account, key, format, mime, width_px, height_px, length, sha256, has_alpha, is_fetched, created_at, expires_at;

-- name: begin_upload
-- What is about to be stored, written down first: should nobody get to say that it was, its file is found by this row.
INSERT INTO uploads (id, account, given_sha256, is_fetched, key, format, mime, width_px, height_px, length, sha256,
                     has_alpha, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, safelight.now(), safelight.now() + make_interval(secs => $13));

-- name: end_upload
-- Its bytes are stored: from now on it is there. Fails when another one of the same bytes was there first, and brings no
-- row when it was taken for left behind.
UPDATE uploads SET stored_at = safelight.now() WHERE id = $1 AND stored_at IS NULL
RETURNING id, account, key, format, mime, width_px, height_px, length, sha256, has_alpha, is_fetched, created_at, expires_at;

-- name: uploads_of
-- Those of the ids $2 that the account has (NULL: any account), and that a request may name.
SELECT id, account, key, format, mime, width_px, height_px, length, sha256, has_alpha, is_fetched, created_at, expires_at
FROM uploads
WHERE ($1::text IS NULL OR account = $1) AND id = ANY($2::text[])
  AND stored_at IS NOT NULL AND NOT is_fetched AND expires_at > safelight.now();

-- name: hold_uploads
-- How many of the ids $2 the account has. None of them goes before this transaction ends, and then it is in use.
SELECT count(*) FROM (SELECT FROM uploads
                      WHERE account = $1 AND id = ANY($2::text[]) AND stored_at IS NOT NULL FOR KEY SHARE) AS held;

-- name: lock_upload
-- One upload of the account (NULL: of any), for deleting it: nobody can begin to use it meanwhile.
SELECT key FROM uploads
WHERE ($1::text IS NULL OR account = $1) AND id = $2 AND stored_at IS NOT NULL AND NOT is_fetched AND expires_at > safelight.now() FOR UPDATE;

-- name: expired_uploads
-- The oldest $1 of those that are past their time and in no job that lives; and of those that were begun $2 seconds ago
-- and either never stored whole, or fetched for jobs that have been removed since.
WITH t AS MATERIALIZED (SELECT safelight.now() AS now, safelight.now() - make_interval(secs => $2) AS long_ago)
SELECT u.id FROM (SELECT id, expires_at FROM uploads WHERE expires_at <= (SELECT now FROM t)
                  UNION
                  SELECT id, expires_at FROM uploads WHERE stored_at IS NULL AND created_at <= (SELECT long_ago FROM t)
                  UNION
                  SELECT f.id, f.expires_at FROM uploads AS f
                  WHERE f.is_fetched AND f.created_at <= (SELECT long_ago FROM t)
                    AND NOT EXISTS (SELECT FROM image_references AS r WHERE r.upload_id = f.id AND r.url <> '')) AS u
WHERE NOT EXISTS (SELECT FROM image_references AS r JOIN images AS i ON i.row_id = r.child_row_id JOIN jobs AS j ON j.id = i.job_id
                  WHERE r.upload_id = u.id AND j.status IN ('pending', 'generating', 'canceling'))
ORDER BY u.expires_at LIMIT $1;

-- name: lock_expired_upload
-- The same, asked of one of them under its lock; whoever has it locked is left to it.
SELECT key, expires_at <= safelight.now() OR stored_at IS NULL AS is_over FROM uploads
WHERE id = $1 AND (expires_at <= safelight.now()
                   OR (created_at <= safelight.now() - make_interval(secs => $2) AND (stored_at IS NULL OR is_fetched)))
FOR UPDATE SKIP LOCKED;

-- name: is_named
-- Whether some job still says where this upload was fetched.
SELECT EXISTS (SELECT FROM image_references AS r WHERE r.upload_id = $1 AND r.url <> '');

-- name: is_in_use
-- Whether a job that has not ended is to be made from this upload.
SELECT EXISTS (SELECT FROM image_references AS r JOIN images AS i ON i.row_id = r.child_row_id JOIN jobs AS j ON j.id = i.job_id
               WHERE r.upload_id = $1 AND j.status IN ('pending', 'generating', 'canceling'));

-- name: delete_upload
DELETE FROM uploads WHERE id = $1;

-- name: to_fetch
-- The addresses that image $1 is made from and whose pictures are not kept, in order; with the picture that another image
-- of its job got from the same address, if one did.
SELECT r.position, r.url, j.account,
       (SELECT o.upload_id FROM image_references AS o JOIN images AS other ON other.row_id = o.child_row_id
        JOIN uploads AS kept ON kept.id = o.upload_id
        WHERE other.job_id = i.job_id AND o.url = r.url AND kept.stored_at IS NOT NULL LIMIT 1) AS kept_id
FROM image_references AS r
JOIN images AS i ON i.row_id = r.child_row_id
JOIN jobs AS j ON j.id = i.job_id
WHERE r.child_row_id = $1 AND r.url IS NOT NULL
  AND NOT EXISTS (SELECT FROM uploads AS u WHERE u.id = r.upload_id AND u.stored_at IS NOT NULL)
ORDER BY r.position;

-- name: keep_fetched
-- The picture $3 is what the address of reference $2 gave, for as long as it is there. Only the image's owner ($4) says so.
UPDATE image_references AS r SET upload_id = $3
FROM images AS i
WHERE i.row_id = r.child_row_id AND r.child_row_id = $1 AND r.position = $2 AND r.url IS NOT NULL
  AND i.status = 'processing' AND i.claim_token = $4
  AND EXISTS (SELECT FROM uploads AS u WHERE u.id = $3 AND u.stored_at IS NOT NULL FOR KEY SHARE)
RETURNING r.position;
