"""What the comparison with peers says about its figures, and, where their environment is there, that all of it runs."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from benchmarks import profile, table
from benchmarks.peers import page
from benchmarks.peers.contest import PYTHON, WARM_UP_IMAGES, Run, check_pictures, vendors_picture
from benchmarks.peers.faulty import IMAGES, WAYS, Bought, markdown
from benchmarks.peers.keeping import Keeping, picture_name, receipt_name
from benchmarks.peers.orchestration import CONTESTANTS, GOALS, KEEPERS, QUEUES, SAFELIGHT, TWO_WORKERS, figures, rows
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


def test_the_page_says_above_its_tables_who_was_faster_with_and_without_pictures() -> None:
    chosen = [SAFELIGHT, *(CONTESTANTS[name] for name in ("celery_keeps", "dbos_keeps", "celery", "dbos"))]
    rates = {"safelight": 200, "celery_keeps": 150, "dbos_keeps": 210, "celery": 600, "dbos": 300}
    told = page.sections(rows(chosen, {name: [_run(rate)] for name, rate in rates.items()}), None)
    assert told[1] == (
        "Of the peers that keep the picture, as Safelight does, 1 of 2 were faster than Safelight: DBOS Transact. "
        "Of the peers that handle no picture, 2 of 2 were faster than Safelight: Celery, threads; DBOS Transact."
    )
    kept, bare = told[3].splitlines()[2:], told[5].splitlines()[2:]
    assert [line.split(" | ")[0] for line in kept] == [
        "| Safelight",
        "| Celery, threads, and keeps the picture",
        "| DBOS Transact, and keeps the picture",
    ]
    assert [line.split(" | ")[0] for line in bare] == ["| Safelight", "| Celery, threads", "| DBOS Transact"]


async def test_a_peer_that_did_not_keep_every_picture_is_found_out(tmp_path: Path) -> None:
    picture = await vendors_picture()
    keeping = Keeping(folder=tmp_path, picture=picture, removes_from=WARM_UP_IMAGES + 1)
    for image in range(1, WARM_UP_IMAGES + 1):
        keeping.keep(image, picture)
        keeping.remove(image)
    check_pictures(tmp_path, picture)

    (tmp_path / picture_name(7)).write_bytes(picture[:-20])
    with pytest.raises((RuntimeError, OSError)):
        check_pictures(tmp_path, picture)
    (tmp_path / picture_name(7)).unlink()
    with pytest.raises(RuntimeError, match="other pictures"):
        check_pictures(tmp_path, picture)


async def test_a_peer_keeps_no_half_picture_and_removes_what_it_kept(tmp_path: Path) -> None:
    picture = await vendors_picture()
    keeping = Keeping(folder=tmp_path, picture=picture, removes_from=1)
    with pytest.raises((OSError, SyntaxError)):
        keeping.keep(1, picture[: len(picture) // 2])
    assert list(tmp_path.iterdir()) == []

    assert keeping.keep(1, picture) == picture_name(1)
    assert {each.name for each in tmp_path.iterdir()} == {picture_name(1), receipt_name(1)}
    keeping.remove(1)
    assert list(tmp_path.iterdir()) == []


def test_what_was_paid_for_nothing_is_what_was_billed_beyond_the_pictures() -> None:
    bought = [Bought(seconds=3.0, delivered=13, paid=15), Bought(seconds=5.0, delivered=14, paid=14)]
    assert [each.for_nothing for each in bought] == [2, 0]
    assert markdown({"gather": bought}).splitlines()[2] == (
        "| all at once in a request handler | 4.0 s | 13.5 (27) | 14.5 (29) | 1 (2) |"
    )


def test_every_peer_has_a_goal_and_is_a_module_of_its_own() -> None:
    peers = [each for each in CONTESTANTS.values() if each.module]
    assert {each.name for each in peers} == set(GOALS)
    assert {each.name for each in KEEPERS} == {f"{each.name}_keeps" for each in QUEUES}
    assert all(GOALS[f"{each.name}_keeps"] == GOALS[each.name] for each in QUEUES)
    assert all((ROOT / "benchmarks" / "peers" / f"{each.module}.py").is_file() for each in peers)


def test_the_peers_lock_names_every_file_by_its_hash_and_no_index() -> None:
    lock = (ROOT / "benchmarks" / "peers" / "requirements.lock").read_text("utf-8")
    assert all(f"\n{name}==" in f"\n{lock}" for name in ("celery", "dbos", "pgqueuer", "procrastinate"))
    assert "://" not in lock
    assert not [line for line in lock.splitlines() if line.startswith("-")], "nothing but names and their hashes"


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
    ours_in_both_tables = 2
    lines = 3 + len(CONTESTANTS) + ours_in_both_tables + len(WAYS)
    assert len([line for line in shown.decode().splitlines() if line.startswith("| ")]) == lines
    assert list(open_folder.iterdir()) == []
