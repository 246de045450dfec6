"""Files below a folder, some at a time, whatever their number: no list of them all is ever made."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safelight.storage import durable

_NO_FOLDER_OF_OURS = (errno.ENOTDIR, errno.ELOOP, errno.ENOENT, errno.EACCES)
"""Something else by now, gone, or the system's, such as `lost+found`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """`path` as its names below the root; `written_at` in seconds since 1970."""

    path: tuple[str, ...]
    written_at: float


class Walk:
    """One way through everything below `root`, never through a symbolic link. What comes or goes meanwhile may be met
    or not. Its methods block, and may be called from any thread."""

    def __init__(self, root: Path, *, under: tuple[str, ...] = (), passes_over: Callable[[str], bool]) -> None:
        """`under`: the folder below the root that it goes through, nothing if it is none. `passes_over`: names in the
        root itself that are left out, with all below them."""
        self._passes_over = passes_over
        self._lock = threading.Lock()
        self._folders: list[_Folder] = []
        if (folder := _way_to(under, root)) is not None:
            self._folders.append(_Folder(under, folder))

    def some(self, entries: int) -> list[FoundFile] | None:
        """The files among the next so many entries; None when there are no more."""
        with self._lock:
            found: list[FoundFile] = []
            for _ in range(entries):
                if not self._folders:
                    return found or None
                self._look(found)
            return found

    def close(self) -> None:
        with self._lock:
            while self._folders:
                self._folders.pop().close()

    def _look(self, found: list[FoundFile]) -> None:
        """At the next entry of the folder that we are in."""
        folder = self._folders[-1]
        entry = next(folder.entries, None)
        if entry is None:
            self._folders.pop().close()
            return
        if not folder.names and self._passes_over(entry.name):
            return
        with suppress(FileNotFoundError):  # gone meanwhile
            about = entry.stat(follow_symlinks=False)
            path = (*folder.names, entry.name)
            if stat.S_ISDIR(about.st_mode):
                self._enter(path, folder)
            elif stat.S_ISREG(about.st_mode):
                found.append(FoundFile(path=path, written_at=about.st_mtime))

    def _enter(self, path: tuple[str, ...], folder: _Folder) -> None:
        try:
            self._folders.append(_Folder(path, durable.enter_folder(path[-1], parent=folder.descriptor)))
        except OSError as error:
            if error.errno not in _NO_FOLDER_OF_OURS:
                raise


def _way_to(names: tuple[str, ...], root: Path) -> int | None:
    """A descriptor of the folder below the root; None when there is none that we may enter."""
    folder = durable.open_folder(root)
    for name in names:
        try:
            below = durable.enter_folder(name, parent=folder)
        except OSError as error:
            if error.errno not in _NO_FOLDER_OF_OURS:
                raise
            return None
        finally:
            os.close(folder)
        folder = below
    return folder


class _Folder:
    """An open folder, and how far it has been read."""

    def __init__(self, names: tuple[str, ...], descriptor: int) -> None:
        self.names = names
        self.descriptor = descriptor
        self._scan = os.scandir(descriptor)
        self.entries: Iterator[os.DirEntry[str]] = iter(self._scan)

    def close(self) -> None:
        self._scan.close()
        os.close(self.descriptor)
