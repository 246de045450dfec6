"""What is known of a fleet's run from outside, for the checker."""

from __future__ import annotations

from collections.abc import Sequence

from safelight.chaos.collect import collect_books, collect_store
from safelight.chaos.evidence import Evidence, Sighting, read, write_lines
from safelight.storage.place import Folder
from tests.crash.conftest import Fleet


async def evidence_of(fleet: Fleet, *, staged: Sequence[Sighting] = ()) -> Evidence:
    """Books, store and bill, once everything has ended; every prompt must be one image's. `staged`: what was seen in
    the staging folder at any time. Nobody logs what clients and receivers saw here, so that is not judged."""
    folder = fleet.home / "evidence"
    await collect_books(fleet.database, folder)
    await collect_store(Folder(root=fleet.home / "blobs"), folder)
    write_lines(folder / "sightings.jsonl", staged)
    (folder / "bill.jsonl").write_bytes(fleet.sandbox.bill_path.read_bytes())
    return read(folder)
