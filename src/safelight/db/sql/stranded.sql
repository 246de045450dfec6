-- name: note_stranded
-- The bytes of this attempt lie in the folder $2 of one host: whoever does not find them must not take them for lost.
UPDATE attempts SET stranded_in = $2
WHERE id = $1 AND status IN ('sent', 'submitted', 'unknown', 'received') AND stranded_in IS DISTINCT FROM $2
RETURNING image_row_id;

-- name: is_stranded
-- Whether some host alone holds the bytes of this attempt.
SELECT stranded_in IS NOT NULL FROM attempts WHERE id = $1;

-- name: note_brought_back
-- Every worker finds the bytes of these attempts now.
UPDATE attempts SET stranded_in = NULL WHERE id = ANY($1::text[]) AND stranded_in IS NOT NULL RETURNING image_row_id;
