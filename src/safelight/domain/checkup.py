"""What a look at an installation found: one `Check` per question, each with a verdict and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """Works, but somebody should know."""
    PROBLEM = "problem"
    """Something that Safelight is for does not work."""


_RANK = tuple(Verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question and its answer. `found` is a fact; `meaning` and `remedy` say why it matters and what to do, and
    are empty where all is well. Never holds a key, a password or a prompt."""

    area: str
    name: str
    verdict: Verdict
    found: str
    meaning: str = ""
    remedy: str = ""


def worst(checks: Iterable[Check]) -> Verdict:
    return max((check.verdict for check in checks), key=_RANK.index, default=Verdict.OK)
