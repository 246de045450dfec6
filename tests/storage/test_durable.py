"""Files that are written together: all of them, or none."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safelight.storage import durable

CONTENTS = [b"one", b"two and more", b"three"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = durable.open_folder(tmp_path)
    yield descriptor
    os.close(descriptor)


def lowest_free_descriptor() -> int:
    free = os.dup(0)
    os.close(free)
    return free


def test_each_content_is_in_a_file_of_its_own_in_order(folder: int, tmp_path: Path) -> None:
    names = durable.write_parts(CONTENTS, folder=folder)
    assert [(tmp_path / name).read_bytes() for name in names] == CONTENTS
    assert len(set(names)) == len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("what", ["open", "write", "fsync"])
def test_a_disk_that_is_full_halfway_leaves_nothing(
    folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, nth: int
) -> None:
    free, calls, really = lowest_free_descriptor(), 0, getattr(os, what)

    def full(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(errno.ENOSPC, "full")
        return really(*args, **options)

    monkeypatch.setattr(os, what, full)
    with pytest.raises(OSError, match="full"):
        durable.write_parts(CONTENTS, folder=folder)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    assert lowest_free_descriptor() == free


def test_a_part_that_somebody_else_has_removed_keeps_no_other_and_hides_no_error(
    folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        next(tmp_path.iterdir()).unlink()
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(durable, "sync", broken)
    with pytest.raises(OSError, match="broken"):
        durable.write_parts(CONTENTS, folder=folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no such hints")
def test_a_system_that_refuses_hints_is_written_to_all_the_same(
    folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    names = durable.write_parts(CONTENTS, folder=folder)
    assert [(tmp_path / name).read_bytes() for name in names] == CONTENTS
