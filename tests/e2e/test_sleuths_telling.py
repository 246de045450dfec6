"""A text model tells the case, or fails to; the player gets one either way, in time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from examples.armchair_sleuths.settings import WRITTEN, Settings
from examples.armchair_sleuths.telling import load_model_library, tell_case

WHOLE = next(WRITTEN.glob("*.json")).read_text(encoding="utf-8")


def _without_a_suspect() -> str:
    case = json.loads(WHOLE)
    case["suspects"].pop()
    return json.dumps(case)


def _answer(text: str) -> bytes:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}
    return _http(200, {"candidates": [candidate]})


def _http(status: int, document: Any) -> bytes:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return f"{head}connection: close\r\n\r\n".encode() + body


@asynccontextmanager
async def _model(answer: bytes | None) -> AsyncIterator[str]:
    """A text model that gives this answer; None: never."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await reader.read()  # until the caller hangs up
        else:
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _settings(model_url: str | None, tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "safelight_webhook_secret": "whsec_eA==",
            "data_dir": tmp_path,
            "gemini_api_key": "test-key" if model_url else None,
            "google_gemini_base_url": model_url,
        }
    )


@pytest.mark.parametrize(
    ("answer", "seconds", "source", "note"),
    [
        (lambda: _answer(WHOLE), 30, "model", None),
        (lambda: _answer("Once upon a time"), 30, "written", "no JSON"),
        (lambda: _answer("{}"), 30, "written", "faults"),
        (lambda: _answer(_without_a_suspect()), 30, "written", "4 suspects in place of 5"),
        (lambda: _http(429, {"error": {"code": 429, "message": "slow down"}}), 30, "written", "429"),
        (lambda: None, 0.3, "written", "had not told"),
    ],
    ids=["told", "no-json", "no-case", "a-suspect-short", "refused", "silent"],
)
async def test_case_is_the_models_or_a_written_one_with_a_note(
    answer: Callable[[], bytes | None], seconds: float, source: str, note: str | None, tmp_path: Path
) -> None:
    await load_model_library()
    async with _model(answer()) as url:
        began = time.monotonic()
        case = await tell_case(_settings(url, tmp_path), case_id="case-a", date=None, seconds=seconds)
        assert time.monotonic() - began < 20
    assert case.source == source
    assert (case.note is None) if note is None else note in (case.note or "")
    assert (len(case.locations), len(case.suspects), len(case.evidence)) == (4, 5, 10)


async def test_without_a_model_a_written_case_is_nothing_to_note(tmp_path: Path) -> None:
    case = await tell_case(_settings(None, tmp_path), case_id="case-a", date="2026-11-20", seconds=1)
    assert (case.source, case.note, case.date) == ("written", None, "2026-11-20")


def test_game_that_others_can_reach_needs_a_moderators_token() -> None:
    with pytest.raises(ValueError, match="MODERATOR_TOKEN"):
        Settings.model_validate({"safelight_webhook_secret": "whsec_eA==", "host": "0.0.0.0"})
