"""The game, Safelight and the vendor, each as a process of its own, in good days and bad ones."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from standardwebhooks import Webhook

from examples.armchair_sleuths.case import id_of_request, written_story
from tests.e2e.conftest import StartApp
from tests.e2e.service import Program, Service, eventually
from tests.e2e.stories import STORIES

ENDED = ("completed", "partial", "failed", "canceled")
SITE = "https://play.example"


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stories")
    for name, story in STORIES.items():
        (folder / f"{name}.json").write_text(json.dumps(story))
    return folder


@pytest.fixture(scope="module")
def environment(stories: Path) -> dict[str, str]:
    """Without sweeps: whatever the game knows, it was told by webhooks."""
    return {"CASES": str(stories), "DAILY": "false", "SWEEP_SECONDS": "0", "CORS_ORIGINS": SITE}


@pytest.fixture(scope="module")
def shared_game(start_app: StartApp, environment: dict[str, str]) -> Program:
    return start_app("armchair_sleuths", **environment)


@pytest.fixture
def game(shared_game: Program) -> Iterator[Program]:
    yield shared_game
    if shared_game.process is None:
        shared_game.start()


@pytest.fixture
def held(service: Service) -> Iterator[Service]:
    """Nothing is bought until the queue is resumed."""
    service.http.post("/v1/queue/pause").raise_for_status()
    yield service
    service.http.post("/v1/queue/resume").raise_for_status()


def test_case_is_answered_at_once_and_its_pictures_come_in(game: Program, service: Service, stories: Path) -> None:
    case = _create(game, "plain", stories)
    assert "solution" not in case
    assert case["locations"][0]["imageUrl"] is None

    status = _ended(game, case["id"])

    assert status["status"] == "completed"
    assert status["progress"] == {"current": 4, "total": 4}
    assert status["errors"] == []
    assert status["startedAt"] < status["completedAt"]
    case = game.http.get(f"/api/case/{case['id']}").json()
    assert case["locations"][0]["imageUrl"] == status["images"]["locations"][0]
    assert case["suspects"][0]["profileImageUrl"] == status["images"]["suspects"][0]
    assert [each["imageUrl"] for each in case["evidence"]] == status["images"]["evidence"]
    job = json.loads(_kept(game, f"case:{case['id']}:image-job")[0])
    assert (job["jobId"], job["state"]) == (_job(service, case["id"])["id"], "completed")
    assert _kept(game, f"case:{case['id']}:image-status") == ("ready", None)
    kept, seconds_left = _kept(game, f"image-generation-status:{case['id']}")
    assert json.loads(kept) == status
    assert seconds_left is not None
    assert 6.9 < seconds_left / 86_400 <= 7
    picture = httpx2.get(case["evidence"][1]["imageUrl"], trust_env=False)
    assert picture.headers["content-type"] == "image/jpeg"
    page = game.http.get(f"/cases/{case['id']}")
    assert case["suspects"][0]["profileImageUrl"] in page.text
    assert STORIES["plain"]["solution"] not in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_what_has_no_picture_is_told_and_a_moderator_has_it_tried_again(game: Program, stories: Path) -> None:
    case = _create(game, "flawed", stories)
    status = _ended(game, case["id"])

    assert status["status"] == "partial"
    assert status["progress"] == {"current": 10, "total": 14}
    assert [(each["type"], each["index"]) for each in status["errors"]] == [("evidence", n) for n in (0, 2, 3, 4)]
    assert all(each["message"] for each in status["errors"])
    assert [index for index, url in enumerate(status["images"]["evidence"]) if url is None] == [0, 2, 3, 4]
    assert _kept(game, f"case:{case['id']}:image-status")[0] == "partial"
    kept = status["images"]["locations"][0]

    assert game.http.post("/api/moderator/generate-images", json={"caseId": case["id"]}).status_code == 202
    status = _ended(game, case["id"])

    assert (status["status"], status["errors"]) == ("completed", [])
    assert status["progress"] == {"current": 14, "total": 14}
    assert status["images"]["locations"][0] == kept


@pytest.mark.slow
def test_every_picture_fails_when_the_vendor_takes_no_key(
    start_app: StartApp, environment: dict[str, str], stories: Path
) -> None:
    game = start_app("armchair_sleuths", **environment, IMAGE_PROVIDER="locked-out")

    case = _create(game, "plain", stories)
    status = _ended(game, case["id"])

    assert status["status"] == "failed"
    assert status["progress"] == {"current": 0, "total": 4}
    assert len(status["errors"]) == 4
    assert case["evidence"][0]["imageUrl"] is None


@pytest.mark.slow
def test_what_was_told_while_the_game_was_away_is_told_again(game: Program, held: Service, stories: Path) -> None:
    case = _create(game, "plain", stories)
    job = _job(held, case["id"])
    game.stop()
    held.http.post("/v1/queue/resume")
    eventually(lambda: held.http.get(f"/v1/jobs/{job['id']}").json()["status"] == "completed")
    eventually(lambda: _deliveries(held, job["id"])[-1]["attempt_count"] > 0, what="a message that nobody took")

    game.start()

    assert _ended(game, case["id"])["status"] == "completed"


def test_case_whose_game_died_before_it_ordered_gets_its_pictures(
    start_app: StartApp, environment: dict[str, str], service: Service, stories: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        game = start_app("armchair_sleuths", **environment, SAFELIGHT_URL=url)
        case = _create(game, "plain", stories, key="died")  # is answered, although Safelight never answers
        assert game.http.get(f"/api/image-status/{case['id']}").json()["status"] == "pending"
        game.kill()
    assert _jobs(service, case["id"]) == []

    game.start(SAFELIGHT_URL=service.url, SWEEP_SECONDS="60", DAILY="true")

    assert _ended(game, case["id"])["status"] == "completed"
    daily = eventually(lambda: _daily(game), what="the case that the game makes by itself each day")
    assert _ended(game, daily["id"])["status"] in ("completed", "partial")
    assert len(_jobs(service, case["id"])) == 1
    assert game.http.get(f"/api/case/{case['id']}").json()["locations"][0]["imageUrl"]


@pytest.mark.slow
def test_game_that_died_before_it_heard_of_its_job_is_told_of_it(
    start_app: StartApp, environment: dict[str, str], held: Service, stories: Path
) -> None:
    with _deaf_relay(held) as url:
        game = start_app("armchair_sleuths", **environment, SAFELIGHT_URL=url)
        case = _create(game, "plain", stories, key="unheard")
        job = _job(held, case["id"])
        game.kill()

    game.start(SAFELIGHT_URL=held.url)  # without sweeps: only what it is told counts
    assert game.http.get(f"/api/image-status/{case['id']}").json()["status"] == "pending"
    held.http.post("/v1/queue/resume")

    assert _ended(game, case["id"])["status"] == "completed"
    assert [each["id"] for each in _jobs(held, case["id"])] == [job["id"]]


@pytest.mark.slow
def test_what_was_canceled_before_the_game_heard_of_its_job_is_canceled_at_safelight_too(
    start_app: StartApp, environment: dict[str, str], held: Service, stories: Path
) -> None:
    with _deaf_relay(held) as url:
        game = start_app("armchair_sleuths", **environment, SAFELIGHT_URL=url)
        case = _create(game, "plain", stories, key="unwanted")
        job = _job(held, case["id"])
        answer = game.http.post("/api/moderator/cancel-images", json={"caseId": case["id"]})
        assert answer.status_code == 202
        assert answer.json()["status"] == "pending", "nobody knows yet"
        game.kill()
    bought = len(held.sandbox.vendor.calls)

    game.start(SAFELIGHT_URL=held.url, SWEEP_SECONDS="60")

    assert _ended(game, case["id"])["status"] == "canceled"
    held.http.post("/v1/queue/resume").raise_for_status()
    assert held.http.get(f"/v1/jobs/{job['id']}").json()["status"] == "canceled"
    assert len(held.sandbox.vendor.calls) == bought


@pytest.mark.slow
def test_ten_cases_at_once_lose_no_picture_and_buy_none_twice(game: Program, service: Service, stories: Path) -> None:
    bought = len(service.sandbox.vendor.calls)
    together = threading.Barrier(10)

    def create(n: int) -> str:
        together.wait()
        return _create(game, "plain", stories, key=f"ten {n}")["id"]

    with ThreadPoolExecutor(10) as threads:
        made = set(threads.map(create, range(10)))

    assert len(made) == 10
    for case_id in made:
        status = _ended(game, case_id)
        assert status["status"] == "completed", status
        assert None not in [url for urls in status["images"].values() for url in urls]
    assert len(service.sandbox.vendor.calls) - bought == 40


def test_case_that_is_sent_twice_is_one_case_with_one_job(game: Program, service: Service, stories: Path) -> None:
    together = threading.Barrier(4)

    def create(_: int) -> str:
        together.wait()
        return _create(game, "plain", stories, key="twice")["id"]

    with ThreadPoolExecutor(4) as threads:
        ids = set(threads.map(create, range(4)))

    (case_id,) = ids
    assert game.http.post("/api/moderator/generate-images", json={"caseId": case_id}).status_code == 202
    assert _ended(game, case_id)["status"] == "completed"
    assert len(_jobs(service, case_id)) == 1


@pytest.mark.slow
def test_moderator_cancels_and_changes_their_mind(game: Program, held: Service, stories: Path) -> None:
    case = _create(game, "plain", stories, key="canceled")
    _job(held, case["id"])

    answer = game.http.post("/api/moderator/cancel-images", json={"caseId": case["id"]})

    assert answer.status_code == 202
    status = _ended(game, case["id"])
    assert status["status"] == "canceled"
    assert len(status["errors"]) == 4
    again = game.http.post("/api/moderator/cancel-images", json={"caseId": case["id"]})
    assert again.status_code in (202, 409)

    held.http.post("/v1/queue/resume")
    assert game.http.post("/api/moderator/generate-images").json()["caseId"] == case["id"]  # it is the latest
    status = _ended(game, case["id"])
    assert (status["status"], status["errors"]) == ("completed", [])


def test_day_has_one_case_however_often_the_clock_strikes(game: Program) -> None:
    today = datetime.now(UTC).date().isoformat()
    first, second = (game.http.post("/api/cron/daily-case") for _ in range(2))

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"] == f"case-{today}"
    assert game.http.get("/api/case/daily").json()["date"] == today
    assert first.json()["title"] in game.http.get("/").text


def test_webhook_believes_only_what_is_signed_and_of_this_case_and_new(
    game: Program, service: Service, stories: Path
) -> None:
    case = _create(game, "plain", stories, key="told")
    before = _ended(game, case["id"])
    job = _job(service, case["id"])
    late = {"job_id": job["id"], "seq": 1, "image_id": "evidence-0", "error": {"message": "old news"}}

    assert _told(game, case["id"], "image.failed", late, secret=service.webhook_secret) == 204
    beyond = late | {"seq": 10_000, "image_id": "evidence-99", "image_url": "http://127.0.0.1/x"}
    assert _told(game, case["id"], "image.completed", beyond, secret=service.webhook_secret) == 204
    foreign = late | {"seq": 10_000, "job_id": "job_another"}
    assert _told(game, case["id"], "image.failed", foreign, secret=service.webhook_secret) == 404
    assert _told(game, case["id"], "image.failed", late | {"seq": 10_000}, secret="whsec_Zm9yZ2VkZm9yZ2Vk") == 401
    assert _told(game, "case-nobodys", "image.failed", late, secret=service.webhook_secret) == 404
    assert game.http.get(f"/api/image-status/{case['id']}").json() == before


def test_pages_of_named_sites_may_ask_and_bad_requests_are_the_callers_fault(game: Program) -> None:
    for origin, allowed in ((SITE, SITE), ("https://other.example", None)):
        answer = game.http.get("/api/case/daily", headers={"Origin": origin})
        assert answer.headers.get("access-control-allow-origin") == allowed
    for path in ("case/create", "cron/daily-case", "moderator/generate-images", "moderator/cancel-images"):
        answer = game.http.post(f"/api/{path}", headers={"Origin": "https://other.example"})
        assert answer.status_code == 403, path
    assert game.http.get("/api/case/case-none").status_code == 404
    assert game.http.get("/api/image-status/%2e%2e").status_code in (404, 422)
    assert game.http.post("/api/moderator/cancel-images", json={"case": 1}).status_code == 422


@contextmanager
def _deaf_relay(service: Service) -> Iterator[str]:
    """An address that passes submits on to the service, and never what it answers."""
    over = threading.Event()

    class Relay(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept = {name: self.headers[name] for name in ("content-type", "idempotency-key")}
            service.http.post(self.path, content=body, headers=kept)
            over.wait()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's word
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Relay) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            over.set()
            server.shutdown()
            thread.join()


def _create(game: Program, story: str, stories: Path, *, key: str | None = None) -> dict[str, Any]:
    """A new case of that story: the key decides which of the stories it is."""
    tries = (f"{key or time.monotonic_ns()} {n}" for n in range(1000))
    key = next(k for k in tries if written_story(stories, case_id=id_of_request(k)).title == story)
    answer = game.http.post("/api/case/create", headers={"Idempotency-Key": key})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def _ended(game: Program, case_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        status = game.http.get(f"/api/image-status/{case_id}").json()
        return status if status["status"] in ENDED else None

    return eventually(look, what=f"the pictures of {case_id}", seconds=60)


def _kept(game: Program, key: str) -> tuple[str, float | None]:
    """What the game's own store has there, and for how many seconds more."""
    with closing(sqlite3.connect(Path(game.environment["DATA_DIR"]) / "sleuths.sqlite3")) as db:
        value, expires_at = db.execute("SELECT value, expires_at FROM entries WHERE key = ?", (key,)).fetchone()
    return value, None if expires_at is None else expires_at - time.time()


def _daily(game: Program) -> dict[str, Any] | None:
    answer = game.http.get("/api/case/daily")
    return answer.json() if answer.status_code == 200 else None


def _jobs(service: Service, case_id: str) -> list[dict[str, Any]]:
    return service.http.get("/v1/jobs", params={"metadata.case_id": case_id}).json()["jobs"]


def _job(service: Service, case_id: str) -> dict[str, Any]:
    """The case's only job, once it is ordered."""
    (job,) = eventually(lambda: _jobs(service, case_id), what=f"the job of {case_id}")
    return job


def _deliveries(service: Service, job_id: str) -> list[dict[str, Any]]:
    return service.http.get("/v1/webhooks/deliveries", params={"job_id": job_id}).json()["deliveries"]


def _told(game: Program, case_id: str, kind: str, data: dict[str, Any], *, secret: str) -> int:
    now = datetime.now(UTC)
    body = json.dumps({"type": kind, "timestamp": now.isoformat(), "data": data})
    headers = {
        "webhook-id": "msg_forged",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_forged", now, body),
    }
    return game.http.post(
        "/api/webhook/image-progress", params={"case": case_id}, content=body, headers=headers
    ).status_code
