"""What a judgement says: a line for each way in which a promise can be broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Question(StrEnum):
    """What is asked of a run; each is a line of the verdict."""

    LOST = "lost"
    """Something that was accepted, told or paid for is not there."""
    INVENTED = "invented"
    """Something is there that nobody asked for."""
    DUPLICATED = "duplicated"
    """Something happened twice that happens once, or in another order."""
    REBOUGHT = "re-bought"
    """A call was made that the re-send rule does not allow."""
    UNBALANCED = "unbalanced"
    """Two books that should agree do not."""
    STUCK = "stuck"
    """Something has not ended although everything was given the time to."""
    UNSERVED = "unserved"
    """A picture that is said to be there cannot be had as it is said to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`findings` are beyond what the promise allows, each by name; `told` says what was looked at and what is allowed.
    `missing` are the files of evidence that would be needed for the rest of the question."""

    question: Question
    findings: Sequence[str]
    told: str
    missing: Sequence[str] = ()

    @property
    def is_judged(self) -> bool:
        """Whether everything that is asked could be looked at."""
        return not self.missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`figures` are counts that are no judgement, such as how many images there were."""

    lines: Sequence[Line]
    figures: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def is_kept(self) -> bool:
        """Nothing was found; what was not judged is not said to be kept, nor broken."""
        return not any(line.findings for line in self.lines)

    @property
    def is_judged(self) -> bool:
        """Whether everything could be looked at."""
        return all(line.is_judged for line in self.lines)

    def line(self, question: Question) -> Line:
        return next(line for line in self.lines if line.question is question)

    def as_json(self) -> dict[str, Any]:
        return {
            "kept": False if not self.is_kept else True if self.is_judged else None,
            "judged_in_full": self.is_judged,
            "lines": [
                {
                    "question": line.question.value,
                    "count": len(line.findings),
                    "findings": list(line.findings),
                    "told": line.told,
                    "not_judged_without": list(line.missing),
                }
                for line in self.lines
            ],
            "figures": dict(self.figures),
        }
