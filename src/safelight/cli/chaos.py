"""`safelight doctor --chaos`: breaks an installation of its own on purpose, and judges what became of it."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from safelight.chaos.installation import NotReady
from safelight.chaos.outcome import Outcome
from safelight.chaos.plan import Plan
from safelight.chaos.report import soak_text, write_page
from safelight.chaos.soak import soak
from safelight.cli.complaint import Complaint
from safelight.cli.running import run
from safelight.db.embedded import EmbeddedServer


def chaos(plan: Plan, *, as_json: bool, keep: Path | None, page: Path | None) -> int:
    """Exit code 0 when the promise was kept, else 1. What was seen stays in `keep`; without one it goes, unless
    something was found. The user's own installation, settings and keys are no part of it. Raises Complaint."""
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise Complaint(f"`{keep}` is not empty; name another folder, or remove it")
    home = Path(tempfile.mkdtemp(prefix="safelight-soak-"))
    home.chmod(0o755)  # as root the database runs as another user, who has to enter it
    is_kept = False
    try:
        outcome = _run(plan, home)
        is_kept = outcome.is_kept
        (home / "evidence" / "outcome.json").write_text(json.dumps(outcome.as_json(), indent=2) + "\n")
        print(json.dumps(outcome.as_json(), indent=2) if as_json else soak_text(outcome))
        if page is not None:
            _write(page, outcome)
    finally:
        _leave(home, keep=keep, is_kept=is_kept)
    return 0 if is_kept else 1


def _run(plan: Plan, home: Path) -> Outcome:
    outcomes: list[Outcome] = []

    async def command() -> int:
        outcomes.append(await soak(plan, home=home, say=_say))
        return 0

    try:
        run(command())
    except NotReady as error:
        raise Complaint(str(error)) from error
    return outcomes[0]


def _write(page: Path, outcome: Outcome) -> None:
    try:
        write_page(page, outcome)
    except (OSError, ValueError) as error:
        raise Complaint(str(error)) from error


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


def _leave(home: Path, *, keep: Path | None, is_kept: bool) -> None:
    """No server is left; evidence and logs are where they were wanted, or where they are needed."""
    EmbeddedServer(home).destroy()
    if keep is None and is_kept:
        shutil.rmtree(home)
        return
    kept = keep or Path(tempfile.mkdtemp(prefix="safelight-evidence-"))
    kept.mkdir(parents=True, exist_ok=True)
    for name in ("evidence", "logs"):
        if (home / name).exists():
            shutil.copytree(home / name, kept / name, dirs_exist_ok=True)
    shutil.rmtree(home)
    _say(f"the evidence is in {kept / 'evidence'}: `python -m safelight.chaos {kept / 'evidence'}` judges it again")
