"""Files that are still there, whole, after the power was cut."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PART_SUFFIX = "~part"

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def make_folder(path: Path) -> None:
    """Creates the folder and its parents, private to us, each durable in its own parent."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    folder = open_folder(path.parent)
    try:
        sync(folder)
    finally:
        os.close(folder)


def open_folder(path: Path) -> int:
    return os.open(path, _FOLDER)


def enter_folder(name: str, *, parent: int) -> int:
    """A descriptor of the folder `name` in `parent`. Raises OSError (ENOTDIR, ELOOP) for a symbolic link."""
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)


def write_part(data: bytes, *, folder: int) -> str:
    """A new file with these bytes, on disk, under a fresh name that no reader looks at."""
    [name] = write_parts([data], folder=folder)
    return name


def write_parts(contents: Sequence[bytes], *, folder: int) -> list[str]:
    """A new file for each content; all on disk, or OSError and none is there."""
    files: dict[str, int] = {}
    try:
        for data in contents:
            name = f".{secrets.token_hex(8)}{PART_SUFFIX}"
            files[name] = os.open(name, _NEW_FILE, 0o600, dir_fd=folder)
            _write(data, files[name])
        if len(files) > 1:  # a sync waits for all that is on its way already, and the next finds little to do
            for file in files.values():
                _begin_writing(file)
        for file in files.values():
            sync(file)
    except OSError:
        for name in files:
            with suppress(OSError):  # what went wrong first is told, and the others go all the same
                os.unlink(name, dir_fd=folder)
        raise
    finally:
        for file in files.values():
            os.close(file)
    return list(files)


def _write(data: bytes, file: int) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _begin_writing(file: int) -> None:
    """What was written is on its way to the medium, where the system can be told so: Linux, in whose page cache it is
    not kept then. A hint."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # a system may know of no hints (ENOSYS, EPERM): what counts is the sync
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def removed(name: str, *, folder: int) -> bool:
    """The file is gone; False when there was none."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def ensure_marker(root: Path, name: str) -> str:
    """The random id of this folder: made by whoever asks first, the same for everybody after."""
    folder = open_folder(root)
    try:
        part = write_part(secrets.token_hex(16).encode(), folder=folder)
        with suppress(FileExistsError):
            os.link(part, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        os.unlink(part, dir_fd=folder)
        sync(folder)
        return read_file(name, folder=folder).decode()
    finally:
        os.close(folder)


def read_file(name: str, *, folder: int) -> bytes:
    """Raises FileNotFoundError; OSError (ELOOP) for a symbolic link."""
    descriptor = open_file(name, folder=folder)
    try:
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def open_file(name: str, *, folder: int) -> int:
    """A descriptor to read from. Raises FileNotFoundError; OSError (ELOOP) for a symbolic link."""
    return os.open(name, _OLD_FILE, dir_fd=folder)


def list_names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries)


def sync(descriptor: int) -> None:
    """Returns when the file's bytes, or the folder's entries, are on the medium."""
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync stops at the drive's own cache
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def remove_old(folder: int, names: list[str], *, older_than_seconds: float) -> int:
    """Deletes those of the files that were last written that long ago; returns how many."""
    removed = 0
    written_before = time.time() - older_than_seconds
    for name in names:
        with suppress(FileNotFoundError):
            if os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime <= written_before:
                os.unlink(name, dir_fd=folder)
                removed += 1
    return removed
