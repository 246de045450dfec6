"""Images that are made from others: they wait for those pictures, are asked for with them, and end without them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from safelight.domain.errors import Billed
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import JobStatus
from safelight.engine.image.lease import Hint
from safelight.engine.orders.control import CancelMode, cancel
from safelight.engine.orders.submit import submit
from safelight.engine.queue.admission import admit
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.server import RunningSandbox, running_sandbox
from safelight.sandbox.vendor import Call
from safelight.settings import ProviderSettings, Settings
from safelight.storage.local import LocalBlobStore
from tests.engine.by_hand import admit_again, pass_time, pipeline_of, run, swept
from tests.engine.conftest import running
from tests.engine.families import errors, family, made_from, states
from tests.engine.test_claim import register
from tests.orders import SMALL, attempts_of, ended, event_types, image, images_of, order, vendor_image

CAPS = {"gemini": 8, "placeholder": 8}


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    """With two pictures, so that it can be told which of them went where."""
    async with running_sandbox(SandboxConfig(pictures=2), bill_path=tmp_path / "bill.jsonl") as running_one:
        yield running_one


async def pictures_of(pool: asyncpg.Pool, job_id: JobId) -> dict[str, str]:
    """The digest of the vendor's own file, image by image."""
    rows = await pool.fetch(
        "SELECT i.id, a.sha256 FROM attempts AS a JOIN images AS i ON i.row_id = a.image_row_id"
        " WHERE i.job_id = $1 AND a.status = 'settled'",
        job_id,
    )
    return {row["id"]: row["sha256"] for row in rows}


async def call_for(pool: asyncpg.Pool, sandbox: RunningSandbox, job_id: JobId, image_id: str) -> Call:
    prompt = next(row["prompt"] for row in await images_of(pool, job_id) if row["id"] == image_id)
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    [call] = [call for call in sandbox.vendor.calls if call.prompt_sha256 == digest]
    return call


@pytest.mark.parametrize("outputs", [(SMALL,), ()], ids=["a small output", "no outputs"])
async def test_an_image_is_asked_for_with_the_originals_of_those_that_it_references_in_their_order(
    outputs: Sequence[dict[str, object]], pool: asyncpg.Pool, settings: Settings, sandbox: RunningSandbox
) -> None:
    job_id = await family(pool, {"child": "b a", "a": "", "b": "", "grandchild": "child"}, outputs=outputs)
    assert await states(pool, job_id) == {"child": "awaiting", "a": "queued", "b": "queued", "grandchild": "awaiting"}
    async with running(settings):
        assert await ended(pool, job_id) is JobStatus.COMPLETED

    made = await pictures_of(pool, job_id)
    child = await call_for(pool, sandbox, job_id, "child")
    assert child.references_sha256 == (made["b"], made["a"]), "the files as they came, not what was made of them"
    assert (await call_for(pool, sandbox, job_id, "grandchild")).references_sha256 == (made["child"],)
    assert (await call_for(pool, sandbox, job_id, "a")).references_sha256 == ()
    began = [row["sent_at"] for row in await attempts_of(pool, job_id)]
    assert made["a"] != made["b"]
    done = {row["id"]: row["completed_at"] for row in await images_of(pool, job_id)}
    assert began[0] >= max(done["a"], done["b"])
    assert began[3] >= done["child"]
    bought = await attempts_of(pool, job_id)
    assert {"modality": "IMAGE", "tokenCount": 2 * 258} in bought[0]["usage"]["promptTokensDetails"]
    assert sum(row["cost_microusd"] for row in bought) == sandbox.vendor.bill.total_microusd


async def test_a_job_at_a_vendor_is_bought_with_the_picture_that_another_vendor_made(
    pool: asyncpg.Pool, settings: Settings, sandbox: RunningSandbox
) -> None:
    url = sandbox.url("replicate")
    there = ProviderSettings(kind="replicate", base_url=url, api_key=SecretStr("good-key"), max_concurrency=8)
    providers = {**settings.providers, "replicate": there}
    changes = {"providers": providers, "egress_allow": "http://127.0.0.0/8:*", "poll_seconds": 0.05}
    model = "black-forest-labs/flux-dev"
    remote = image("child", provider="replicate", model=model, prompt="The same, in oil", options={})
    images = (vendor_image("a"), made_from(remote, "a"))
    job_id = (await submit(pool, order(*images), run_limit_seconds=3600)).job_id
    async with running(settings.model_copy(update=changes)):
        assert await ended(pool, job_id) is JobStatus.COMPLETED
    made = await pictures_of(pool, job_id)
    assert (await call_for(pool, sandbox, job_id, "child")).references_sha256 == (made["a"],)


@pytest.mark.parametrize(("script", "code"), [("refuse IMAGE_SAFETY", "REFUSED"), ("400", "FAILED")])
async def test_without_the_picture_of_one_all_that_are_made_from_it_fail_and_nothing_is_bought_for_them(
    script: str, code: str, pool: asyncpg.Pool, settings: Settings, sandbox: RunningSandbox
) -> None:
    images = (
        made_from(vendor_image("grandchild"), "child"),
        made_from(vendor_image("child"), "bad", "good"),
        vendor_image("bad", script),
        vendor_image("good"),
    )
    job_id = (await submit(pool, order(*images), run_limit_seconds=3600)).job_id
    async with running(settings):
        assert await ended(pool, job_id) is JobStatus.PARTIAL

    told = await errors(pool, job_id)
    assert told["child"] == ("DEPENDENCY", f"REFERENCE_{code}")
    assert told["grandchild"] == ("DEPENDENCY", "REFERENCE_FAILED")
    rows = {row["id"]: row for row in await images_of(pool, job_id)}
    assert "`bad`" in rows["child"]["error"]["message"]
    assert "`child`" in rows["grandchild"]["error"]["message"]
    assert (rows["child"]["error"]["billed"], rows["child"]["attempt_count"]) == (Billed.NO, 0)
    assert len(sandbox.vendor.calls) == 2
    events = await pool.fetch("SELECT image_id, data FROM events WHERE job_id = $1 AND type = 'image.failed'", job_id)
    assert {"child": f"REFERENCE_{code}"}.items() <= {e["image_id"]: e["data"]["error"]["code"] for e in events}.items()
    assert len({row["xact"] for row in await parts_of_the_end(pool, job_id, "bad", "child", "grandchild")}) == 1


async def parts_of_the_end(pool: asyncpg.Pool, job_id: JobId, *image_ids: str) -> list[asyncpg.Record]:
    return await pool.fetch(
        "SELECT xact FROM events WHERE job_id = $1 AND image_id = ANY($2) AND type = ANY($3)",
        job_id,
        list(image_ids),
        ["image.failed", "image.refused"],
    )


async def test_an_image_that_awaits_a_picture_is_never_admitted(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    job_id = await family(pool, {"a": "", "b": "a"})
    await register(pool)
    await pool.execute("UPDATE workers SET providers = '{gemini}'")
    assert await admit(queue, max_concurrency=CAPS, lease_seconds=15) == 1
    assert await admit(queue, max_concurrency=CAPS, lease_seconds=15) == 0
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute("UPDATE images SET admitted_at = now() WHERE job_id = $1 AND id = 'b'", job_id)


async def test_canceling_one_image_fails_those_made_from_it_and_canceling_all_cancels_them(pool: asyncpg.Pool) -> None:
    members = {"a": "", "b": "a", "c": "b", "d": ""}
    job_id = await family(pool, members)
    await cancel(pool, job_id, account="default", mode=CancelMode.FINISH, image_ids=["a"])
    assert await states(pool, job_id) == {"a": "canceled", "b": "failed", "c": "failed", "d": "queued"}
    assert (await errors(pool, job_id))["b"] == ("DEPENDENCY", "REFERENCE_CANCELED")

    job_id = await family(pool, members)
    await cancel(pool, job_id, account="default", mode=CancelMode.FINISH)
    assert set((await states(pool, job_id)).values()) == {"canceled"}
    assert (await event_types(pool, job_id))[-2:] == ["image.canceled", "job.canceled"]


async def test_a_run_that_ends_ends_those_that_await_a_picture_like_those_that_wait_for_a_worker(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    job_id = await family(pool, {"a": "", "b": "a"}, deadline_seconds=60.0, on_deadline="fail")
    await pass_time(pool, 61)
    await swept(settings, pool, queue)
    assert await errors(pool, job_id) == {"a": ("DEADLINE", "RUN_ENDED"), "b": ("DEADLINE", "RUN_ENDED")}


class Trouble(LocalBlobStore):
    """A store that gives nothing for a while."""

    reads = 0
    refusals = 1

    async def get(self, key: str) -> bytes:
        self.reads += 1
        if self.reads <= self.refusals:
            raise OSError("the network share is away")
        return await super().get(key)


async def test_a_store_that_does_not_give_the_picture_costs_time_and_no_call(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings, sandbox: RunningSandbox
) -> None:
    job_id = await family(pool, {"a": "", "b": "a"})
    worker = await register(pool)
    await pool.execute("UPDATE workers SET providers = '{gemini}'")
    async with pipeline_of(settings, pool, worker) as pipeline:
        pipeline.keeper.blobs = Trouble(settings.blobs)
        await run(pipeline, await next_hint(pool, queue))
        assert await states(pool, job_id) == {"a": "completed", "b": "queued"}
        await run(pipeline, await next_hint(pool, queue))
        assert [row["status"] for row in await attempts_of(pool, job_id)] == ["settled", "unbilled"]
        assert len(sandbox.vendor.calls) == 1
        await pass_time(pool, 5)
        await run(pipeline, await next_hint(pool, queue))
    assert [row["status"] for row in await attempts_of(pool, job_id)] == ["settled", "unbilled", "settled"]
    assert len(sandbox.vendor.calls) == 2


@pytest.mark.parametrize("harm", ["removed", "damaged"])
async def test_a_picture_that_is_not_kept_any_more_fails_what_was_to_be_made_from_it_without_a_call(
    harm: str, pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings, sandbox: RunningSandbox
) -> None:
    job_id = await family(pool, {"a": "", "b": "a"})
    async with pipeline_of(settings, pool, await register(pool)) as pipeline:
        await run(pipeline, await next_hint(pool, queue))
        kept = settings.blobs / await pool.fetchval("SELECT key FROM renditions WHERE is_internal")
        kept.unlink()
        if harm == "damaged":
            kept.write_bytes(b"another picture")
        await run(pipeline, await next_hint(pool, queue))
    assert await errors(pool, job_id) == {"b": ("STORAGE", "REFERENCE_GONE")}
    assert len(sandbox.vendor.calls) == 1
    [_, attempt] = await attempts_of(pool, job_id)
    assert (attempt["status"], attempt["cost_microusd"]) == ("unbilled", 0)


async def next_hint(pool: asyncpg.Pool, queue: asyncpg.Pool) -> Hint:
    """That of the one image that can go now, at a worker for Gemini."""
    await register(pool)
    await pool.execute("UPDATE workers SET providers = '{gemini,placeholder}', heartbeat_at = safelight.now()")
    return await admit_again(pool, queue)


async def test_the_sweep_lets_go_of_images_whose_pictures_have_come_and_ends_those_whose_pictures_will_not(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    job_id = await family(pool, {"a": "", "b": "a", "x": "", "y": "x", "z": "y"})
    await pool.execute("UPDATE images SET status = 'completed' WHERE id = 'a'")
    await pool.execute("UPDATE images SET status = 'failed' WHERE id = 'x'")
    found = await swept(settings, pool, queue)
    assert (found.unreleased, found.total) == (1, 1), "one job"
    assert await states(pool, job_id) == {"a": "completed", "b": "queued", "x": "failed", "y": "failed", "z": "failed"}
    assert (await swept(settings, pool, queue)).total == 0


async def test_a_picture_is_another_request_when_it_is_made_from_other_pictures() -> None:
    plain = vendor_image("c")
    ordered = [plain, made_from(plain, "a"), made_from(plain, "a", "b"), made_from(plain, "b", "a")]
    assert len({each.fingerprint for each in ordered}) == 4
    role = replace(ordered[1], references=(replace(ordered[1].references[0], role="style"),))
    assert role.fingerprint == ordered[1].fingerprint, "nobody is told the role"
