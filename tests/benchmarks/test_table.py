"""What the benchmarks say about their figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import profile
from benchmarks.figures import Figure, at_least, at_most, percentile
from benchmarks.table import LONG_MARKS, MARKS, machine, machine_line, markdown, missed_line, write_page

SLOW = Figure(name="slow", what="something slow", unit="ms", runs=(9.0, 31.0, 12.04), goal=at_most(12))
MANY = Figure(name="many", what="something often", unit="images/s", runs=(1200.0,), goal=at_least(450))
KNOWN = Figure(name="known", what="something", unit="MB", runs=(85.2,))


def test_a_figure_is_the_median_of_its_runs_and_is_held_against_its_goal():
    assert SLOW.median == 12.04
    assert (SLOW.is_met, MANY.is_met, KNOWN.is_met) == (False, True, None)
    assert Figure(name="floor", what="", unit="ms", runs=(449.0,), goal=at_least(450)).is_met is False


def test_a_percentile_is_a_value_that_was_measured():
    assert percentile(range(1, 101), 99) == 99
    assert percentile(range(1, 301), 99) == 297
    assert percentile([3, 1, 2], 50) == 2
    assert percentile([7], 99) == 7


def test_the_table_has_a_row_for_each_figure():
    assert markdown([SLOW, MANY, KNOWN]).splitlines()[2:] == [
        "| something slow | 12.0 ms | 9.0 to 31.0 | ≤ 12 ms | no |",
        "| something often | 1 200 images/s |  | ≥ 450 images/s | yes |",
        "| something | 85 MB |  |  |  |",
    ]


def test_the_goals_that_are_missed_are_named():
    assert missed_line([MANY, KNOWN]) == "Every goal is met."
    assert missed_line([SLOW, MANY, KNOWN]) == "Missed: something slow (12.0 ms, ≤ 12)."


def test_a_page_keeps_everything_around_what_is_written(tmp_path: Path):
    page, line = tmp_path / "page.md", machine_line(machine())
    begin, end = MARKS
    page.write_text(f"# Before\n\n{begin}\n\nan older table\n\n{end}\n\nAfter.\n", encoding="utf-8")
    for _ in range(2):  # writing it again changes nothing
        write_page(page, MARKS, line, markdown([KNOWN]))
        table = f"{line}\n\n{markdown([KNOWN])}"
        assert page.read_text("utf-8") == f"# Before\n\n{begin}\n\n{table}\n\n{end}\n\nAfter.\n"


def test_a_page_without_a_place_for_it_is_left_alone(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("Nothing here.", encoding="utf-8")
    with pytest.raises(ValueError, match="has no place for this"):
        write_page(page, MARKS, markdown([KNOWN]))
    assert page.read_text("utf-8") == "Nothing here."


def test_the_documentation_has_a_place_for_the_figures_for_the_profile_and_for_what_takes_long():
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text("utf-8")
    places = [page.index(mark) for mark in (*MARKS, *profile.MARKS, *LONG_MARKS)]
    assert places == sorted(places)
