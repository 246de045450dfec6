-- Pictures that one host alone holds: the bucket was away when they were staged.

ALTER TABLE attempts ADD COLUMN stranded_in text;

COMMENT ON COLUMN attempts.stranded_in IS 'the staging folder, on one host, that alone holds the bytes of this attempt; null when every worker finds them';

CREATE INDEX attempts_stranded ON attempts (id) WHERE stranded_in IS NOT NULL;
