"""The list of faults (`faults.toml`): what can go wrong, how a test makes it, and what holds all the same."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.named import require_test

_LIST = Path(__file__).with_name("faults.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`tests` are those that show it, with their files."""

    name: str
    injected: str
    holds: str
    tests: Sequence[str]


def faults() -> list[Fault]:
    """All of the list. Raises TypeError for a field that is missing or none of ours."""
    return [Fault(**each) for each in tomllib.loads(_LIST.read_text(encoding="utf-8"))["fault"]]


def table() -> str:
    """The faults as docs/reliability.md tells them. Raises ValueError for one that no test shows, and for a test that
    is not there."""
    rows = ["| fault | how it is made | what holds | shown by |", "|---|---|---|---|"]
    for fault in faults():
        if not fault.tests:
            raise ValueError(f"no test shows {fault.name!r}")
        for test in fault.tests:
            require_test(test)
        shown = "<br>".join(_told(test) for test in fault.tests)
        rows.append(f"| *{fault.name}* | {fault.injected} | {fault.holds} | {shown} |")
    return "\n".join(rows)


def _told(test: str) -> str:
    file, _, name = test.partition("::")
    return f"`{file}` · `{name}`"
