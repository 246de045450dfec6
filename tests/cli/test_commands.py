from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from safelight import __version__
from tests.cli.conftest import Safelight
from tests.cli.front_desk import JOB_ID, FrontDesk, jpeg, opened, problem
from tests.fork_server import PIPE, start

HEAVY = ("google.genai", "asyncpg", "pyvips", "fastapi", "PIL", "httpx2", "pydantic", "rich.live", "uvicorn")


@pytest.fixture
def order(tmp_path: Path) -> str:
    (tmp_path / "case.json").write_text(json.dumps({"images": [{"id": "ev-1", "prompt": "A brass key"}]}))
    return "case.json"


async def test_help_imports_nothing_that_takes_time(environment: dict[str, str]) -> None:
    program = (
        "import sys\n"
        "from safelight.cli.main import main\n"
        "sys.argv = ['safelight', '--help']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code\n"
        f"print('imported:', *(name for name in {HEAVY!r} if name in sys.modules))\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=environment, stdout=PIPE)
    out, _ = await process.communicate()
    assert b"generate" in out
    assert out.decode().splitlines()[-1] == "imported:"


async def test_the_version_is_that_of_the_package(safelight: Safelight) -> None:
    said = await safelight("--version")
    assert (said.code, said.out) == (0, f"{__version__}\n")


async def test_every_command_explains_itself(safelight: Safelight) -> None:
    commands = [["serve"], ["api"], ["worker"], ["db", "migrate"], ["generate"], ["doctor"], ["sandbox"], ["demo"]]
    commands += [["jobs", each] for each in ("list", "show", "watch", "cancel", "retry", "download")]
    for said in await asyncio.gather(*(safelight(*words, "--help") for words in commands)):
        assert said.code == 0
        assert "--help" in said.out


async def test_where_nothing_answers_one_line_says_what_to_do(safelight: Safelight) -> None:
    said = await safelight("jobs", "list")
    assert said.code == 1
    assert said.err.startswith("safelight: nothing answers at http://127.0.0.1:")
    assert said.err.endswith("start it with `safelight serve`\n")
    assert said.err.count("\n") == 1


async def test_an_unknown_job_is_one_line_of_the_service(safelight: Safelight, desk: FrontDesk) -> None:
    said = await safelight("jobs", "show", "job_unknown", url=desk.base_url)
    assert (said.code, said.err) == (1, "safelight: There is no such job.\n")


async def test_a_wrong_setting_is_named_without_its_value(safelight: Safelight, environment: dict[str, str]) -> None:
    environment["SAFELIGHT_WORKERS"] = "many-secrets"
    said = await safelight("jobs", "list")
    assert said.code == os.EX_CONFIG
    assert said.err.startswith("safelight: setting workers:")
    assert "many-secrets" not in said.err


async def test_pictures_are_saved_as_they_come_with_a_line_for_each(
    safelight: Safelight, desk: FrontDesk, order: str, tmp_path: Path
) -> None:
    said = await safelight("generate", order, "-o", "out", url=desk.base_url)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[1:4] == [
        "completed locations/loc-1 $0.034",
        "completed evidence/ev-1 $0.034",
        "completed evidence/ev-2 $0.034",
    ]
    assert said.out.splitlines()[4].startswith(f"3/3 completed · {JOB_ID} · $0.034")
    saved = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert saved == {"locations/loc-1.jpg", "evidence/ev-1.jpg", "evidence/ev-2.jpg"}
    assert (tmp_path / "out/evidence/ev-2.jpg").read_bytes() == jpeg("ev-2")


async def test_a_job_whose_stream_tells_everything_is_saved_and_shown_alike(
    safelight: Safelight, order: str, tmp_path: Path
) -> None:
    async with opened(FrontDesk(streams=True, script={(f"g-{n}", f"i-{n}"): "completed" for n in range(12)})) as desk:
        said = await safelight("generate", order, "-o", "out", url=desk.base_url)
        watched = await safelight("jobs", "watch", JOB_ID, url=desk.base_url)
    assert (said.code, said.err, watched.code) == (0, "", 0)
    assert [line for line in said.out.splitlines() if line.startswith("completed ")] == [
        f"completed g-{n}/i-{n} $0.034" for n in range(12)
    ]
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 12
    assert desk.asked["events"] > 0
    assert desk.asked["show"] < 12, "it was looked at for what was told, several things at a time"


async def test_running_generate_again_joins_the_job_and_fetches_nothing_twice(
    safelight: Safelight, desk: FrontDesk, order: str
) -> None:
    await safelight("generate", order, "-o", "out", url=desk.base_url)
    said = await safelight("generate", order, "-o", "out", url=desk.base_url)
    assert said.code == 0
    assert len(desk.keys) == 1
    assert desk.asked["picture"] == 3
    assert desk.asked["retry"] == 0


async def test_another_folder_is_another_job(safelight: Safelight, desk: FrontDesk, order: str) -> None:
    await safelight("generate", order, "-o", "out", url=desk.base_url)
    await safelight("generate", order, "-o", "elsewhere", url=desk.base_url)
    assert len(desk.keys) == 2


async def test_a_changed_file_is_another_job_and_the_same_job_in_another_form_is_not(
    safelight: Safelight, desk: FrontDesk, order: str, tmp_path: Path
) -> None:
    await safelight("generate", order, "-o", "out", url=desk.base_url)
    (tmp_path / "case.toml").write_text('[[images]]\nprompt = "A brass key"\nid = "ev-1"\n')
    await safelight("generate", "case.toml", "-o", "out", url=desk.base_url)
    (tmp_path / "case.csv").write_text("id,prompt,seed\nev-1,A brass key,\n")
    await safelight("generate", "case.csv", "-o", "out", url=desk.base_url)
    assert len(desk.keys) == 1
    (tmp_path / "case.csv").write_text("id,prompt,seed\nev-1,A bent brass key,\n")
    await safelight("generate", "case.csv", "-o", "out", url=desk.base_url)
    assert len(desk.keys) == 2


async def test_what_the_service_refuses_of_a_csv_file_is_said_with_its_line(
    safelight: Safelight, desk: FrontDesk, tmp_path: Path
) -> None:
    (tmp_path / "cards.csv").write_text('id,prompt,aspect_ratio\na,"one\ntwo",1:1\nb,three,17:4\n')
    fault = {"pointer": "/images/1/aspect_ratio", "detail": "The model does not have `17:4`."}
    desk.failures.append(problem(422, "unsupported-size", "The order cannot be accepted.", errors=[fault]))
    said = await safelight("generate", "cards.csv", "-o", "out", url=desk.base_url)
    assert said.code == 1
    assert said.err == ("safelight: The order cannot be accepted. cards.csv:4: The model does not have `17:4`.\n")


async def test_a_partial_job_exits_with_3_and_is_retried_by_the_next_run(
    safelight: Safelight, desk: FrontDesk, order: str, tmp_path: Path
) -> None:
    desk.script["evidence", "ev-1"] = "refused"
    first = await safelight("generate", order, "-o", "out", url=desk.base_url)
    assert first.code == 3
    assert "refused evidence/ev-1 - SAFETY IMAGE_SAFETY: It [said] no." in first.out
    second = await safelight("generate", order, "-o", "out", url=desk.base_url)
    assert second.code == 0
    assert desk.asked["retry"] == 1
    assert (tmp_path / "out/evidence/ev-1.jpg").is_file()


async def test_a_job_without_any_picture_exits_with_1(safelight: Safelight, desk: FrontDesk, order: str) -> None:
    desk.script = {("evidence", "ev-1"): "failed"}
    assert (await safelight("generate", order, "-o", "out", url=desk.base_url)).code == 1


async def test_a_damaged_picture_is_not_written(
    safelight: Safelight, desk: FrontDesk, order: str, tmp_path: Path
) -> None:
    desk.damages = True
    said = await safelight("generate", order, "-o", "out", url=desk.base_url)
    assert said.code == 1
    assert "arrived damaged" in said.err
    assert not list((tmp_path / "out").rglob("*.*"))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("case.txt", "", "its name has to end in one of .json, .toml, .csv"),
        ("case.json", "{", "case.json:1: not JSON"),
        ("case.toml", "x", "case.toml:1: not TOML"),
        ("case.csv", "id,promt", "case.csv:1: unknown column `promt`"),
        ("case.json", "[]", "holds no object"),
        ("missing.json", None, "No such file"),
    ],
)
async def test_a_file_that_is_no_job_is_refused_before_anything_starts(
    safelight: Safelight, tmp_path: Path, name: str, content: str | None, why: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    said = await safelight("generate", name, "-o", "out")
    assert said.code == 1
    assert why in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "home").exists()


async def test_an_address_asked_for_by_name_is_never_replaced_by_a_private_service(
    safelight: Safelight, environment: dict[str, str], order: str, tmp_path: Path
) -> None:
    said = await safelight("generate", order, "-o", "out", "--url", environment["SAFELIGHT_URL"])
    assert said.code == 1
    assert "nothing answers" in said.err
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_leaves_the_job_running_and_says_how_to_go_on(
    desk: FrontDesk, environment: dict[str, str], order: str, tmp_path: Path, number: signal.Signals
) -> None:
    desk.holds_after = 1
    process = await start(
        *("generate", order, "-o", "out"),
        cwd=tmp_path,
        env=environment | {"SAFELIGHT_URL": desk.base_url},
        stdout=PIPE,
        stderr=PIPE,
    )
    async with asyncio.timeout(30):
        await desk.looked.wait()
        process.send_signal(number)
        _, err = await process.communicate()
    assert process.returncode == 130
    assert b"run the same command again to go on" in err
    assert b"Traceback" not in err
    assert desk.asked["cancel"] == 0


async def test_a_list_and_a_job_are_tables_or_json(safelight: Safelight, desk: FrontDesk) -> None:
    table, listed, shown, detail = await asyncio.gather(
        safelight("jobs", "list", url=desk.base_url),
        safelight("jobs", "list", "--json", "--status", "failed", "--limit", "5", url=desk.base_url),
        safelight("jobs", "show", JOB_ID, url=desk.base_url),
        safelight("jobs", "show", JOB_ID, "--json", url=desk.base_url),
    )
    assert JOB_ID in table.out
    assert json.loads(listed.out)["asked"] == {"status": "failed", "limit": "5"}
    assert "loc-1" in shown.out
    assert json.loads(detail.out)["id"] == JOB_ID


async def test_a_terminal_of_eighty_columns_shows_a_jobs_id_whole(
    safelight: Safelight, desk: FrontDesk, environment: dict[str, str]
) -> None:
    environment["COLUMNS"] = "80"
    said = await safelight("jobs", "list", url=desk.base_url)
    assert said.out.splitlines()[1].split() == [JOB_ID, "generating", "1", "0/3", "2026-11-20T20:00:00Z"]


async def test_vendor_text_in_brackets_is_shown_as_it_is(safelight: Safelight, desk: FrontDesk) -> None:
    desk.script = {("evidence", "ev-1"): "refused"}
    assert "It [said] no." in (await safelight("jobs", "show", JOB_ID, url=desk.base_url)).out


async def test_watch_and_download_follow_a_job_that_somebody_else_submitted(
    safelight: Safelight, desk: FrontDesk, tmp_path: Path
) -> None:
    desk.script["evidence", "ev-2"] = "failed"
    watched = await safelight("jobs", "watch", JOB_ID, url=desk.base_url)
    assert watched.code == 3
    assert watched.out.splitlines()[-1].startswith("2/3 completed")
    downloaded = await safelight("jobs", "download", JOB_ID, "-o", "got", url=desk.base_url)
    assert (downloaded.code, downloaded.out) == (3, "2/3 pictures in got\n")
    assert (tmp_path / "got/locations/loc-1.jpg").read_bytes() == jpeg("loc-1")


async def test_cancel_and_retry_say_where_the_job_stands(safelight: Safelight, desk: FrontDesk) -> None:
    canceled = await safelight("jobs", "cancel", JOB_ID, "--abort", url=desk.base_url)
    assert canceled.out == f"{JOB_ID} generating: Generating images… 0/3\n"
    retried = await safelight("jobs", "retry", JOB_ID, "--only", "failed", url=desk.base_url)
    assert retried.out == f"{JOB_ID} generating, run 2: Generating images… 0/3\n"
    desk.ended = 3
    refused = await safelight("jobs", "cancel", JOB_ID, url=desk.base_url)
    assert (refused.code, refused.err) == (1, "safelight: The job has ended as completed.\n")


async def test_a_sandbox_with_options_that_make_no_sense_does_not_start(safelight: Safelight) -> None:
    slow, faulty = await asyncio.gather(
        safelight("sandbox", "--latency", "slow"), safelight("sandbox", "--fault-rate", "429=7")
    )
    assert slow.code == faulty.code == 1
    assert "use `0.05` or `p50=2,p95=6`" in slow.err
    assert "each is 0 to 1" in faulty.err


async def test_live_asks_for_a_model_and_a_key_before_anything_is_bought(safelight: Safelight) -> None:
    nameless, keyless, pointless, lossy = await asyncio.gather(
        safelight("demo", "--live"),
        safelight("demo", "--live", "--model", "gemini-3.1-flash-lite-image", "--yes"),
        safelight("demo", "--model", "gemini-3.1-flash-lite-image"),
        safelight("demo", "--kill-worker", "--live", "--yes", "--model", "gemini-3.1-flash-lite-image"),
    )
    assert "--live needs --model" in nameless.err
    assert "GEMINI_API_KEY" in keyless.err
    assert "--model is for --live" in pointless.err
    assert lossy.code == 1
    assert os.linesep in lossy.err
