-- Uploads: pictures that a caller, or an address that a caller named, gave to make others from.

CREATE TABLE uploads (
    id           text PRIMARY KEY,
    account      text NOT NULL,
    given_sha256 text NOT NULL,
    is_fetched   boolean NOT NULL DEFAULT false,
    key          text NOT NULL UNIQUE,
    format       text NOT NULL,
    mime         text NOT NULL,
    width_px     integer NOT NULL,
    height_px    integer NOT NULL,
    length       bigint NOT NULL,
    sha256       text NOT NULL,
    has_alpha    boolean NOT NULL,
    created_at   timestamptz NOT NULL,
    stored_at    timestamptz,
    expires_at   timestamptz NOT NULL
);
CREATE UNIQUE INDEX uploads_same ON uploads (account, given_sha256, is_fetched) WHERE stored_at IS NOT NULL;
CREATE INDEX uploads_expiring ON uploads (expires_at);

COMMENT ON COLUMN uploads.given_sha256 IS 'of the bytes as they were given; `sha256` and `length` are of what was made of them and is kept';
COMMENT ON COLUMN uploads.is_fetched IS 'read from an address for the images that name it, and shown to nobody';
COMMENT ON COLUMN uploads.stored_at IS 'NULL: written down before its bytes are, so that none are left without a row';

-- A reference is another image, an upload, or an address; what an address gave is an upload from then on.
ALTER TABLE image_references
    ALTER COLUMN parent_row_id DROP NOT NULL,
    ADD COLUMN upload_id text,
    ADD COLUMN url text,
    ADD COLUMN is_mask boolean NOT NULL DEFAULT false,
    ADD CHECK ((parent_row_id IS NULL) = (num_nonnulls(upload_id, url) > 0)),
    ADD CHECK (NOT is_mask OR (parent_row_id IS NULL AND url IS NULL));
CREATE INDEX image_references_by_upload ON image_references (upload_id) WHERE upload_id IS NOT NULL;

COMMENT ON COLUMN image_references.upload_id IS 'without a foreign key: an upload goes when nothing that lives needs it, and what was made of it stays';
COMMENT ON COLUMN image_references.is_mask IS 'where the first reference may be changed; it comes after all of them';
