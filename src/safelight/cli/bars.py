"""A job as it develops: live bars on a terminal, one plain line per finished image elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from safelight.client import ImageView, JobView
from safelight.domain.lifecycle import ImageStatus

MARKS: Mapping[ImageStatus, tuple[str, str]] = {
    ImageStatus.QUEUED: ("·", "dim"),
    ImageStatus.PROCESSING: ("○", "cyan"),
    ImageStatus.GENERATING: ("◐", "cyan"),
    ImageStatus.UPLOADING: ("◕", "cyan"),
    ImageStatus.COMPLETED: ("●", "green"),
    ImageStatus.FAILED: ("✗", "red"),
    ImageStatus.REFUSED: ("⊘", "magenta"),
    ImageStatus.CANCELED: ("–", "yellow"),
    ImageStatus.UNCERTAIN: ("?", "yellow"),
}
"""One sign per image and how it is painted."""

_BAR_CELLS = 28
_FRAMES_PER_SECOND = 10


class View(Protocol):
    """Shows a job; a context manager around the time that it is on screen."""

    def show(self, job: JobView) -> None: ...

    def say(self, line: str) -> None:
        """A line that stays, beside the picture of the job."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_view(console: Console) -> View:
    return LiveView(console) if console.is_terminal and not console.is_dumb_terminal else PlainView(console)


class LiveView:
    """One bar per group and one for the whole, redrawn in place; what was seen last stays on screen."""

    def __init__(self, console: Console) -> None:
        self._started_at = time.monotonic()
        self._job: JobView | None = None
        self._live = Live(
            console=console,
            refresh_per_second=_FRAMES_PER_SECOND,
            get_renderable=self._drawn,
            transient=False,
        )

    def show(self, job: JobView) -> None:
        self._job = job

    def say(self, line: str) -> None:
        self._live.console.print(line)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _drawn(self) -> Group:
        if self._job is None:
            return Group()
        return Group(drawn(self._job), _status_line(self._job, seconds=time.monotonic() - self._started_at))


class PlainView:
    """One line per image at the moment that it ends, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._ended: set[tuple[int, str]] = set()

    def show(self, job: JobView) -> None:
        for image in job.images:
            # A picture is for ever; anything else may end differently in the next run.
            key = (0 if image.status is ImageStatus.COMPLETED else job.run, image.id)
            if image.has_ended and key not in self._ended:
                self._ended.add(key)
                self.say(plain_line(image))

    def say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def drawn(job: JobView) -> Table:
    """The bars: a row per group in the order of the job, then the total."""
    table = Table.grid(padding=(0, 2))
    groups: dict[str, list[ImageView]] = {}
    for image in job.images:
        groups.setdefault(image.group, []).append(image)
    for group, images in groups.items():
        table.add_row(Text(group), _bar(images), _share(images), _marks(images))
    table.add_row(Text("total", style="bold"), _bar(job.images), _share(job.images), Text(""))
    return table


def plain_line(image: ImageView) -> str:
    """`completed evidence/ev-1 $0.034`, or why there is no picture."""
    cost = f" ${image.cost_usd}" if image.cost_usd else ""
    why = f" - {image.error}" if image.error else ""
    return f"{image.status.value} {image.group}/{image.id}{cost}{why}"


def _bar(images: Iterable[ImageView]) -> ProgressBar:
    states = [image.status for image in images]
    is_done = all(status is ImageStatus.COMPLETED for status in states)
    return ProgressBar(
        total=len(states),
        completed=sum(status is ImageStatus.COMPLETED for status in states),
        width=_BAR_CELLS,
        complete_style="green" if is_done else "cyan",
        finished_style="green",
    )


def _share(images: Iterable[ImageView]) -> Text:
    states = [image.status for image in images]
    return Text(f"{sum(status is ImageStatus.COMPLETED for status in states)}/{len(states)}", justify="right")


def _marks(images: Iterable[ImageView]) -> Text:
    return Text.assemble(*(MARKS[image.status] for image in images))


def _status_line(job: JobView, *, seconds: float) -> Text:
    parts = [job.current_step]
    if job.actual_usd is not None:
        parts.append(f"${job.actual_usd} so far")
    parts.append(f"{seconds:.0f} s")
    return Text(" · ".join(parts), style="dim")
