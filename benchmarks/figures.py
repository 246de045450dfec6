"""A measured figure, and the goal that it is held against."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """At most `bound`, or at least if `is_floor`."""

    bound: float
    is_floor: bool = False

    def is_met_by(self, value: float) -> bool:
        return value >= self.bound if self.is_floor else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.is_floor else '≤'} {self.bound:,g}".replace(",", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """`name` is for programs and stays; `runs` are independent repetitions, and the figure is their median."""

    name: str
    what: str
    unit: str
    runs: tuple[float, ...]
    goal: Goal | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    @property
    def is_met(self) -> bool | None:
        """None without a goal."""
        return None if self.goal is None else self.goal.is_met_by(self.median)

    def as_json(self) -> dict[str, Any]:
        bound = None if self.goal is None else {"at_least" if self.goal.is_floor else "at_most": self.goal.bound}
        return {
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "median": self.median,
            "runs": list(self.runs),
            "goal": bound,
            "is_met": self.is_met,
        }


def at_most(bound: float) -> Goal:
    return Goal(bound)


def at_least(bound: float) -> Goal:
    return Goal(bound, is_floor=True)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least `percent` of the values do not exceed: one that was measured."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
