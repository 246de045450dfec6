"""The program of the page runs as it stands, but for the address."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2

from tests.cli.front_desk import JOB_ID, FrontDesk, opened

PAGE = (Path(__file__).parents[2] / "docs" / "migration.md").read_text(encoding="utf-8")
_, PROGRAM = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CASE = {"locations": [{"prompt": "A pier"}, {"prompt": "A hall"}], "evidence": [{"prompt": "A key"}]}


async def test_the_handler_answers_with_the_job_and_a_second_request_finds_the_same_one() -> None:
    async with opened(FrontDesk()) as desk:
        names: dict[str, Any] = {}
        exec(compile(PROGRAM.replace("http://127.0.0.1:8420", desk.base_url), "migration.md", "exec"), names)
        transport = httpx2.ASGITransport(app=names["app"])
        async with httpx2.AsyncClient(transport=transport, base_url="http://app") as client:
            first, again = [(await client.post("/cases/7", json=CASE)).json() for _ in range(2)]
        await names["safelight"].aclose()
    assert first == again
    [(key, order)] = desk.keys.items()
    assert (key, first["images"]) == ("case-7", JOB_ID)
    assert [each["id"] for each in order["images"]] == ["locations-1", "locations-2", "evidence-1"]
