"""A list of every claim, kept by the database itself: who took which image, and when."""

from __future__ import annotations

import asyncpg

_LIST = """
    CREATE TABLE claims (row_id bigint, worker_id uuid, at timestamptz DEFAULT clock_timestamp());
    CREATE FUNCTION list_claim() RETURNS trigger LANGUAGE plpgsql SET search_path = safelight AS
    $$ BEGIN INSERT INTO claims (row_id, worker_id) VALUES (NEW.row_id, NEW.worker_id); RETURN NULL; END $$;
    CREATE TRIGGER list_claim AFTER UPDATE OF claim_token ON images FOR EACH ROW
        WHEN (NEW.worker_id IS NOT NULL AND NEW.claim_token IS DISTINCT FROM OLD.claim_token)
        EXECUTE FUNCTION list_claim();
"""


async def list_claims(pool: asyncpg.Pool) -> None:
    """From now on each claim has its row in `claims`, on the server's own clock."""
    await pool.execute(_LIST)
