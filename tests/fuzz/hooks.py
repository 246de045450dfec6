"""What Schemathesis is told beyond the OpenAPI document: values that are not only well formed but also mean something.

Schemathesis loads this itself (`SCHEMATHESIS_HOOKS`), in a process of its own. Requests that are meant to be wrong stay
as they are, except that none of them waits for long.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, HookContext

WEBHOOK = "http://127.0.0.1:9/hooks"
"""Nobody listens there: what is sent is tried again later, and nothing waits for it."""
LONGEST_WAIT_SECONDS = 1

_MOMENTS = st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(9998, 1, 1))  # noqa: DTZ001 - the Z follows

_PLAIN_FIELDS = frozenset({"deadline_seconds", "on_deadline", "priority", "visibility"})
_PLAIN_IMAGE_FIELDS = frozenset({"count", "group", "max_attempts", "max_rebuys", "on_refusal", "on_uncertain"})

schemathesis.openapi.format("date-time", _MOMENTS.map(lambda moment: f"{moment.isoformat(timespec='seconds')}Z"))


@schemathesis.hook
def map_case(context: HookContext, case: Case) -> Case:
    """The request, which waits for a second at most. A right one has whole numbers written as such, and names what
    there is: an address that may be asked, a time zone, images that the placeholder can draw."""
    del context
    if case.query and isinstance(wait := case.query.get("wait"), int) and wait > LONGEST_WAIT_SECONDS:
        case.query["wait"] = LONGEST_WAIT_SECONDS
    if case.operation.path == "/v1/jobs/{job_id}/events":
        _begin_at_once(case)
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return case
    if isinstance(case.body, dict):
        body = case.body = _whole(case.body)
        _name_what_there_is(case.operation.path, body)
    return case


def _begin_at_once(case: Case) -> None:
    """A stream that goes on after its job's last event has nothing to say until the next one."""
    if case.query:
        case.query.pop("after", None)
    if case.headers and str(case.headers.get("Last-Event-ID", "")).isdecimal():
        del case.headers["Last-Event-ID"]


def _name_what_there_is(path: str, body: dict[str, Any]) -> None:
    if path == "/v1/jobs":
        body.update(_makeable(body))
    if path.startswith("/v1/webhooks") and "url" in body:
        body["url"] = WEBHOOK
    if path == "/v1/schedules":
        body.update(cron="0 6 * * *", timezone="Europe/Berlin", job=_makeable(body["job"]))


def _makeable(job: dict[str, Any]) -> dict[str, Any]:
    """Nothing of a recipe, two images at most, and of what is said of them what every model understands."""
    kept = {name: value for name, value in job.items() if name in _PLAIN_FIELDS}
    images = [each for each in job.get("images", ()) if isinstance(each, dict)][:2] or [{}]
    plain = [{name: value for name, value in each.items() if name in _PLAIN_IMAGE_FIELDS} for each in images]
    kept["images"] = [{**each, "id": f"image-{n}", "prompt": f"A brass key {n}"} for n, each in enumerate(plain)]
    job.clear()
    return kept


def _whole(value: Any) -> Any:
    """JSON Schema takes 3.0 for an integer; the API takes it for something that was not meant."""
    match value:
        case float() if value.is_integer() and abs(value) < 2**63:
            return int(value)
        case dict():
            return {key: _whole(each) for key, each in value.items()}
        case list():
            return [_whole(each) for each in value]
        case _:
            return value
