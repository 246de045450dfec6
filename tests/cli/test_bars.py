from __future__ import annotations

import io

from rich.console import Console

from safelight.cli.bars import LiveView, PlainView, drawn, open_view
from safelight.client import ImageView, JobView
from safelight.domain.lifecycle import ImageStatus, JobStatus


def job(*statuses: ImageStatus, run: int = 1) -> JobView:
    images = tuple(
        ImageView(
            id=f"i-{n}",
            group="evidence" if n else "cover",
            status=status,
            attempt_count=1,
            cost_usd="0.034",
            error="TIMEOUT NO_ANSWER: silence" if status is ImageStatus.FAILED else None,
            outputs=(),
        )
        for n, status in enumerate(statuses)
    )
    return JobView(
        id="job_1",
        status=JobStatus.GENERATING,
        run=run,
        current_step=f"Generating images… 1/{len(images)}",
        images=images,
        actual_usd="0.034",
        uncertain_usd="0.000",
        document={},
    )


def written(width: int = 100, *, terminal: bool = False) -> tuple[Console, io.StringIO]:
    paper = io.StringIO()
    return Console(file=paper, width=width, force_terminal=terminal, markup=False, highlight=False), paper


def test_each_group_has_a_bar_with_a_mark_per_image_and_the_whole_has_one() -> None:
    console, paper = written()
    console.print(drawn(job(ImageStatus.COMPLETED, ImageStatus.COMPLETED, ImageStatus.GENERATING, ImageStatus.QUEUED)))
    cover, evidence, total = (line.split() for line in paper.getvalue().splitlines())
    assert (cover[0], *cover[-2:]) == ("cover", "1/1", "●")
    assert (evidence[0], *evidence[-2:]) == ("evidence", "1/3", "●◐·")
    assert (total[0], total[-1]) == ("total", "2/4")


def test_without_a_terminal_an_image_has_one_line_when_it_ends() -> None:
    console, paper = written()
    with open_view(console) as view:
        assert isinstance(view, PlainView)
        view.show(job(ImageStatus.COMPLETED, ImageStatus.GENERATING))
        view.show(job(ImageStatus.COMPLETED, ImageStatus.FAILED))
        view.show(job(ImageStatus.COMPLETED, ImageStatus.COMPLETED, run=2))
    assert paper.getvalue().splitlines() == [
        "completed cover/i-0 $0.034",
        "failed evidence/i-1 $0.034 - TIMEOUT NO_ANSWER: silence",
        "completed evidence/i-1 $0.034",
    ]


def test_on_a_terminal_the_last_picture_of_the_job_stays() -> None:
    console, paper = written(terminal=True)
    with open_view(console) as view:
        assert isinstance(view, LiveView)
        view.show(job(ImageStatus.COMPLETED, ImageStatus.QUEUED))
        view.say("killed worker [7]")
        view.show(job(ImageStatus.COMPLETED, ImageStatus.COMPLETED))
    assert "killed worker [7]" in paper.getvalue()
    assert "$0.034 so far" in paper.getvalue()
    assert "2/2" in paper.getvalue().rpartition("evidence")[2]
