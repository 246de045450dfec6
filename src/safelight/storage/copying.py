"""Copies of what lies in folders that others write to meanwhile: staged pictures, and the pictures of a store.

Nothing in either is ever written to twice: a file appears whole under its name, and goes. So a copy of the same length
is the same file. What people write, such as recipes, is another matter: see `Present`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from safelight.storage.durable import PART_SUFFIX
from safelight.storage.local import PARTS
from safelight.storage.local_staging import MARKER
from safelight.storage.staging import BYTES, SIDECAR

_LEFT_OUT = frozenset({PARTS, "lost+found"})
"""Folders of what is half written, and of the file system's own, which only root may read."""


class Present(Enum):
    """What becomes of a file that lies in the copy already."""

    SAME_IF_AS_LONG = auto()
    REPLACED = auto()
    KEPT = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """How many files lie in the copy, but for marks, and how many of them, of how many bytes, were copied just now."""

    files: int
    copied: int
    copied_bytes: int


def copy_staged(root: Path, into: Path) -> frozenset[str]:
    """Attempts whose picture and receipt are in `into`, which keeps those of earlier calls. Blocks."""
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    if root.is_dir():
        with suppress(FileNotFoundError):
            _copy(root / MARKER, into / MARKER)
        for sidecar in sorted(root.glob(f"*{SIDECAR}")):
            picture = sidecar.with_suffix(BYTES)
            with suppress(FileNotFoundError):  # it was finished meanwhile, and its picture is in the store
                _copy(picture, into / picture.name)
                _copy(sidecar, into / sidecar.name)
    return frozenset(sidecar.stem for sidecar in into.glob(f"*{SIDECAR}"))


def copy_files(root: Path, into: Path, *, present: Present = Present.SAME_IF_AS_LONG, links: bool = False) -> Copied:
    """Every file below `root` that is whole lies in `into`, under its path. Those that go meanwhile may be missing, and
    what lies in `into` alone is kept. Blocks. Symbolic links to files are followed only with `links`."""
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = copied = copied_bytes = 0
    for path in _files_below(root, links=links):
        with suppress(FileNotFoundError):
            length = _copy(root / path, into / path, present)
            if path.name.startswith("."):
                continue  # the mark of the store
            files += 1
            copied += length is not None
            copied_bytes += length or 0
    return Copied(files=files, copied=copied, copied_bytes=copied_bytes)


def _files_below(root: Path, *, links: bool) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, onerror=_raise_unless_gone):
        folders[:] = sorted(each for each in folders if each not in _LEFT_OUT)
        for name in sorted(names):
            path = Path(folder) / name
            if not name.endswith(PART_SUFFIX) and (links or not path.is_symlink()):
                yield path.relative_to(root)


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _copy(source: Path, target: Path, present: Present = Present.SAME_IF_AS_LONG) -> int | None:
    """How many bytes were copied; None for what is there already. Raises FileNotFoundError for what is gone."""
    length = source.stat().st_size
    with suppress(FileNotFoundError):
        is_as_long = target.stat().st_size == length
        if present is Present.KEPT or (present is Present.SAME_IF_AS_LONG and is_as_long):
            return None
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_name(target.name + PART_SUFFIX)
    shutil.copy2(source, part)
    part.replace(target)
    return length
