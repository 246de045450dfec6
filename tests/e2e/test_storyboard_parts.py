"""The storyboard app's own parts, without anybody else: what it takes, plans, remembers and shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from examples.storyboard.asked import Generate
from examples.storyboard.plan import job_body
from examples.storyboard.problems import Problem
from examples.storyboard.settings import Settings
from examples.storyboard.shown import shown
from examples.storyboard.store import Store
from examples.storyboard.studio import Studio
from safelight.client import SafelightClient

SHOT = {"project_id": "1", "branch_id": "2", "scene_id": "3", "shot_id": "4"}
SAFELIGHT = "http://127.0.0.1:8420"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(tmp_path / "storyboard.sqlite3")
    yield store
    await store.close()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"job_type": "start_frame", "shot_id": None}, "come together"),
        ({"job_type": "master_asset"}, "belongs to its branch"),
        ({"job_type": "end_frame"}, "has a `start_frame`"),
        ({"job_type": "inpaint", "source": {"upload": "upl_1"}}, "a `source` and a `mask`"),
        ({"job_type": "start_frame", "references": [{"image_id": "start_frame_1"}]}, "either a `job_id` or"),
        ({"job_type": "end_frame", "start_frame": {}}, "the start frame's `prompt`"),
        ({"job_type": "start_frame", "prompts": ["x"] * 8, "n": 8}, "at most 32 images"),
        ({"job_type": "start_frame", "project_id": "../2"}, "pattern"),
        ({"job_type": "start_frame", "promt": "x"}, "not permitted"),
    ],
)
def test_a_request_that_says_something_else_than_it_means_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        asked(**fields)


def test_each_variation_of_each_prompt_is_an_image_of_its_own_in_the_shots_folder() -> None:
    body = planned(asked("start_frame", prompts=["A door", "A gate"], n=2, style="noir"))
    assert [(each["id"], each["prompt"]) for each in body["images"]] == [
        ("start_frame_1", "A door"),
        ("start_frame_2", "A door"),
        ("start_frame_3", "A gate"),
        ("start_frame_4", "A gate"),
    ]
    assert (body["storage_prefix"], body["images"][0]["group"]) == ("project_1/branch_2/scene_3", "shot_4")
    assert (body["style"], body["defaults"], body["visibility"]) == ("noir", {"aspect_ratio": "16:9"}, "link")
    assert "webhook" not in body, "without a secret a message could not be believed"


def test_an_end_frame_sees_its_start_frame_first_and_then_what_it_is_to_recognise() -> None:
    made = asked("end_frame", start_frame={"prompt": "A door"}, references=[{"upload": "upl_ada"}])
    start, end = planned(made, references=["upl_ada"])["images"]
    assert start["references"] == [{"upload": "upl_ada"}]
    assert end["references"] == [{"image": "start_frame_1", "role": "start_frame"}, {"upload": "upl_ada"}]

    earlier = asked("end_frame", start_frame={"source": {"job_id": "gen_1"}}, references=[{"upload": "upl_ada"}])
    [end] = planned(earlier, references=["upl_door", "upl_ada"])["images"]
    assert end["references"] == [{"upload": "upl_door"}, {"upload": "upl_ada"}]


def test_an_edit_goes_to_who_takes_masks_unless_the_request_names_another() -> None:
    edit = {"source": {"upload": "upl_door"}, "mask": {"upload": "upl_mask"}}
    body = planned(asked("inpaint", **edit), references=["upl_door"], mask="upl_mask")
    assert body["defaults"] == {"provider": "openai", "model": "gpt-image-1-mini"}
    assert body["images"][0]["mask"] == {"upload": "upl_mask"}
    other = planned(asked("inpaint", provider="fal", **edit), references=["upl_door"], mask="upl_mask")
    assert other["defaults"] == {"provider": "fal"}, "a model of somebody else's is of no use there"


@pytest.mark.parametrize(
    ("job", "images", "status", "code", "stage"),
    [
        ("pending", ["queued", "queued"], "queued", None, None),
        ("generating", ["processing", "queued"], "processing", None, None),
        ("generating", ["generating", "queued"], "generating", None, None),
        ("generating", ["uploading", "uploading"], "uploading", None, None),
        ("generating", ["uploading", "queued"], "generating", None, None),
        ("generating", ["completed", "queued"], "generating", None, None),
        ("canceling", ["canceled", "generating"], "generating", None, None),
        ("completed", ["completed", "completed"], "completed", None, None),
        ("partial", ["completed", "refused"], "completed", "refused", "generating"),
        ("partial", ["completed", "uncertain"], "completed", "uncertain", "generating"),
        ("failed", ["refused", "refused"], "failed", "refused", "generating"),
        ("failed", ["uncertain", "failed"], "failed", "uncertain", "generating"),
        ("failed", ["failed", "failed"], "failed", "failed", "generating"),
        ("canceled", ["completed", "canceled"], "failed", "canceled", None),
    ],
)
async def test_every_state_of_safelights_comes_out_as_one_of_six(
    store: Store, job: str, images: list[str], status: str, code: str | None, stage: str | None
) -> None:
    await handed_over(store, document(job, *images))
    view = await view_of(store)
    assert (view["status"], view["failure_stage"], view["safelight_status"]) == (status, stage, job)
    assert (view["error"]["code"] if view["error"] else None) == code
    assert view["is_final"] is (job in ("completed", "partial", "failed", "canceled"))
    assert (view["public_url"] is not None) is ("completed" in images), "what is there is shown, however the job ended"


async def test_addresses_and_money_are_shown_as_an_app_needs_them(store: Store) -> None:
    cost = {"estimate_usd": "0.08", "actual_usd": "0.04", "credits_held": 1, "credits_captured": 2}
    await handed_over(store, document("generating", "completed", "queued") | {"cost": cost})
    view = await view_of(store)
    assert view["public_url"] == f"{SAFELIGHT}/v1/jobs/job_1/images/start_frame_1?link=x"
    assert (view["estimated_cost"], view["actual_cost"], view["cost_credits"]) == ("0.08", "0.04", 3)


async def test_a_copy_never_goes_back_and_news_are_remembered_until_it_shows_them(store: Store) -> None:
    await store.heard("job_1", 5)  # a message is quicker than the answer to the submit
    await handed_over(store, document("pending", "queued", seq=1))
    assert [(each.id, each.has_news) for each in await store.unfinished(seen_before=0.0)] == [("gen_1", True)]

    await store.saw(document("completed", "completed", seq=6), is_live=False)
    await store.saw(document("generating", "generating", seq=4), is_live=True)
    await store.heard("job_1", 5)
    assert (await view_of(store))["status"] == "completed"
    assert await store.unfinished(seen_before=9e9) == []


async def test_what_may_have_been_sent_can_only_be_canceled_by_safelight(store: Store) -> None:
    await saved(store, "gen_1")
    await saved(store, "gen_2")
    await store.will_send("gen_2", {"images": []})
    assert [await store.cancel_unsent(each) for each in ("gen_1", "gen_2")] == [True, False]

    await store.will_send("gen_1", {"images": []})
    canceled = await store.get("gen_1")
    assert canceled is not None
    assert (canceled.state, canceled.body) == ("canceled", None), "nothing is sent for it any more"
    assert [await store.begin_again(each) for each in ("gen_1", "gen_2")] == [True, False]


async def test_who_orders_from_several_pictures_waits_for_all_of_them_at_once(store: Store) -> None:
    names = [f"gen_{n}" for n in range(5)]
    for name in names:
        await saved(store, name)
        await store.will_send(name, {"images": []})
        await store.submitted(name, document("generating", "completed") | {"id": f"job_{name}"}, is_live=True)
    first, *others = [{"job_id": name} for name in names]
    made = asked("end_frame", start_frame={"source": first}, references=others)
    async with _knowing_nothing(until=len(names)) as url, SafelightClient(url) as client:
        studio = Studio(store, client, Settings(answer_seconds=60, fresh_seconds=0))
        with pytest.raises(Problem) as refused:  # what was there when it was last seen is gone
            async with asyncio.timeout(30):
                await studio.order(made, key=None)
        assert refused.value.status == 404
        await studio.close()


async def test_a_store_is_there_again_after_a_restart(tmp_path: Path) -> None:
    first = Store(tmp_path / "storyboard.sqlite3")
    await saved(first, "gen_1", key="once")
    await first.close()
    second = Store(tmp_path / "storyboard.sqlite3")
    again = await saved(second, "gen_2", key="once")
    assert again.id == "gen_1"
    assert await second.get("gen_2") is None
    await second.close()


def asked(job_type: str, **fields: Any) -> Generate:
    return Generate.model_validate({"job_type": job_type, "prompts": ["A door"], **SHOT, **fields})


def planned(request: Generate, *, references: list[str] | None = None, mask: str | None = None) -> dict[str, Any]:
    settings = Settings(safelight_webhook_secret=None)
    return job_body(request, job_id="gen_1", references=references or [], mask=mask, settings=settings)


async def saved(store: Store, job_id: str, *, key: str | None = None) -> Any:
    request = asked("start_frame").model_dump(mode="json", exclude={"idempotency_key"})
    return await store.save(job_id, request, key=key, fingerprint="f")


async def handed_over(store: Store, job: dict[str, Any]) -> None:
    await saved(store, "gen_1")
    await store.will_send("gen_1", {"images": []})
    await store.submitted("gen_1", job, is_live=True)


async def view_of(store: Store) -> dict[str, Any]:
    entry = await store.get("gen_1")
    assert entry is not None
    return shown(entry, base_url=SAFELIGHT)


def document(status: str, *images: str, seq: int = 1) -> dict[str, Any]:
    """A job as Safelight answers it, as far as this app looks."""
    return {
        "id": "job_1",
        "status": status,
        "seq": seq,
        "images": [_image(n, each) for n, each in enumerate(images, 1)],
    }


@asynccontextmanager
async def _knowing_nothing(*, until: int) -> AsyncIterator[str]:
    """A Safelight that answers 404 to everything, once so many wait for it together."""
    everybody = asyncio.Barrier(until)
    body = b'{"type": "/problems/not-found", "detail": "It is gone.", "status": 404}'
    head = f"HTTP/1.1 404 X\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
    is_open = False

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal is_open
        await reader.readuntil(b"\r\n\r\n")
        if not is_open:
            await everybody.wait()
            is_open = True
        writer.write(f"{head}connection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _image(number: int, status: str) -> dict[str, Any]:
    image: dict[str, Any] = {"id": f"start_frame_{number}", "status": status, "attempt_count": 1, "retry_count": 0}
    if status == "completed":
        image["url"] = f"/v1/jobs/job_1/images/start_frame_{number}?link=x"
    if status in ("failed", "refused", "uncertain"):
        error = {"kind": "SAFETY", "code": "IMAGE_SAFETY", "message": "No.", "retryable": False, "billed": "yes"}
        image |= {"failure_stage": "generating", "error": error}
    return image
