"""The program of the page runs as it stands, but for the address."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from tests.openai_api.conftest import World

PAGE = (Path(__file__).parents[2] / "docs" / "openai.md").read_text(encoding="utf-8")


async def test_the_program_of_the_page_makes_three_pictures(world: World) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert "http://127.0.0.1:8420" in program
    names: dict[str, Any] = {}
    async with world.working():
        await asyncio.to_thread(exec, program.replace("http://127.0.0.1:8420", world.address), names)
    names["client"].close()
    assert [bool(each.b64_json) for each in names["answer"].data] == [True] * 3
