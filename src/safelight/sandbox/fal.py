"""fal's queue: a submit names the whole endpoint, everything after it the first two words of it and a request id.

POST /{owner}/{app}[/{path}]                    a receipt with three addresses
GET  /{owner}/{app}/requests/{id}/status        202 until it has ended
GET  /{owner}/{app}/requests/{id}               what the model answered, good or bad
PUT  /{owner}/{app}/requests/{id}/cancel        takes it out of the queue; what runs goes on, and is charged

The queue does not know what a model takes: wrong input is accepted, and found to be wrong by the model. An input field
that the model does not have is refused by it, which the vendor's overlook: their caller would pay for what it did not
ask for. A webhook may be named, and is never called.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.routing import Route

from safelight.sandbox.desk import Desk, key_of
from safelight.sandbox.fal_models import DEFAULT_SIZE, MODELS, NAMED_PX, Model, complaint, complaints, megapixels
from safelight.sandbox.faults import COMMON, Directive, Fault
from safelight.sandbox.job_outputs import JobOrder
from safelight.sandbox.jobs import JOB_FAULTS, Job, Jobs, Standing
from safelight.sandbox.pictures import Sort
from safelight.sandbox.protocol import Rejected
from safelight.sandbox.references import file_in, of_a_megapixel, shape_px
from safelight.sandbox.spoiling import bad_gateway, retry_after
from safelight.sandbox.vendor import Call, sha256
from safelight.sandbox.wire import Answer

FAULTS = COMMON | JOB_FAULTS | {Fault.ABORTED, Fault.NSFW}
"""`refuse` and `refuse-prompt` are a `content_policy_violation`. The reason of `failed` is the type of the error, in
capitals. `aborted` is a request that did not start in time. `no-usage` leaves out the units that were billed."""

_STEP_PX = 32
_STATUS_OF_ERROR = {
    "request_timeout": 504,
    "startup_timeout": 504,
    "runner_scheduling_failure": 503,
    "runner_connection_timeout": 503,
    "runner_disconnected": 503,
    "runner_connection_refused": 503,
    "runner_connection_error": 503,
    "runner_incomplete_response": 502,
    "runner_server_error": 500,
    "internal_error": 500,
    "client_cancelled": 499,
    "client_disconnected": 499,
    "bad_request": 400,
}
"""Of what goes wrong around a model; all other types are the model's own."""
_STATUS_OF_MODEL_ERROR = {
    "generation_timeout": 504,
    "internal_server_error": 500,
    "downstream_service_unavailable": 500,
}
_OVERDUE, _CANCELED = "request_timeout", "client_cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(JobOrder):
    """A request in the queue. `complaints` are what the model says about its input, when it cannot be used."""

    units: int
    seed: int
    input: Mapping[str, Any]
    complaints: Sequence[Mapping[str, Any]]


class FalWire:
    """`retention_seconds` is for how long after its end a result and its files are kept: the vendor's hour."""

    name = "fal"
    base_path = ""
    faults = FAULTS
    reasons: Mapping[Fault, str] = {Fault.FAILED: "RUNNER_DISCONNECTED"}

    def __init__(self, *, retention_seconds: float = 3600.0) -> None:
        self._retention_seconds = retention_seconds

    def routes(self, desk: Desk) -> list[Route]:
        jobs = Jobs[Asked](
            desk=desk, wire=self, new_id=_new_id, stops_running=False, retention_seconds=self._retention_seconds
        )
        queue = _Queue(jobs)
        job = "/{owner}/{app}/requests/{id}"
        return [
            Route(f"{job}/status", desk.visit(self, queue.status), methods=["GET"]),
            Route(job, desk.visit(self, queue.result), methods=["GET"]),
            Route(f"{job}/cancel", desk.visit(self, queue.cancel), methods=["PUT"]),
            Route("/{endpoint:path}", jobs.buying(_read_order, queue.receipt), methods=["POST"]),
        ]

    def error(self, directive: Directive, *, model: str) -> Answer | None:
        return _error_answer(directive, endpoint=model)

    def invalid(self, message: str) -> Rejected:
        return Rejected(_model_error(422, [complaint(("body",), "value_error", message, value=None)]), reason="INVALID")


@dataclass(frozen=True, slots=True)
class _Queue:
    jobs: Jobs[Asked]

    async def receipt(self, job: Job[Asked], request: Request) -> Answer:  # noqa: ARG002
        body = {"status": "IN_QUEUE", **_addresses(job), "queue_position": 0}
        if job.fault is Fault.NO_ID:
            body = {"status": "IN_QUEUE", "queue_position": 0}
        return Answer(body=orjson.dumps(body), more={"x-fal-request-id": job.id} if "request_id" in body else {})

    async def status(self, request: Request) -> Answer:
        job = self._find(request)
        with_logs = request.query_params.get("logs", "").lower() in ("1", "true")
        return await self.jobs.look(job, request, [Fault.POLL], partial(_status, job, with_logs=with_logs))

    async def result(self, request: Request) -> Answer:
        job = self._find(request)
        if not job.has_ended:
            return _detail(400, "Request is still in progress")
        return await self.jobs.look(job, request, [Fault.RESULT], partial(_result, job))

    async def cancel(self, request: Request) -> Answer:
        job = self._find(request)
        if await self.jobs.cancel(job):
            return Answer(status=202, body=b'{"status":"CANCELLATION_REQUESTED"}')
        return Answer(status=400, body=b'{"status":"ALREADY_COMPLETED"}')

    def _find(self, request: Request) -> Job[Asked]:
        """Raises Rejected."""
        _check_key(request)
        path = request.path_params
        job = self.jobs.find(path["id"])
        if job is None or job.is_removed or _app_of(job.order.model) != f"{path['owner']}/{path['app']}":
            raise Rejected(_not_found(), reason="NOT_FOUND")
        return job


async def _read_order(request: Request, call: Call) -> Asked:
    """Raises Rejected."""
    call.model = request.path_params["endpoint"]
    _check_key(request)
    if call.model not in MODELS:
        raise Rejected(_no_app(call.model), reason="NOT_FOUND")
    try:
        given = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, dict):
        detail = [complaint(("body",), "json_invalid", "Input should be a JSON object", value=None)]
        raise Rejected(_model_error(422, detail), reason="INVALID_JSON")
    order = _order(call.model, MODELS[call.model], given, deadline_seconds=_seconds_to_start(request))
    url = str(given.get("image_url", ""))
    if not order.complaints and url.startswith("data:"):
        call.references_sha256 = (sha256(file_in(url)),)
    return order


def _order(endpoint: str, model: Model, given: Mapping[str, Any], *, deadline_seconds: float | None) -> Asked:
    wrong = list(complaints(model, given))
    sort, prompt, count = Sort(width_px=1, height_px=1), "", 1
    if not wrong:
        try:
            sort, prompt, count = _sort(given), given["prompt"], given.get("num_images", 1)
        except ValueError as error:
            message = "Failed to load the image. Please ensure the image file is not corrupted."
            wrong = [complaint(("body", "image_url"), "image_load_error", message, value=str(error))]
    units = megapixels(sort.width_px, sort.height_px)
    return Asked(
        model=endpoint,
        prompt=prompt or (given["prompt"] if isinstance(given.get("prompt"), str) else ""),
        count=count,
        sort=sort,
        picture_microusd=model.megapixel_microusd * units,
        deadline_seconds=deadline_seconds,
        flaw="INVALID_INPUT" if wrong else None,
        is_inline=given.get("sync_mode") is True,
        units=units,
        seed=given.get("seed", secrets.randbelow(2**31)),
        input=given,
        complaints=wrong,
    )


def _sort(given: Mapping[str, Any]) -> Sort:
    """Raises ValueError for an `image_url` that holds no picture; one at an address is taken for a square."""
    asked = given.get("image_size", DEFAULT_SIZE)
    width_px, height_px = NAMED_PX[asked] if isinstance(asked, str) else (asked["width"], asked["height"])
    if "image_url" in given:
        url: str = given["image_url"]
        is_elsewhere = url.startswith(("https://", "http://"))
        shape = NAMED_PX["square_hd"] if is_elsewhere else shape_px(file_in(url))
        width_px, height_px = of_a_megapixel(*shape, step_px=_STEP_PX)
    return Sort(
        width_px=width_px,
        height_px=height_px,
        form=given.get("output_format", "jpeg"),
        quality=90,
    )


def _seconds_to_start(request: Request) -> float | None:
    """Raises Rejected."""
    text = request.headers.get("x-fal-request-timeout")
    try:
        return None if text is None else float(text)
    except ValueError:
        raise Rejected(_detail(400, "Invalid X-Fal-Request-Timeout header"), reason="BAD_HEADER") from None


def _check_key(request: Request) -> None:
    """Raises Rejected (401)."""
    scheme = request.headers.get("authorization", "").partition(" ")[0].lower()
    key = key_of(request)
    if key is None or scheme != "key" or key == "bad-key":
        raise Rejected(_unauthenticated(), reason="UNAUTHENTICATED")


def _app_of(endpoint: str) -> str:
    return "/".join(endpoint.split("/")[:2])


def _addresses(job: Job[Asked]) -> dict[str, str]:
    path = f"/{_app_of(job.order.model)}/requests/{job.id}"
    return {
        "request_id": job.id,
        "response_url": job.url(path),
        "status_url": job.url(f"{path}/status"),
        "cancel_url": job.url(f"{path}/cancel"),
    }


def _status(job: Job[Asked], *, with_logs: bool) -> Answer:
    logs = None
    if with_logs:
        logs = [{"message": "drawing", "level": "INFO", "source": "RUN", "timestamp": job.call.at.isoformat()}]
    body: dict[str, Any] = {**_addresses(job), "logs": logs, "metrics": {}}
    match job.standing:
        case Standing.QUEUED:
            return Answer(status=202, body=orjson.dumps({"status": "IN_QUEUE", "queue_position": 0, **body}))
        case Standing.RUNNING:
            return Answer(status=202, body=orjson.dumps({"status": "IN_PROGRESS", **body}))
        case _:
            pass
    body["metrics"] = {"inference_time": job.ran_seconds}
    error_type = _error_type(job)
    if error_type in _STATUS_OF_ERROR:
        body |= {"error": _words(error_type), "error_type": error_type}
    return Answer(body=orjson.dumps({"status": "COMPLETED", **body}))


def _result(job: Job[Asked]) -> Answer:
    """What the model answered; everything has the request's id in its headers."""
    if job.standing is Standing.SUCCEEDED:
        answer = _pictures(job)
    elif job.standing is Standing.FAILED and job.order.complaints:
        answer = _model_error(422, job.order.complaints)
    elif (error_type := _error_type(job)) in _STATUS_OF_ERROR:
        answer = _request_error(error_type)
        if error_type == _OVERDUE:
            answer = replace(answer, more={**answer.more, "x-fal-request-timeout-type": "user"})
    else:
        message = "The content could not be processed because it contained material flagged by a content checker."
        loc = ("body", "prompt") if job.fault is Fault.REFUSE_PROMPT else ("body",)
        if error_type != _REFUSED:
            message = _words(error_type)
        wrong = complaint(loc, error_type, message, value=dict(job.order.input))
        answer = _model_error(_STATUS_OF_MODEL_ERROR.get(error_type, 422), [wrong])
    return replace(answer, more={**answer.more, "x-fal-request-id": job.id})


def _pictures(job: Job[Asked]) -> Answer:
    sort = job.order.sort
    body = {
        "images": [
            {
                "url": output.address,
                "width": sort.width_px,
                "height": sort.height_px,
                "content_type": output.media_type,
            }
            for output in job.outputs
        ],
        "timings": {"inference": job.ran_seconds},
        "seed": job.order.seed,
        "has_nsfw_concepts": [job.fault is Fault.NSFW for _ in job.outputs],
        "prompt": job.order.prompt,
    }
    units = {} if job.fault is Fault.NO_USAGE else {"x-fal-billable-units": str(job.order.units * job.made)}
    return Answer(body=orjson.dumps(body), more=units)


_REFUSED = "content_policy_violation"


def _error_type(job: Job[Asked]) -> str:
    """Empty for a job that succeeded, and for one whose input was wrong."""
    match job.standing:
        case Standing.ABORTED:
            return _OVERDUE
        case Standing.CANCELED:
            return _CANCELED
        case Standing.FAILED if not job.order.complaints:
            return (job.plan.directive.reason or "").lower() if job.fault is Fault.FAILED else _REFUSED
        case _:
            return ""


def _error_answer(directive: Directive, *, endpoint: str) -> Answer | None:
    match directive.fault:
        case Fault.RATE_LIMIT | Fault.RATE_LIMIT_DATE | Fault.RATE_LIMIT_GARBLED:
            return replace(_detail(429, "Too many requests. Please slow down."), more=retry_after(directive))
        case Fault.INTERNAL:
            return _request_error("internal_error")
        case Fault.BAD_GATEWAY:
            return bad_gateway()
        case Fault.UNAVAILABLE:
            return _request_error("runner_scheduling_failure")
        case Fault.DEADLINE:
            return _request_error("startup_timeout")
        case Fault.BAD_KEY:
            return _unauthenticated()
        case Fault.FORBIDDEN:
            return _detail(403, "You do not have access to this application.")
        case Fault.NO_CREDIT:
            return _detail(
                403, "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."
            )
        case Fault.MODEL_GONE:
            return _no_app(endpoint)
        case Fault.NOT_FOUND:
            return _not_found()
        case Fault.ERROR_DETAIL:
            wrong = complaint(("body",), "value_error", "This cannot be run", value=None)
            return _model_error(directive.status or 422, [wrong])
        case _:
            return None


def _request_error(error_type: str) -> Answer:
    """One of the queue's own: a text, and a type that is in a header too."""
    status = _STATUS_OF_ERROR[error_type]
    body = {"detail": _words(error_type), "error_type": error_type}
    more = {"x-fal-error-type": error_type, "x-fal-retryable": _flag(status >= 500)}
    return Answer(status=status, body=orjson.dumps(body), more=more)


def _model_error(status: int, detail: Sequence[Mapping[str, Any]]) -> Answer:
    more = {"x-fal-retryable": _flag(status >= 500)}
    return Answer(status=status, body=orjson.dumps({"detail": detail}), more=more)


def _detail(status: int, detail: str) -> Answer:
    return Answer(status=status, body=orjson.dumps({"detail": detail}))


def _unauthenticated() -> Answer:
    return _detail(401, "Authentication is required to access this application.")


def _no_app(endpoint: str) -> Answer:
    return _detail(404, f"Application '{_app_of(endpoint)}' not found")


def _not_found() -> Answer:
    return Answer(status=404, body=b'{"status":"NOT_FOUND","detail":"Request not found"}')


def _words(error_type: str) -> str:
    return error_type.replace("_", " ").capitalize()


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _new_id() -> str:
    return str(uuid.uuid4())
