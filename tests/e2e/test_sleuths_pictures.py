"""How the game gets on with a Safelight that does not let it in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from examples.armchair_sleuths.case import new_case, written_story
from examples.armchair_sleuths.file_store import FileStore
from examples.armchair_sleuths.pictures import Pictures
from examples.armchair_sleuths.settings import WRITTEN, Settings
from safelight.client import ApiProblem, SafelightClient


@pytest.mark.parametrize(("status", "state"), [(401, "pending"), (403, "pending"), (422, "failed")])
async def test_key_that_is_not_good_delays_pictures_and_gives_none_up(status: int, state: str, tmp_path: Path) -> None:
    settings = Settings.model_validate({"safelight_webhook_secret": "whsec_eA==", "data_dir": tmp_path})
    case = new_case(written_story(WRITTEN, case_id="case-a"), case_id="case-a", date=None, source="written", note=None)
    store = FileStore(tmp_path / "store.sqlite3")
    async with _refusing(status) as url, SafelightClient(url) as safelight:
        pictures = Pictures(store, safelight, settings)
        await pictures.save(case)
        if state == "pending":
            with pytest.raises(ApiProblem):
                await pictures.order(case.id)
        else:
            await pictures.order(case.id)
        assert (await pictures.status(case.id))["status"] == state
        waiting = json.loads(await store.get("unfinished-cases") or "{}")
        assert (case.id in waiting) is (state == "pending"), "the sweep tries again while it is there"
    await store.aclose()


@asynccontextmanager
async def _refusing(status: int) -> AsyncIterator[str]:
    body = json.dumps({"type": "/problems/no", "detail": "No.", "status": status}).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"{head}connection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
