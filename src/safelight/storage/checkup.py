"""Whether the local folders can do what the promises rest on: keep bytes, durably, with room to spare."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path

from safelight.domain.checkup import Check, Verdict
from safelight.storage import durable, local, local_staging

AREA = "storage"

_LOW_BYTES = 2_000_000_000
_SLOW_SECONDS = 1.0
_PROBE = b"safelight doctor"


async def storage_checks(*, blobs: Path, staged: Path, min_free_bytes: int, markers: str | None) -> list[Check]:
    """The blob store and the staging folder. With less than `min_free_bytes` nothing is bought; `markers` are the two
    that the database belongs to, when that is known."""
    of_store, _, of_staging = (markers or "").partition(" ")
    return [
        *await asyncio.to_thread(_folder, "blobs", blobs, local.MARKER, of_store, min_free_bytes),
        *await asyncio.to_thread(_folder, "staging", staged, local_staging.MARKER, of_staging, min_free_bytes),
    ]


async def fallback_checks(staged: Path, *, min_free_bytes: int) -> list[Check]:
    """This host's own staging folder, for when the bucket is away."""
    if not staged.exists():
        return []
    return await asyncio.to_thread(_folder, "fallback", staged, local_staging.MARKER, "", min_free_bytes)


def _folder(name: str, root: Path, marker: str, expected: str, min_free_bytes: int) -> list[Check]:
    """A folder that can do its work gives one check, with what room there is."""
    if not root.is_dir():
        return [_missing(name, root, is_known=bool(expected))]
    try:
        seconds = _sync_seconds(root)
    except OSError as error:
        return [
            Check(
                area=AREA,
                name=name,
                verdict=Verdict.PROBLEM,
                found=f"`{root}` cannot be written: {error.strerror}",
                meaning="Pictures that are paid for could not be kept, so none can be bought.",
                remedy="Make room, or give the user that runs Safelight the right to write there.",
            )
        ]
    checks = [_room(name, root, min_free_bytes)]
    if seconds > _SLOW_SECONDS:
        checks.append(
            Check(
                area=AREA,
                name=f"{name} speed",
                verdict=Verdict.WARNING,
                found=f"a small file took {seconds:.1f} s to become durable in `{root}`",
                meaning="Every picture waits for that before it goes on.",
                remedy="Look for what else keeps this disk busy, or move the folder to a faster one.",
            )
        )
    found = _marker(root, marker)
    if expected and found != expected:
        checks.append(
            Check(
                area=AREA,
                name=f"{name} marker",
                verdict=Verdict.PROBLEM,
                found=f"`{root}` is not the folder that the database belongs to",
                meaning="Workers refuse to start: they would not find pictures that are paid for, and buy them again.",
                remedy="Set SAFELIGHT_HOME and SAFELIGHT_STORAGE_URL to those of the other workers, or mount the disk.",
            )
        )
    return checks


def _missing(name: str, root: Path, *, is_known: bool) -> Check:
    if root.exists():
        found, remedy = f"`{root}` is no folder", "Move it away; the next start makes the folder."
    elif is_known:
        found = f"`{root}` is gone, and the database remembers pictures in it"
        remedy = "Mount the disk, or restore the folder from a backup, before you start anything."
    else:
        return Check(
            area=AREA,
            name=name,
            verdict=Verdict.WARNING,
            found=f"`{root}` does not exist yet",
            meaning="Nothing has been stored in this home so far.",
            remedy="The first start of a worker makes it.",
        )
    return Check(
        area=AREA,
        name=name,
        verdict=Verdict.PROBLEM,
        found=found,
        meaning="Pictures have nowhere to go.",
        remedy=remedy,
    )


def _room(name: str, root: Path, min_free_bytes: int) -> Check:
    free_bytes = shutil.disk_usage(root).free
    found = f"`{root}` is writable and durable, {_size(free_bytes)} free"
    if free_bytes >= max(_LOW_BYTES, 2 * min_free_bytes):
        return Check(area=AREA, name=name, verdict=Verdict.OK, found=found)
    is_urgent = free_bytes < min_free_bytes
    return Check(
        area=AREA,
        name=name,
        verdict=Verdict.PROBLEM if is_urgent else Verdict.WARNING,
        found=found,
        meaning=f"Nothing is bought with less than {_size(min_free_bytes)}: a paid picture might find no room."
        if is_urgent
        else "A picture takes a few megabytes, the vendor's original included while it is worked on.",
        remedy="Make room on this disk; images that wait go on by themselves.",
    )


def _sync_seconds(root: Path) -> float:
    """How long a new file takes to be on the medium, its name included; it is removed again. Raises OSError."""
    folder = durable.open_folder(root)
    try:
        started_at = time.monotonic()
        name = durable.write_part(_PROBE, folder=folder)
        durable.sync(folder)
        seconds = time.monotonic() - started_at
        os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)
    return seconds


def _marker(root: Path, name: str) -> str | None:
    """None in a folder that no worker has used."""
    folder = durable.open_folder(root)
    try:
        return durable.read_file(name, folder=folder).decode(errors="replace")
    except OSError:
        return None
    finally:
        os.close(folder)


def _size(length: int) -> str:
    for unit, bytes_ in (("GB", 10**9), ("MB", 10**6)):
        if length >= bytes_:
            return f"{length / bytes_:.1f} {unit}"
    return f"{length} bytes"
