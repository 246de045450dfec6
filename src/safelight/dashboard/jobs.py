"""A job's pages: its contact sheet, one of its frames, its calls and its log; and what can be done to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from safelight.dashboard.event_words import described
from safelight.dashboard.forms import segment
from safelight.dashboard.inside import Refused
from safelight.dashboard.sheet import Sheet, picture_path, seconds_between, sheet_of
from safelight.dashboard.visit import Pages, Visit
from safelight.domain.events import EventType

MOST_FRAMES = 100
"""That one fragment answers with: a script asks again for the others. Chosen."""
EVENTS_SHOWN = 100
_CALLS_SHOWN = 200
_EVENT_TYPES = " ".join(EventType)


def job_routes(pages: Pages) -> list[Route]:
    pages.templates.filters.update(described=described, took=_took, picture_path=picture_path)
    return [
        pages.route("/jobs/{job_id}", _show),
        pages.route("/jobs/{job_id}/frames", _show_frames),
        pages.route("/jobs/{job_id}/images/{image_id}", _show_image),
        pages.route("/jobs/{job_id}/attempts", _show_attempts),
        pages.route("/jobs/{job_id}/events", _show_events),
        pages.route("/jobs/{job_id}/cancel", _cancel, methods=("POST",)),
        pages.route("/jobs/{job_id}/retry", _retry, methods=("POST",)),
    ]


async def _show(visit: Visit) -> Response:
    return visit.page("job.html", event_types=_EVENT_TYPES, most_frames=MOST_FRAMES, **_on_sheet(await _sheet(visit)))


async def _show_frames(visit: Visit) -> Response:
    """What a page that is there already replaces: its head, and those of its frames that it names."""
    named = visit.request.query_params.get("images", "").split(",")[:MOST_FRAMES]
    sheet = await _sheet(visit)
    return visit.page("job_fragment.html", frames=sheet.named(named), **_on_sheet(sheet))


async def _show_image(visit: Visit) -> Response:
    return await _image_page(visit, visit.request.path_params["image_id"])


async def _show_attempts(visit: Visit) -> Response:
    cursor = visit.request.query_params.get("cursor")
    sheet = await _sheet(visit)
    calls = await visit.get(_path(visit, "/attempts"), limit=_CALLS_SHOWN, cursor=cursor)
    following = calls["next_cursor"]
    return visit.page("job_attempts.html", attempts=calls["attempts"], next_cursor=following, **_on_sheet(sheet))


async def _show_events(visit: Visit) -> Response:
    """The newest first; `before` is the earliest one that was seen."""
    sheet = await _sheet(visit)
    asked = visit.request.query_params.get("before", "")
    before = int(asked) if asked.isdecimal() and len(asked) <= 18 else sheet.job["seq"] + 1
    after = max(0, min(before, sheet.job["seq"] + 1) - 1 - EVENTS_SHOWN)
    page = await visit.get(_path(visit, "/events"), after=after, limit=EVENTS_SHOWN)
    events = [event for event in reversed(page["events"]) if event["data"]["seq"] < before]
    return visit.page("job_events.html", events=events, before=after + 1 if after else None, **_on_sheet(sheet))


async def _cancel(visit: Visit) -> Response:
    form = await visit.form()
    wish: dict[str, Any] = {"mode": str(form.get("mode", "finish"))}
    if images := [str(each) for each in form.getlist("images")]:
        wish["images"] = images
    return _back(visit, await visit.send("POST", _path(visit, "/cancel"), wish), images)


async def _retry(visit: Visit) -> Response:
    """Those images, or all without a picture; with another prompt, where one is written. What was written stays where
    it is not taken."""
    form = await visit.form()
    images = [str(each) for each in form.getlist("images")]
    prompt = str(form.get("prompt", "")).replace("\r\n", "\n").strip()
    wish: dict[str, Any] = {"images": images} if images else {}
    if prompt and len(images) == 1:
        wish["prompt_overrides"] = {images[0]: prompt}
    try:
        return _back(visit, await visit.send("POST", _path(visit, "/retry"), wish), images)
    except Refused as refused:
        if "prompt_overrides" not in wish or refused.status in (401, 403, 404):
            raise
        return await _image_page(visit, images[0], prompt=prompt, refused=refused)


async def _image_page(visit: Visit, image_id: str, *, prompt: str = "", refused: Refused | None = None) -> Response:
    sheet = await _sheet(visit)
    found = next((n for n, frame in enumerate(sheet.frames) if frame.id == image_id), None)
    if found is None:
        raise Refused(404, {"title": "There is no such image", "detail": "The job has no image of this name."})
    calls = await visit.get(_path(visit, "/attempts"), image=image_id, limit=_CALLS_SHOWN)
    image = sheet.job["images"][found]
    return visit.page(
        "job_image.html",
        status=refused.status if refused else 200,
        problem=refused.problem if refused else None,
        prompt=prompt,
        frame=sheet.frames[found],
        image=image,
        largest=_largest(sheet.job["id"], image),
        before=sheet.frames[found - 1] if found else None,
        after=sheet.frames[found + 1] if found + 1 < len(sheet.frames) else None,
        attempts=calls["attempts"],
        **_on_sheet(sheet),
    )


def _back(visit: Visit, job: Mapping[str, Any], images: list[str]) -> Response:
    """To the sheet, where the frame is that was meant."""
    number = next((n for n, image in enumerate(job["images"], 1) if images[:1] == [image["id"]]), None)
    return visit.go_to(f"/jobs/{job['id']}" + (f"#frame-{number}" if number else ""))


async def _sheet(visit: Visit) -> Sheet:
    return sheet_of(await visit.get(_path(visit)))


def _path(visit: Visit, action: str = "") -> str:
    return f"/v1/jobs/{segment(visit, 'job_id')}{action}"


def _on_sheet(sheet: Sheet) -> dict[str, Any]:
    """What every template of a job knows."""
    now = datetime.now(UTC).isoformat()
    return {
        "sheet": sheet,
        "job": sheet.job,
        "places": sheet.places(),
        "now": now,
        "elapsed": lambda since: seconds_between(since, now),
    }


def _took(call: Mapping[str, Any]) -> float | None:
    return seconds_between(call["started_at"], call["ended_at"]) if call["ended_at"] is not None else None


def _largest(job_id: str, image: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of its outputs, the one with most pixels."""
    outputs = image.get("outputs") or {}
    name = max(outputs, key=lambda each: outputs[each]["width"] * outputs[each]["height"], default=None)
    return {**outputs[name], "path": picture_path(name, job_id, image["id"])} if name is not None else None
