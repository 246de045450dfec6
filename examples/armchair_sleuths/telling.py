"""A case as a text model tells it, if it does so in time and in form; a written one otherwise."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime
from importlib import import_module

import httpx2
import pydantic

from .case import Case, Story, new_case, written_story
from .settings import WRITTEN, Settings

log = logging.getLogger(__name__)

_COUNTS = {"locations": 4, "suspects": 5, "evidence": 10}
_PROMPT = """\
Write a new mystery case for a detective game, for the day {date}. Answer with one JSON object that has exactly the
fields of this example, with {counts}. Nothing of its plot, names, places or objects may come again. Describe what a
camera would see: places without people, faces and clothing, single objects. One suspect did it, and the evidence,
read rightly, proves it. No violence is shown.

{example}
"""


class NotTold(Exception):
    """The model has not told a case; the message says why, in words that a player may read."""


async def tell_case(settings: Settings, *, case_id: str, date: str | None, seconds: float) -> Case:
    """A case, after `seconds` at the latest. Where no model tells it, a written one, with a note that says why."""
    note = None
    if settings.gemini_api_key is not None:
        try:
            story = await _told(settings, date=date or f"{datetime.now(UTC):%Y-%m-%d}", seconds=seconds)
            return new_case(story, case_id=case_id, date=date, source="model", note=None)
        except NotTold as error:
            log.warning("case %s is a written one: %s", case_id, error)
            note = str(error)
    story = await asyncio.to_thread(written_story, settings.cases, case_id=case_id)
    return new_case(story, case_id=case_id, date=date, source="written", note=note)


async def load_model_library() -> None:
    """The first case does not wait for the import, which takes a second."""
    await asyncio.to_thread(import_module, "google.genai")


async def _told(settings: Settings, *, date: str, seconds: float) -> Story:
    """Raises NotTold."""
    try:
        async with asyncio.timeout(seconds):
            return _story(await _answer(settings, date=date, seconds=seconds))
    except TimeoutError as error:
        raise NotTold(f"The model had not told a case after {seconds:g} seconds.") from error


async def _answer(settings: Settings, *, date: str, seconds: float) -> str:
    """Raises NotTold."""
    await load_model_library()
    from google import genai
    from google.genai import errors, types

    assert settings.gemini_api_key is not None
    counts = ", ".join(f"{count} {name}" for name, count in _COUNTS.items())
    example = min(WRITTEN.glob("*.json")).read_text(encoding="utf-8")
    async with httpx2.AsyncClient(timeout=seconds) as http:
        client = genai.Client(
            api_key=settings.gemini_api_key.get_secret_value(),
            http_options=types.HttpOptions(base_url=settings.google_gemini_base_url, httpx_async_client=http),
        )
        try:
            answer = await client.aio.models.generate_content(
                model=settings.gemini_text_model,
                contents=_PROMPT.format(date=date, counts=counts, example=example),
                config=types.GenerateContentConfig(response_mime_type="application/json"),
            )
        except errors.APIError as error:
            raise NotTold(f"The model could not be asked: status {error.code}.") from error
        except httpx2.HTTPError as error:
            raise NotTold(f"The model could not be reached: {type(error).__name__}.") from error
        finally:
            client.close()
    return answer.text or ""


def _story(text: str) -> Story:
    """Raises NotTold."""
    try:
        story = Story.model_validate(json.loads(text))
    except pydantic.ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise NotTold(f"The model's case has {error.error_count()} faults, the first in `{where}`.") from error
    except ValueError as error:
        raise NotTold("The model's answer is no JSON.") from error
    for name, count in _COUNTS.items():
        if (got := len(getattr(story, name))) != count:
            raise NotTold(f"The model's case has {got} {name} in place of {count}.")
    for each in (*story.locations, *story.evidence):
        each.image_url = None  # pictures are ours to make
    for suspect in story.suspects:
        suspect.profile_image_url = None
    return story
