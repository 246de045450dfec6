"""Replicate's predictions wire: jobs that are asked after under an id of their own.

POST /v1/models/{owner}/{name}/predictions, /v1/predictions      `Prefer: wait=…`, `Cancel-After: …`
GET  /v1/predictions/{id}          POST /v1/predictions/{id}/cancel
GET  /v1/models/{owner}/{name}     GET  /v1/models/{owner}/{name}/versions/{version}     GET  /v1/account

A webhook may be named, and is never called. An input field that the model does not have is refused, which the vendor
overlooks: its caller would pay for what it did not ask for.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.routing import Route

from safelight.sandbox.desk import Desk, key_of
from safelight.sandbox.faults import COMMON, Directive, Fault
from safelight.sandbox.job_outputs import JobOrder
from safelight.sandbox.jobs import JOB_FAULTS, Job, Jobs, Standing
from safelight.sandbox.pictures import Sort
from safelight.sandbox.protocol import Rejected
from safelight.sandbox.references import file_in, of_a_megapixel, shape_px
from safelight.sandbox.replicate_models import MODELS, RATIO_PX, Model, complaints, openapi_schema
from safelight.sandbox.spoiling import bad_gateway, retry_after
from safelight.sandbox.vendor import Call, sha256
from safelight.sandbox.wire import Answer

FAULTS = COMMON | JOB_FAULTS | {Fault.ABORTED}
"""`refuse`, `refuse-prompt` and `failed` are a failed prediction, told apart by the text of its error. `no-usage`
leaves out how many pictures were made."""

_PROBLEM = "application/problem+json"
_FIELDS = frozenset({"input", "version", "webhook", "webhook_completed", "webhook_events_filter", "stream"})
_FORMS = {"webp": "webp", "jpg": "jpeg", "png": "png"}
_STATUSES = {
    Standing.QUEUED: "starting",
    Standing.RUNNING: "processing",
    Standing.SUCCEEDED: "succeeded",
    Standing.FAILED: "failed",
    Standing.CANCELED: "canceled",
    Standing.ABORTED: "aborted",
}
_LONGEST_WAIT_SECONDS = 60
_STEP_PX = 16
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")
_ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_NOT_FOUND = "The requested resource could not be found."
_OFFICIAL = "hidden"  # what a prediction says its version is when none was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(JobOrder):
    """A prediction. `wait_seconds` is for how long its caller wants to be kept waiting."""

    model_of: Model
    version: str
    input: Mapping[str, Any]
    seed: int
    wait_seconds: float


class ReplicateWire:
    """`retention_seconds` is for how long after its end a prediction's output and files are kept; the vendor's hour."""

    name = "replicate"
    base_path = ""
    faults = FAULTS
    reasons: Mapping[Fault, str] = {Fault.FAILED: "OUT_OF_MEMORY"}

    def __init__(self, *, retention_seconds: float = 3600.0) -> None:
        self._retention_seconds = retention_seconds

    def routes(self, desk: Desk) -> list[Route]:
        jobs = Jobs[Asked](
            desk=desk, wire=self, new_id=_new_id, stops_running=True, retention_seconds=self._retention_seconds
        )
        shop = _Shop(jobs)
        create = jobs.buying(_read_order, shop.receipt)
        model = "/v1/models/{owner}/{name}"
        return [
            Route(f"{model}/predictions", create, methods=["POST"]),
            Route("/v1/predictions", create, methods=["POST"]),
            Route("/v1/predictions/{id}", desk.visit(self, shop.look), methods=["GET"]),
            Route("/v1/predictions/{id}/cancel", desk.visit(self, shop.cancel), methods=["POST"]),
            Route(model, desk.visit(self, _show_model), methods=["GET"]),
            Route(f"{model}/versions/{{version}}", desk.visit(self, _show_version), methods=["GET"]),
            Route("/v1/account", desk.visit(self, _show_account), methods=["GET"]),
        ]

    def error(self, directive: Directive, *, model: str) -> Answer | None:  # noqa: ARG002
        return _error_answer(directive)

    def invalid(self, message: str) -> Rejected:
        return _unprocessable([("", message)])


@dataclass(frozen=True, slots=True)
class _Shop:
    jobs: Jobs[Asked]

    async def receipt(self, job: Job[Asked], request: Request) -> Answer:  # noqa: ARG002
        """At once, or after the end of the job that its caller waits for."""
        if job.order.wait_seconds:
            gone, ended = (asyncio.create_task(each.wait()) for each in (job.call.caller_gone, job.ended))
            await asyncio.wait((gone, ended), timeout=job.order.wait_seconds, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            ended.cancel()
        return _prediction(job, status=201, with_id=job.fault is not Fault.NO_ID)

    async def look(self, request: Request) -> Answer:
        job = self._find(request)
        kinds = (Fault.POLL, Fault.RESULT) if job.has_ended else (Fault.POLL,)
        return await self.jobs.look(job, request, kinds, partial(_prediction, job))

    async def cancel(self, request: Request) -> Answer:
        job = self._find(request)
        await self.jobs.cancel(job)
        return _prediction(job)

    def _find(self, request: Request) -> Job[Asked]:
        """Raises Rejected."""
        _check_key(request)
        if job := self.jobs.find(request.path_params["id"]):
            return job
        raise Rejected(_not_found(), reason="NOT_FOUND")


async def _read_order(request: Request, call: Call) -> Asked:
    """Raises Rejected."""
    path = request.path_params
    call.model = f"{path['owner']}/{path['name']}" if "owner" in path else ""
    _check_key(request)
    fields = _read_fields(await request.body())
    version = _OFFICIAL
    if not call.model:
        call.model, version = _read_version(fields)
    elif call.model not in MODELS:
        raise Rejected(_not_found(), reason="NOT_FOUND")
    given: Mapping[str, Any] = fields["input"]
    model = MODELS[call.model]
    if wrong := list(complaints(model, given)):
        raise _unprocessable(wrong)
    reference = _reference(model, given)
    call.references_sha256 = (sha256(reference),) if reference is not None else ()
    width_px, height_px = _size_px(model, given, reference)
    return Asked(
        model=call.model,
        prompt=given["prompt"],
        count=given.get("num_outputs", 1),
        sort=Sort(
            width_px=width_px,
            height_px=height_px,
            form=_FORMS[given.get("output_format", "webp")],  # pyright: ignore[reportArgumentType] - one of the three
            quality=given.get("output_quality", 80),
        ),
        picture_microusd=model.picture_microusd,
        deadline_seconds=_duration_seconds(request, "cancel-after"),
        model_of=model,
        version=version,
        input=given,
        seed=given.get("seed", secrets.randbelow(2**31)),
        wait_seconds=_wait_seconds(request),
    )


def _read_fields(body: bytes) -> Mapping[str, Any]:
    """With an `input` that is an object. Raises Rejected."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Rejected(_problem(400, "Bad request", "The request body is not valid JSON."), reason="BAD_JSON") from None
    if not isinstance(fields, dict):
        raise _unprocessable([("", "Invalid type. Expected: object")])
    wrong = [("", f"Additional property {name} is not allowed") for name in fields.keys() - _FIELDS]
    if "input" not in fields:
        wrong.append(("", "input is required"))
    elif not isinstance(fields["input"], dict):
        wrong.append(("input", "Invalid type. Expected: object"))
    if wrong:
        raise _unprocessable(wrong)
    return fields


def _read_version(fields: Mapping[str, Any]) -> tuple[str, str]:
    """The model and the version of `hash`, `owner/name:hash` or `owner/name`. Raises Rejected."""
    asked = fields.get("version")
    if not isinstance(asked, str):
        raise _unprocessable([("", "version is required")])
    owner_and_name, _, version = asked.rpartition(":")
    for name, model in MODELS.items():
        if (owner_and_name in ("", name) and version == model.version) or asked == name:
            return name, model.version
    detail = "The specified version does not exist (or perhaps you don't have permission to use it?)"
    raise Rejected(_problem(422, "Invalid version or not permitted", detail), reason="INVALID_VERSION")


def _reference(model: Model, given: Mapping[str, Any]) -> bytes | None:
    """The picture that came along, where it need not be fetched. Raises Rejected."""
    if not model.image or not given.get(model.image, "").startswith("data:"):
        return None
    try:
        picture = file_in(given[model.image])
        shape_px(picture)
    except ValueError:
        raise _unprocessable([(model.image, "Does not match format 'uri'")]) from None
    return picture


def _size_px(model: Model, given: Mapping[str, Any], reference: bytes | None) -> tuple[int, int]:
    """That of the reference, where the model keeps it."""
    ratio = given.get("aspect_ratio", "1:1")
    if reference is not None and model.keeps_shape:
        return of_a_megapixel(*shape_px(reference), step_px=_STEP_PX)
    if ratio == "custom":
        width_px, height_px = (given.get(side, 1024) // _STEP_PX * _STEP_PX for side in ("width", "height"))
        return width_px, height_px
    width_px, height_px = RATIO_PX[ratio]
    return (width_px // 2, height_px // 2) if given.get("megapixels") == "0.25" else (width_px, height_px)


def _wait_seconds(request: Request) -> float:
    """Of `Prefer: wait` or `wait=5`; 0 without it."""
    for preference in request.headers.get("prefer", "").split(","):
        name, _, value = preference.strip().partition("=")
        if name == "wait":
            asked = float(value) if value.isdecimal() else _LONGEST_WAIT_SECONDS
            return min(max(asked, 1), _LONGEST_WAIT_SECONDS)
    return 0.0


def _duration_seconds(request: Request, header: str) -> float | None:
    """`90`, `30s`, `5m`, `1h30m`. Raises Rejected."""
    text = request.headers.get(header)
    if text is None:
        return None
    parsed = _DURATION.fullmatch(text.strip())
    if not parsed or not any(parsed.groups()):
        raise Rejected(_problem(400, "Bad request", f"Invalid {header} header."), reason="BAD_HEADER")
    hours, minutes, seconds = (float(part or 0) for part in parsed.groups())
    return hours * 3600 + minutes * 60 + seconds


def _check_key(request: Request) -> None:
    """Raises Rejected (401)."""
    scheme = request.headers.get("authorization", "").partition(" ")[0].lower()
    key = key_of(request)
    if key is None or scheme not in ("bearer", "token"):
        raise Rejected(_unauthenticated("You did not pass an authentication token"), reason="UNAUTHENTICATED")
    if key == "bad-key":
        raise Rejected(_unauthenticated(), reason="UNAUTHENTICATED")


def _prediction(job: Job[Asked], *, status: int = 200, with_id: bool = True) -> Answer:
    order, created_at = job.order, job.call.at
    body: dict[str, Any] = {
        "id": job.id,
        "model": order.model,
        "version": order.version,
        "input": {} if job.is_removed else order.input,
        "logs": f"Using seed: {order.seed}\n" if job.started_at and not job.is_removed else "",
        "output": None if job.is_removed else _output(job),
        "data_removed": job.is_removed,
        "error": _error(job),
        "status": _STATUSES[job.standing],
        "created_at": _timestamp(created_at),
        "urls": {
            "cancel": job.url(f"/v1/predictions/{job.id}/cancel"),
            "get": job.url(f"/v1/predictions/{job.id}"),
        },
    }
    if job.started_at:
        body["started_at"] = _timestamp(job.started_at)
    if job.ended_at:
        body["completed_at"] = _timestamp(job.ended_at)
        body["metrics"] = _metrics(job)
    if not with_id:
        del body["id"], body["urls"]
    return Answer(status=status, body=orjson.dumps(body))


def _output(job: Job[Asked]) -> Any:
    if job.standing is not Standing.SUCCEEDED:
        return None
    addresses = [output.address for output in job.outputs]
    if job.order.model_of.gives_list or len(addresses) > 1:
        return addresses
    return addresses[0] if addresses else None


def _metrics(job: Job[Asked]) -> dict[str, Any]:
    if job.started_at is None or job.ended_at is None:
        return {}
    total = (job.ended_at - job.call.at).total_seconds()
    times = {"predict_time": job.ran_seconds, "total_time": total}
    return times if job.fault is Fault.NO_USAGE else {"image_count": job.made, **times}


def _error(job: Job[Asked]) -> str | None:
    if job.standing is not Standing.FAILED:
        return None
    match job.fault:
        case Fault.REFUSE:
            return "NSFW content detected. Try running it again, or try a different prompt."
        case Fault.REFUSE_PROMPT:
            return "The input or output was flagged as sensitive. Please try again with different inputs. (E005)"
        case _:
            words = (job.plan.directive.reason or "").replace("_", " ").lower()
            return f"Prediction failed: {words}"


async def _show_account(request: Request) -> Answer:
    _check_key(request)
    return Answer(body=orjson.dumps({"type": "user", "username": "ada", "name": "Ada Vane", "github_url": None}))


async def _show_model(request: Request) -> Answer:
    _check_key(request)
    name, model = _find_model(request)
    body = {
        "url": f"https://replicate.com/{name}",
        "owner": request.path_params["owner"],
        "name": request.path_params["name"],
        "description": model.description,
        "visibility": "public",
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "run_count": 1_000_000,
        "cover_image_url": None,
        "default_example": None,
        "latest_version": _version(model),
    }
    return Answer(body=orjson.dumps(body))


async def _show_version(request: Request) -> Answer:
    _check_key(request)
    _, model = _find_model(request)
    if request.path_params["version"] != model.version:
        raise Rejected(_not_found(), reason="NOT_FOUND")
    return Answer(body=orjson.dumps(_version(model)))


def _find_model(request: Request) -> tuple[str, Model]:
    """Raises Rejected."""
    name = f"{request.path_params['owner']}/{request.path_params['name']}"
    if name not in MODELS:
        raise Rejected(_not_found(), reason="NOT_FOUND")
    return name, MODELS[name]


def _version(model: Model) -> dict[str, Any]:
    return {
        "id": model.version,
        "created_at": "2025-01-01T00:00:00.000000Z",
        "cog_version": "0.10.0",
        "openapi_schema": openapi_schema(model),
    }


def _error_answer(directive: Directive) -> Answer | None:
    match directive.fault:
        case Fault.RATE_LIMIT | Fault.RATE_LIMIT_DATE | Fault.RATE_LIMIT_GARBLED:
            return _throttled(directive)
        case Fault.INTERNAL:
            return _problem(500, "Internal server error", "Internal server error")
        case Fault.BAD_GATEWAY:
            return bad_gateway()
        case Fault.UNAVAILABLE:
            return _problem(503, "Service unavailable", "The service is temporarily unavailable.")
        case Fault.DEADLINE:
            return _problem(504, "Gateway timeout", "The upstream server did not respond in time.")
        case Fault.BAD_KEY:
            return _unauthenticated()
        case Fault.FORBIDDEN:
            return _problem(403, "Forbidden", "You do not have permission to perform this action.")
        case Fault.NO_CREDIT:
            detail = (
                "You have insufficient credit to run this model. Purchase credit, wait a few minutes and try again."
            )
            return _problem(402, "Insufficient credit", detail)
        case Fault.MODEL_GONE | Fault.NOT_FOUND:
            return _not_found()
        case Fault.ERROR_DETAIL:
            return _problem(directive.status or 422, "Input validation failed", "- input: this cannot be run\n")
        case _:
            return None


def _throttled(directive: Directive) -> Answer:
    seconds = directive.seconds
    when = "soon" if seconds is None else f"in ~{seconds:g}s"
    body = {"detail": f"Request was throttled. Your rate limit resets {when}.", "status": 429, "retry_after": seconds}
    return Answer(status=429, body=orjson.dumps(body), media_type=_PROBLEM, more=retry_after(directive))


def _unprocessable(wrong: list[tuple[str, str]]) -> Rejected:
    """Of the input, where a field or nothing is named."""
    fields = [(f"input.{field}" if field else "input", why) for field, why in sorted(wrong)]
    answer = _problem(
        422,
        "Input validation failed",
        "".join(f"- {field}: {why}\n" for field, why in fields),
        invalid_fields=[{"field": field, "description": why} for field, why in fields],
    )
    return Rejected(answer, reason="INVALID_INPUT")


def _unauthenticated(detail: str = "You did not pass a valid authentication token") -> Answer:
    return _problem(401, "Unauthenticated", detail)


def _not_found() -> Answer:
    return _problem(404, "Not found", _NOT_FOUND)


def _problem(status: int, title: str, detail: str, **more: Any) -> Answer:
    body = {"title": title, "detail": detail, "status": status, **more}
    return Answer(status=status, body=orjson.dumps(body), media_type=_PROBLEM)


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _new_id() -> str:
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(26))
