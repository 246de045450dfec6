"""The storyboard app, end to end: its clients, the app and Safelight are processes, and the vendors a socket."""

from __future__ import annotations

import hashlib
import html
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.e2e.conftest import StartApp
from tests.e2e.service import Program, Service, eventually

SHOT = {"project_id": "1", "branch_id": "main", "scene_id": "3", "shot_id": "4"}
REFUSED_ONCE = "[[sandbox: refuse IMAGE_SAFETY x1]]"


@pytest.fixture(scope="module")
def app(start_app: StartApp) -> Program:
    # So that on a busy machine, too, what Safelight refuses is refused at once.
    return start_app("storyboard", SWEEP_SECONDS="0.5", ANSWER_SECONDS="3")


@pytest.fixture
def held(service: Service) -> Iterator[None]:
    """No vendor answers for as long as the test runs, unless it says `release`."""
    _control(service, "hold")
    yield
    _control(service, "release")


def test_a_start_frame_is_promised_before_any_picture_is_made_and_lies_where_the_project_says(
    app: Program, service: Service, held: None
) -> None:
    promised = ordered(app, **frame("start_frame", "A woman in a green coat opens a door"))
    assert (promised["public_url"], promised["is_final"]) == (None, False)
    eventually(lambda: seen(app, promised)["status"] == "generating", what="a call")

    _control(service, "release")
    job = completed(app, promised)
    assert (job["attempt_count"], job["retry_count"], job["failure_stage"], job["error"]) == (1, 0, None, None)
    assert float(job["estimated_cost"]) > 0
    assert _picture(job["public_url"]).format == "PNG", "it loads, with no key and from no matter where"
    [stored] = _stored(service, job["storage_folder"], "*.png")
    assert stored.parent == _blobs(service) / "project_1/branch_main/scene_3/shot_4"
    assert stored.name.startswith("start_frame_1.")


def test_master_assets_lie_beside_each_other_in_their_branch_and_wear_the_capsule_of_their_style(
    app: Program, service: Service
) -> None:
    words = {"prefix": "A still from a film of 1974, grain and teal shadows."}
    assert app.http.put("/api/styles/teal-dusk", json=words).status_code == 200
    assert "teal-dusk" in [each["name"] for each in app.http.get("/api/styles").json()["styles"]]

    asked = {"job_type": "master_asset", "project_id": "1", "branch_id": "main", "style": "teal-dusk"}
    job = completed(app, ordered(app, **asked, prompts=["Ada Vane", "The library"], n=2))
    assert [each["id"] for each in job["images"]] == [f"master_asset_{n}" for n in (1, 2, 3, 4)]
    assert len(_stored(service, "project_1/branch_main/master-assets", "master_asset_*.png")) == 4
    assert _calls(service, f"{words['prefix']}\nAda Vane") == 2, "the vendor was asked in the capsule's words"
    [listed] = app.http.get("/api/projects/1/branches/main/master-assets").json()["jobs"]
    assert listed["job_id"] == job["job_id"]


def test_an_end_frame_is_made_from_the_start_frame_of_its_own_job(app: Program, service: Service, held: None) -> None:
    start, end = "A closed door at night", "The same door, open, and fire behind it"
    promised = ordered(app, **frame("end_frame", end, shot_id="5", start_frame={"prompt": start}))
    _in_flight(service, 1)
    assert (_calls(service, start), _calls(service, end)) == (1, 0), "the end waits for the start"

    _control(service, "release")
    job = completed(app, promised)
    assert [each["id"] for each in job["images"]] == ["start_frame_1", "end_frame_1"]
    assert len(_call(service, end).references_sha256) == 1
    assert {each.name.split(".")[0] for each in _stored(service, job["storage_folder"], "*.png")} == {
        "start_frame_1",
        "end_frame_1",
    }


@pytest.mark.slow
def test_an_end_frame_is_made_from_the_picture_of_an_earlier_job_which_has_to_be_there(
    app: Program, service: Service, held: None
) -> None:
    start = ordered(app, **frame("start_frame", "A ship in fog", shot_id="6"))
    wanted = frame("end_frame", "The ship is gone", shot_id="6", start_frame={"source": {"job_id": start["job_id"]}})
    early = app.http.post("/api/images/generate", json=wanted)
    assert (early.status_code, early.json()["code"]) == (409, "picture-not-ready")

    _control(service, "release")
    picture = _bytes(completed(app, start)["public_url"])
    completed(app, ordered(app, **wanted))
    [reference] = _call(service, "The ship is gone").references_sha256
    assert reference == hashlib.sha256(picture).hexdigest(), "a PNG comes through an upload as it is"


def test_a_mask_says_where_a_picture_may_be_changed(app: Program, service: Service) -> None:
    start = completed(app, ordered(app, **frame("start_frame", "A desk with a lamp", shot_id="7")))
    picture = _picture(start["public_url"])
    mask = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 64, 64))
    upload = app.http.post("/api/images/uploads", files={"file": ("mask.png", _png(mask))}).json()
    assert upload["can_be_mask"]

    edit = frame("inpaint", "No lamp on it", shot_id="7", source={"job_id": start["job_id"]})
    job = completed(app, ordered(app, **edit, mask={"upload": upload["upload"]}))
    call = _call(service, "No lamp on it")
    assert (call.vendor, len(call.references_sha256)) == ("openai", 1)
    assert call.mask_sha256 is not None
    assert len(_stored(service, job["storage_folder"], "inpaint_1.*.png")) == 1


def test_variations_that_are_refused_leave_the_others(app: Program) -> None:
    prompts = [*(f"Crowd {n} {REFUSED_ONCE}" for n in range(4)), *(f"Crowd {n}" for n in range(4, 7))]
    promised = ordered(app, **frame("start_frame", "", shot_id="8", n=2) | {"prompts": prompts})
    job = final(app, promised)
    assert (job["status"], job["safelight_status"], job["is_partial"]) == ("completed", "partial", True)
    assert sorted(each["status"] for each in job["images"]) == ["completed"] * 10 + ["failed"] * 4
    assert (job["error"]["code"], job["failure_stage"]) == ("refused", "generating")
    assert _picture(job["public_url"]).format == "PNG"

    again = app.http.post(f"/api/images/jobs/{job['job_id']}/retry").json()
    assert again["job_id"] == job["job_id"]
    healed = completed(app, again)
    assert (healed["is_partial"], healed["retry_count"], healed["attempt_count"]) == (False, 1, 18)


@pytest.mark.slow
def test_a_key_that_the_vendor_does_not_take_fails_the_job_and_says_so(app: Program) -> None:
    job = final(app, ordered(app, **frame("start_frame", "A tower", shot_id="9", provider="locked-out")))
    assert (job["status"], job["public_url"], job["failure_stage"]) == ("failed", None, "generating")
    assert (job["error"]["code"], job["error"]["kind"], job["error"]["billed"]) == ("failed", "AUTH_ERROR", "no")


@pytest.mark.slow
def test_ten_requests_at_once_are_ten_jobs_with_a_picture_each(app: Program, service: Service) -> None:
    prompts = [f"Extra number {n}" for n in range(10)]
    with ThreadPoolExecutor(10) as clients:
        promised = list(
            clients.map(lambda n: ordered(app, **frame("start_frame", prompts[n], shot_id=f"x{n}")), range(10))
        )
    assert len({completed(app, each)["public_url"] for each in promised}) == 10
    assert [_calls(service, prompt) for prompt in prompts] == [1] * 10


def test_the_same_request_under_the_same_key_is_one_job_and_one_purchase(app: Program, service: Service) -> None:
    asked = frame("start_frame", "A duplicate", shot_id="10")
    with ThreadPoolExecutor(4) as clients:
        jobs = list(clients.map(lambda _: ordered(app, "twice", **asked), range(4)))
    [job_id] = {each["job_id"] for each in jobs}
    completed(app, jobs[0])

    later = app.http.post("/api/images/generate", json={**asked, "idempotency_key": "twice"})
    assert (later.json()["job_id"], later.headers["idempotency-replayed"]) == (job_id, "true")
    assert _calls(service, "A duplicate") == 1
    other = app.http.post("/api/images/generate", json={**asked, "n": 2}, headers={"idempotency-key": "twice"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency-key-reused")


def test_a_canceled_job_ends_and_can_be_tried_again(app: Program, service: Service, held: None) -> None:
    promised = ordered(app, **frame("start_frame", "A field", shot_id="11", n=2))
    _in_flight(service, 2)
    cancel = f"/api/images/jobs/{promised['job_id']}/cancel"
    assert app.http.post(cancel, headers={"origin": "https://elsewhere.example"}).status_code == 403
    assert app.http.post(cancel, headers={"origin": app.url}).status_code == 200
    _control(service, "release")
    job = final(app, promised)
    assert (job["status"], job["safelight_status"], job["error"]["code"]) == ("failed", "canceled", "canceled")

    completed(app, app.http.post(f"/api/images/jobs/{job['job_id']}/retry").json())
    assert _calls(service, "A field") == 2, "what was sent before the cancel was kept, and not bought again"


def test_what_safelight_refuses_is_refused_and_nothing_is_promised(app: Program) -> None:
    nobody = frame("start_frame", "A hill", shot_id="12", style="nobody-has-this")
    refused = app.http.post("/api/images/generate", json=nobody, headers={"idempotency-key": "hill"})
    assert refused.status_code == 422
    assert refused.json()["faults"]
    assert _jobs_of(app, "12") == []
    completed(app, ordered(app, "hill", **frame("start_frame", "A hill", shot_id="12")))


def test_news_reach_the_copy_by_webhook_and_only_if_they_are_signed(
    app: Program, service: Service, start_app: StartApp
) -> None:
    deaf = start_app("storyboard", FRESH_SECONDS="3600", SWEEP_SECONDS="3600")
    promised = ordered(deaf, **frame("start_frame", "A river", shot_id="13"))
    assert completed(deaf, promised)["images"], "it asks nobody for an hour, and was told"

    forged = {"type": "job.failed", "data": {"job_id": promised["safelight_job_id"], "seq": 99}}
    assert deaf.http.post("/api/webhooks/safelight", json=forged).status_code == 401
    heads = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    assert deaf.http.post("/api/webhooks/safelight", json=forged, headers=heads).status_code == 401
    deaf.stop()


@pytest.mark.slow
def test_an_app_that_was_down_learns_what_it_missed_and_takes_the_messages_that_come_again(
    app: Program, service: Service, held: None
) -> None:
    promised = ordered(app, **frame("start_frame", "A lighthouse", shot_id="14"))
    safelight_id = eventually(lambda: seen(app, promised)["safelight_job_id"])
    _in_flight(service, 1)
    app.kill()
    _control(service, "release")
    failing = f"/v1/webhooks/deliveries?job_id={safelight_id}&status=pending"
    eventually(
        lambda: any(each["attempt_count"] for each in service.http.get(failing).json()["deliveries"]),
        what="a message that nobody took",
    )

    app.start()
    completed(app, promised)
    eventually(lambda: not service.http.get(failing).json()["deliveries"], what="the messages again")


def test_a_job_whose_answer_never_came_is_sent_again_after_a_kill_and_bought_once(
    app: Program, service: Service
) -> None:
    asked = frame("start_frame", "A frozen lake", shot_id="15")
    app.stop()
    with _one_way_line(service) as line:
        app.start(SAFELIGHT_URL=line.url, ANSWER_SECONDS="0.2")
        promised = ordered(app, "frozen", **asked)
        assert (promised["status"], promised["safelight_job_id"]) == ("queued", None)
        assert line.has_arrived.wait(30)
        app.kill()

    app.start()
    completed(app, promised)
    assert ordered(app, "frozen", **asked)["job_id"] == promised["job_id"]
    of_ours = f"/v1/jobs?metadata.storyboard_job={promised['job_id']}"
    assert len(service.http.get(of_ours).json()["jobs"]) == 1
    assert _calls(service, "A frozen lake") == 1


@pytest.mark.slow
def test_while_safelight_is_gone_jobs_are_promised_and_shown_and_outlive_a_kill_of_the_app(
    app: Program, service: Service
) -> None:
    before = completed(app, ordered(app, **frame("start_frame", "Before the storm", shot_id="16")))
    service.kill()
    try:
        promised = ordered(app, **frame("start_frame", "After the storm", shot_id="17"))
        cancel = app.http.post(f"/api/images/jobs/{promised['job_id']}/cancel")
        assert cancel.status_code == 503, "it may have arrived, so nobody can say that it will not be made"
        app.kill()
        app.start()
        assert seen(app, promised)["status"] == "queued"
        assert seen(app, before)["public_url"] == before["public_url"]
    finally:
        service.start()
    completed(app, promised)
    assert _calls(service, "After the storm") == 1


def test_the_page_shows_start_and_end_frames_of_every_shot(app: Program, service: Service, held: None) -> None:
    place = {"project_id": "2", "branch_id": "b", "scene_id": "s"}
    prompts = {"prompts": ["The end"], "start_frame": {"prompt": "The start"}}
    ordered(app, job_type="end_frame", **place, shot_id="10", **prompts)
    job = ordered(app, job_type="end_frame", **place, shot_id="9", **prompts)
    _in_flight(service, 2)
    eventually(lambda: "badge generating" in _page(app), what="a frame that is being made")

    _control(service, "release")
    images = {each["id"]: each for each in completed(app, job)["images"]}
    page = _page(app)
    assert page.index("Shot 9") < page.index("Shot 10")
    for image in images.values():
        assert image["thumbnail_url"] in page
    assert "/projects/2/branches/b/scenes/s" in app.http.get("/").text


def frame(job_type: str, prompt: str, **more: Any) -> dict[str, Any]:
    return {"job_type": job_type, "prompts": [prompt], **SHOT, **more}


def ordered(app: Program, key: str | None = None, /, **asked: Any) -> dict[str, Any]:
    headers = {"idempotency-key": key} if key is not None else {}
    answer = httpx2.post(f"{app.url}/api/images/generate", json=asked, headers=headers, timeout=30, trust_env=False)
    assert answer.status_code == 202, answer.text
    return answer.json()


def seen(app: Program, job: dict[str, Any]) -> dict[str, Any]:
    return app.http.get(f"/api/images/jobs/{job['job_id']}").json()


def final(app: Program, job: dict[str, Any]) -> dict[str, Any]:
    return eventually(lambda: now if (now := seen(app, job))["is_final"] else None, what="the job's end", seconds=60)


def completed(app: Program, job: dict[str, Any]) -> dict[str, Any]:
    ended = final(app, job)
    assert (ended["status"], ended["is_partial"]) == ("completed", False), ended
    return ended


def _jobs_of(app: Program, shot: str) -> list[dict[str, Any]]:
    return app.http.get(f"/api/projects/1/branches/main/scenes/3/shots/{shot}/jobs").json()["jobs"]


def _page(app: Program) -> str:
    answer = app.http.get("/projects/2/branches/b/scenes/s").raise_for_status()
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    return html.unescape(answer.text)


def _control(service: Service, word: str) -> None:
    httpx2.post(f"{service.sandbox.base_url}/control/{word}", trust_env=False).raise_for_status()


def _in_flight(service: Service, calls: int) -> None:
    eventually(lambda: service.sandbox.vendor.in_flight == calls, what=f"{calls} calls in flight")


def _calls(service: Service, prompt: str) -> int:
    return len(_calls_of(service, prompt))


def _call(service: Service, prompt: str) -> Any:
    [call] = _calls_of(service, prompt)
    return call


def _calls_of(service: Service, prompt: str) -> list[Any]:
    sha256 = hashlib.sha256(prompt.encode()).hexdigest()
    return [call for call in list(service.sandbox.vendor.calls) if call.prompt_sha256 == sha256]


def _stored(service: Service, folder: str, pattern: str) -> list[Path]:
    return sorted((_blobs(service) / folder).glob(pattern))


def _blobs(service: Service) -> Path:
    return Path(service.environment["SAFELIGHT_HOME"]) / "blobs"


@dataclass(kw_only=True)
class OneWayLine:
    """A way to Safelight that carries what is posted, and no answer."""

    url: str = ""
    has_arrived: Event = field(default_factory=Event)
    is_closing: Event = field(default_factory=Event)


@contextmanager
def _one_way_line(service: Service) -> Iterator[OneWayLine]:
    line = OneWayLine()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            heads = {name: self.headers[name] for name in ("content-type", "idempotency-key")}
            service.http.post(self.path, content=body, headers=heads).raise_for_status()
            line.has_arrived.set()
            line.is_closing.wait(60)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        line.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, name="one-way line")
        thread.start()
        try:
            yield line
        finally:
            line.is_closing.set()
            server.shutdown()
            thread.join()


def _bytes(url: str) -> bytes:
    return httpx2.get(url, trust_env=False).raise_for_status().content


def _picture(url: str) -> Image.Image:
    picture = Image.open(io.BytesIO(_bytes(url)))
    picture.load()
    return picture


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
