"""What the comparison with peers says about its figures, and, where their environment is there, that all of it runs."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from benchmarks import profile, table
from benchmarks.peers import page
from benchmarks.peers.contest import PYTHON, Run
from benchmarks.peers.faulty import IMAGES, Bought, markdown
from benchmarks.peers.orchestration import CONTESTANTS, GOALS, SAFELIGHT, TWO_WORKERS, figures, rows
from benchmarks.peers.stage import has_redis

ROOT = Path(__file__).parents[2]


def _run(rate: float) -> Run:
    return Run(images_per_second=rate, worker_ms=2.0, store_ms=1.0)


def test_ratios_compare_runs_of_one_round() -> None:
    chosen = [SAFELIGHT, TWO_WORKERS, CONTESTANTS["pgqueuer"], CONTESTANTS["dbos"]]
    made = rows(
        chosen,
        {
            "safelight": [_run(400), _run(200)],
            "safelight_two": [_run(700), _run(300)],
            "pgqueuer": [_run(800), _run(500)],
            "dbos": [_run(50), _run(50)],
        },
    )
    assert [row.ratio for row in made] == [(), (1.75, 1.5), (0.5, 0.4), (8.0, 4.0)]
    assert [row.is_met for row in made] == [None, True, False, False]
    assert {each.name for each in figures(made) if each.goal} == {
        "peer_safelight_two_ratio",
        "peer_pgqueuer_ratio",
        "peer_dbos_ratio",
    }


def test_who_could_not_be_measured_is_named_with_the_reason() -> None:
    made = rows([SAFELIGHT, CONTESTANTS["celery"]], {"safelight": [_run(400)], "celery": []})
    told = page.orchestration(made).splitlines()[2:]
    assert told == [
        "| Safelight | 400 |  | 2.00 ms | 1.00 ms |  |  |  |",
        "| Celery, threads | not measured: redis-server is not installed |  |  |  |  |  |  |",
    ]
    assert [each.name for each in figures(made)] == ["peer_safelight", "peer_safelight_worker", "peer_safelight_store"]


def test_what_was_paid_for_nothing_is_what_was_billed_beyond_the_pictures() -> None:
    bought = [Bought(seconds=3.0, delivered=13, paid=15), Bought(seconds=5.0, delivered=14, paid=14)]
    assert [each.for_nothing for each in bought] == [2, 0]
    assert markdown({"gather": bought}).splitlines()[2] == (
        "| all at once in a request handler | 4.0 s | 13.5 (27) | 14.5 (29) | 1 (2) |"
    )


def test_every_peer_has_a_goal_and_is_a_module_of_its_own() -> None:
    peers = [each for each in CONTESTANTS.values() if each.module]
    assert {each.name for each in peers} == set(GOALS)
    assert all((ROOT / "benchmarks" / "peers" / f"{each.module}.py").is_file() for each in peers)


def test_the_peers_lock_names_every_file_by_its_hash_and_no_index() -> None:
    lock = (ROOT / "benchmarks" / "peers" / "requirements.lock").read_text("utf-8")
    assert all(f"\n{name}==" in f"\n{lock}" for name in ("celery", "dbos", "pgqueuer", "procrastinate"))
    assert "index-url" not in lock
    assert "://" not in lock


def test_the_documentation_has_a_place_of_its_own_for_the_peers() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    places = [text.index(mark) for mark in page.MARKS]
    assert places == sorted(places)
    for begin, end in (table.MARKS, profile.MARKS):
        assert not text.index(begin) < places[0] < text.index(end), "another command would write over it"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not PYTHON.exists(), reason="the peers' own environment is missing: `make bench-peers` makes it")
async def test_a_quick_run_measures_everybody_and_leaves_nothing_behind(open_folder: Path, tmp_path: Path) -> None:
    found = tmp_path / "figures.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.peers", "--quick", "--json", str(found), "--folder", str(open_folder)),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    shown, _ = await process.communicate()
    assert process.returncode == 0

    told = {each["name"]: each["median"] for each in json.loads(found.read_text("utf-8"))["figures"]}
    measured = [each for each in CONTESTANTS.values() if has_redis() or not each.wants_redis]
    assert all(told[f"peer_{each.name}"] > 0 for each in measured)
    assert all(0 <= told[f"faulty_{way}_delivered"] <= IMAGES for way in ("batches", "gather", "safelight"))
    assert len([line for line in shown.decode().splitlines() if line.startswith("| ")]) == 2 + len(CONTESTANTS) + 3
    assert list(open_folder.iterdir()) == []
