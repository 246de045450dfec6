"""The answer with the pictures, as it is in memory."""

from __future__ import annotations

import base64
import json
import random
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from safelight.api.edge.problems import RequestFault
from safelight.api.openai.asked import Asked
from safelight.api.openai.pictures import pictures_body
from safelight.storage.local import LocalBlobStore

PICTURE_BYTES = 3_000_000
ASKED = Asked(
    model=RequestFault("/model", "not asked for"),
    count=4,
    size=None,
    quality=None,
    format="png",
    compression=100,
    is_url=False,
    is_opaque=False,
)


async def test_an_answer_with_large_pictures_is_in_memory_once(tmp_path: Path):
    blobs = LocalBlobStore(tmp_path)
    pictures = [random.Random(n).randbytes(PICTURE_BYTES) for n in range(4)]
    images: list[dict[str, Any]] = []
    for n, picture in enumerate(pictures):
        await blobs.put(f"job/{n}.png", picture, content_type="image/png")
        shape = {"format": "png", "width_px": 8, "height_px": 8, "length": PICTURE_BYTES, "usage": None}
        ended = {"id": f"image-{n}", "status": "completed", "error": None, "created_at": datetime.now(UTC)}
        images.append({**ended, **shape, "key": f"job/{n}.png"})

    tracemalloc.start()
    pieces = await pictures_body(images, ASKED, job_id="job_1", blobs=blobs, address=str)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    body = b"".join(pieces)
    assert most_bytes < 1.7 * len(body)
    assert [base64.b64decode(each["b64_json"]) for each in json.loads(body)["data"]] == pictures


@pytest.mark.parametrize(
    "details", ["none", [1], {"text_tokens": "5"}, {"text_tokens": 5, "image_tokens": 1.5}, {"image_tokens": {"a": 1}}]
)
async def test_a_vendor_that_counts_in_a_way_of_its_own_costs_nobody_a_picture(tmp_path: Path, details: Any):
    blobs = LocalBlobStore(tmp_path)
    await blobs.put("job/1.png", b"picture", content_type="image/png")
    usage = {"input_tokens": 5, "output_tokens": 6, "total_tokens": 11, "input_tokens_details": details}
    image = {
        "id": "image-1", "status": "completed", "error": None, "created_at": datetime.now(UTC), "key": "job/1.png",
        "format": "png", "width_px": 8, "height_px": 8, "length": 7, "usage": usage,
    }  # fmt: skip

    answer = json.loads(b"".join(await pictures_body([image], ASKED, job_id="job_1", blobs=blobs, address=str)))

    assert base64.b64decode(answer["data"][0]["b64_json"]) == b"picture"
    assert "usage" not in answer
