"""Jobs whose images are made from one another's pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import asyncpg

from safelight.domain.ids import JobId
from safelight.domain.order import ImageOrder, Reference
from safelight.engine.orders.submit import submit
from tests.orders import images_of, order, vendor_image


def made_from(image: ImageOrder, *parents: str) -> ImageOrder:
    return replace(image, references=tuple(Reference(image_id=each) for each in parents))


async def family(pool: asyncpg.Pool, members: Mapping[str, str], **job: object) -> JobId:
    """A job of images for the sandbox's Gemini, in this order: `{"a": "", "b": "a", "c": "a b"}`."""
    images = [made_from(vendor_image(name), *parents.split()) for name, parents in members.items()]
    return (await submit(pool, order(*images, **job), run_limit_seconds=86_400)).job_id  # pyright: ignore[reportArgumentType]


async def states(pool: asyncpg.Pool, job_id: JobId) -> dict[str, str]:
    """Where each image stands; `awaiting` is queued, for the picture of another."""
    rows = await images_of(pool, job_id)
    return {row["id"]: "awaiting" if row["awaits_parents"] else row["status"] for row in rows}


async def errors(pool: asyncpg.Pool, job_id: JobId) -> dict[str, tuple[str, str]]:
    """Kind and code of each image that has failed."""
    rows = await images_of(pool, job_id)
    return {row["id"]: (row["error"]["kind"], row["error"]["code"]) for row in rows if row["error"]}
