"""The vendor's own bill: one JSON line per ended call, in a file that outlives the process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

_LINE_START = b'{"call":'


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one call came to. `cost_microusd` 0 is a call that was not charged. `pictures_sha256` are of the files that
    were made for it; an answer that was spoilt on purpose brought others."""

    call: int
    vendor: str
    model: str
    prompt_sha256: str | None
    started_at: datetime
    ended_at: datetime
    outcome: str
    cost_microusd: int
    pictures_sha256: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "call": self.call,
            "vendor": self.vendor,
            "model": self.model,
            "prompt_sha256": self.prompt_sha256,
            "started_at": _timestamp(self.started_at),
            "ended_at": _timestamp(self.ended_at),
            "outcome": self.outcome,
            "cost_microusd": self.cost_microusd,
            "pictures_sha256": list(self.pictures_sha256),
        }


class Bill:
    """Opened over an existing file it holds what that file holds, and call numbers continue.

    Each line is one write to an append-only descriptor: a killed process loses no line it had written, and
    half a line left by a dying machine is dropped at the next opening. Raises ValueError, and leaves the file
    as it is, for one that is not a bill or cannot be one.
    """

    def __init__(self, path: Path) -> None:
        self.calls = _read(path)
        self.total_microusd = sum(line["cost_microusd"] for line in self.calls)
        self.charged_calls = sum(1 for line in self.calls if line["cost_microusd"])
        self._last_call = max((line["call"] for line in self.calls), default=0)
        with _readable_errors(path):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def calls_of(self, vendor: str | None) -> list[dict[str, Any]]:
        """None is all vendors, here and below."""
        return self.calls if vendor is None else [line for line in self.calls if line.get("vendor") == vendor]

    def charged_calls_of(self, vendor: str | None) -> int:
        if vendor is None:
            return self.charged_calls
        return sum(1 for line in self.calls_of(vendor) if line["cost_microusd"])

    def total_microusd_of(self, vendor: str | None) -> int:
        if vendor is None:
            return self.total_microusd
        return sum(line["cost_microusd"] for line in self.calls_of(vendor))

    def next_call(self) -> int:
        self._last_call += 1
        return self._last_call

    def append(self, charge: Charge) -> None:
        line = charge.as_json()
        os.write(self._descriptor, orjson.dumps(line) + b"\n")
        self.calls.append(line)
        self.total_microusd += charge.cost_microusd
        self.charged_calls += charge.cost_microusd > 0

    def close(self) -> None:
        """The numbers stay readable; nothing more can be appended. Closing twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _read(path: Path) -> list[dict[str, Any]]:
    with _readable_errors(path):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            return []
        whole = content[: content.rfind(b"\n") + 1]
        lines = [_parsed(line, path) for line in whole.splitlines()]
        half = content[len(whole) :]
        if not (half.startswith(_LINE_START) or _LINE_START.startswith(half)):
            raise ValueError(f"`{path}` is not a bill of the sandbox: its end is no beginning of a line")
        if half:
            os.truncate(path, len(whole))
    return lines


def _parsed(text: bytes, path: Path) -> dict[str, Any]:
    try:
        line = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"`{path}` is not a bill of the sandbox: {error}") from error
    if not isinstance(line, dict) or not all(isinstance(line.get(name), int) for name in ("call", "cost_microusd")):
        raise ValueError(f"`{path}` is not a bill of the sandbox: a line of it is no call")
    return line


@contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(f"`{path}` cannot be the sandbox's bill: {error.strerror}") from error


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
