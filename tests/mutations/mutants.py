"""Safety lines that are switched off on purpose, one at a time, in a copy of the checkout: a test has to notice.

`mutants.toml` says which line, how it is switched off, and which test notices.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.named import require_test

ROOT = Path(__file__).resolve().parents[2]
_LIST = Path(__file__).with_name("mutants.toml")
_COPIED = ("src", "tests", "examples", "pyproject.toml")
_WITNESS = "tests.mutations.witness"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """In `file` the text `old` becomes `new`; where `after` is given, the first `old` behind that is meant. `protects`
    is the invariant's own name; `test` has to fail then, and names one parameter where it has several."""

    name: str
    protects: str
    file: str
    old: str
    new: str
    test: str
    after: str = ""

    def applied(self, text: str) -> str:
        """The file's text without its safety line. Raises ValueError when the line is not there exactly once."""
        before, place, rest = text.partition(self.after) if self.after else ("", "", text)
        if self.after and text.count(self.after) != 1:
            raise ValueError(f"{self.name}: {self.file} has {self.after!r} {text.count(self.after)} times, not once")
        if self.old not in rest or (not self.after and rest.count(self.old) != 1):
            raise ValueError(f"{self.name}: {self.file} has {self.old!r} {rest.count(self.old)} times, not once")
        return before + place + rest.replace(self.old, self.new, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a run of tests: which passed, and which failed because something that must hold did not."""

    passed: frozenset[str]
    refuted: frozenset[str]
    said: str


def mutants() -> list[Mutant]:
    """All of the list. Raises TypeError for a field that is missing or none of ours."""
    return [Mutant(**each) for each in tomllib.loads(_LIST.read_text(encoding="utf-8"))["mutant"]]


@contextmanager
def copied_checkout(folder: Path) -> Iterator[Path]:
    """What tests need of this checkout, in a folder of its own."""
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True)
        else:
            shutil.copy2(source, folder / name)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def switched_off(mutant: Mutant, checkout: Path) -> Iterator[None]:
    """Inside of the block the copy is without the line."""
    path = checkout / mutant.file
    kept = checkout / "kept"
    shutil.copy2(path, kept)
    path.write_text(mutant.applied(path.read_text(encoding="utf-8")), encoding="utf-8")
    try:
        yield
    finally:
        kept.replace(path)


def run_tests(tests: Sequence[str], checkout: Path) -> Outcome:
    """The tests against the source of this checkout. Raises AssertionError when none of them could be run."""
    report = checkout / "outcome.jsonl"
    report.unlink(missing_ok=True)
    environment = dict(os.environ)  # noqa: TID251
    environment |= {"PYTHONPATH": str(checkout / "src"), "MUTATION_REPORT": str(report)}
    for name in [name for name in environment if name.startswith("PYTEST_")]:
        del environment[name]  # a run of its own, not a part of the one that asks for it
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", _WITNESS, *tests]
    ended = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    said = f"{ended.stdout[-6000:]}{ended.stderr[-2000:]}"
    assert report.exists(), said
    lines: list[dict[str, Any]] = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    return Outcome(
        passed=frozenset(line["test"] for line in lines if line["passed"]),
        refuted=frozenset(line["test"] for line in lines if line["refuted"]),
        said=said,
    )


def table() -> str:
    """The mutants as docs/reliability.md tells them. Raises ValueError for one that names a test that is not there."""
    rows = ["| switched off | protects | noticed by |", "|---|---|---|"]
    for mutant in mutants():
        require_test(mutant.test)
        file, _, test = mutant.test.partition("::")
        rows.append(f"| {mutant.name} | *{mutant.protects}* | `{file}` · `{test}` |")
    return "\n".join(rows)
