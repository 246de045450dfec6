-- name: recover_attempt
-- The row of a purchase that the restored database does not know of, from its staged receipt: for the same image asking
-- for the same picture. Its dates are those of the receipt.
INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token, worker_id,
                      sent_at, deadline_at, resolve_at, ended_at, cost_microusd, cost_basis, price_ref, usage, request_id,
                      sha256, length)
SELECT $1, i.row_id, i.attempt_count + 1, i.run, 'received', i.provider, i.model, i.fingerprint, gen_random_uuid(),
       gen_random_uuid(), $5, $5, $5, $5, $6, $7, $8, $9, $10, $11, $12
FROM images AS i
WHERE i.row_id = $2 AND i.job_id = $3 AND i.fingerprint = $4 AND i.status <> 'completed'
ON CONFLICT (id) DO NOTHING
RETURNING image_row_id;

-- name: count_recovered
UPDATE images SET attempt_count = attempt_count + 1 WHERE row_id = $1;

-- name: open_images
-- Images that the restored database thinks are still to be bought: any of them may have been bought after the backup. So
-- may one whose picture was received before it, and finished since: of that one nothing is staged any more ($1: what is).
SELECT i.row_id, i.job_id, i.id, i.image_group, j.storage_prefix, i.estimate_microusd
FROM images AS i JOIN jobs AS j ON j.id = i.job_id
WHERE i.status IN ('queued', 'processing', 'generating', 'uploading')
  AND NOT EXISTS (SELECT FROM attempts AS a WHERE a.image_row_id = i.row_id AND a.status = 'received'
                    AND (a.id = ANY($1::text[]) OR a.stranded_in IS NOT NULL))
ORDER BY i.job_id, i.position;

-- name: moment_of_backup
-- What a backup of this moment says of itself.
SELECT safelight.now() AS at, (SELECT max(version) FROM migrations) AS migration, (SELECT count(*)::int FROM jobs) AS jobs;

-- name: pictures_staged
-- Attempts whose picture is staged where every worker finds it, and not finished: a backup without it has lost it.
SELECT id FROM attempts WHERE status = 'received' AND stranded_in IS NULL;
