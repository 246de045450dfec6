"""The memory that each process takes: its proportional share (PSS), so that pages held in common count once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.figures import Figure, at_most
from benchmarks.installation import Installation

_BYTES_PER_MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Of one process: its proportional share of memory, all that it has mapped in, and its open descriptors."""

    pss_mb: float
    rss_mb: float
    files: int


async def idle(installation: Installation) -> Mapping[str, float]:
    """As `of`, a moment after the last work."""
    await asyncio.sleep(1.0)
    return of(installation)


def of(installation: Installation) -> Mapping[str, float]:
    """Megabytes by process, PostgreSQL with its backends as one; empty where the system tells no PSS: all but Linux."""
    if not psutil.LINUX:
        return {}
    found = {name: _pss_mb(process) for name, process in installation.processes().items()}
    postmaster = installation.postgres()
    found["postgres"] = sum(_pss_mb(each) for each in (postmaster, *postmaster.children(recursive=True)))
    return found


def figures(idle: Mapping[str, float], full: Mapping[str, float], *, queued: int) -> list[Figure]:
    """Each process idle, their sum without PostgreSQL, and the same with so many images waiting."""
    if not idle:
        return []
    waiting = f"{queued:,} queued".replace(",", " ")
    return [
        Figure(
            name="memory_idle",
            what="memory of `serve` and its processes, idle, without PostgreSQL",
            unit="MB",
            runs=(_ours(idle),),
            goal=at_most(250),
        ),
        *(
            Figure(name=f"memory_idle_{name}", what=f"· of {called(name)}", unit="MB", runs=(megabytes,))
            for name, megabytes in idle.items()
        ),
        Figure(
            name="memory_queued",
            what=f"memory of `serve` and its processes, {waiting}, without PostgreSQL",
            unit="MB",
            runs=(_ours(full),),
        ),
        *(
            Figure(name=f"memory_queued_{name}", what=f"· of {called(name)}", unit="MB", runs=(megabytes,))
            for name, megabytes in full.items()
        ),
    ]


def held(process: psutil.Process) -> Held:
    """As the system tells it now; nothing of a process that has just ended. Linux only."""
    try:
        info: Any = process.memory_full_info()
        return Held(pss_mb=info.pss / _BYTES_PER_MB, rss_mb=info.rss / _BYTES_PER_MB, files=process.num_fds())
    except psutil.NoSuchProcess:
        return Held(pss_mb=0.0, rss_mb=0.0, files=0)


def called(name: str) -> str:
    """The process's name in a table."""
    return {"postgres": "PostgreSQL", "render": "the render child"}.get(name, f"`{name}`")


def _ours(found: Mapping[str, float]) -> float:
    return sum(megabytes for name, megabytes in found.items() if name != "postgres")


def _pss_mb(process: psutil.Process) -> float:
    info: Any = process.memory_full_info()
    return info.pss / _BYTES_PER_MB
