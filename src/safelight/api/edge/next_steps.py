"""What can be asked next: the links of the OpenAPI document, from an answer to the operations that its id is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class NextSteps:
    """From the `status` answer of one operation to others; `parameters` of theirs, and where each is found."""

    after: str
    status: int
    operations: tuple[str, ...]
    parameters: Mapping[str, str]


_ID = "$response.body#/id"
_OF_A_JOB = ("get_job", "job_events", "list_attempts", "get_archive", "cancel_job", "retry_job", "remove_job")
_OF_A_WEBHOOK = ("get_webhook", "change_webhook", "send_test_message", "rotate_secret", "delete_webhook")
_OF_A_SCHEDULE = ("get_schedule", "change_schedule", "run_schedule", "list_runs", "delete_schedule")
_OF_AN_UPLOAD = ("get_upload", "get_upload_content", "delete_upload")
_OF_A_STYLE = ("get_style", "save_style", "delete_style")

NEXT_STEPS = (
    NextSteps(after="submit_job", status=202, operations=_OF_A_JOB, parameters={"job_id": _ID}),
    NextSteps(
        after="submit_job",
        status=202,
        operations=("get_image",),
        parameters={"job_id": _ID, "image_id": "$response.body#/images/0/id"},
    ),
    NextSteps(after="retry_job", status=202, operations=("get_job", "cancel_job"), parameters={"job_id": _ID}),
    NextSteps(after="save_style", status=201, operations=_OF_A_STYLE, parameters={"name": "$request.path.name"}),
    NextSteps(after="create_schedule", status=201, operations=_OF_A_SCHEDULE, parameters={"schedule_id": _ID}),
    NextSteps(after="create_upload", status=201, operations=_OF_AN_UPLOAD, parameters={"upload_id": _ID}),
    NextSteps(after="create_webhook", status=201, operations=_OF_A_WEBHOOK, parameters={"webhook_id": _ID}),
    NextSteps(
        after="send_test_message",
        status=202,
        operations=("get_delivery", "redeliver"),
        parameters={"delivery_id": _ID},
    ),
    NextSteps(after="make_key", status=201, operations=("delete_key",), parameters={"key_id": _ID}),
)


def tell_of_next_steps(document: dict[str, Any]) -> None:
    """Adds the links. Raises KeyError for an operation or a status that the document does not have."""
    operations = {each["operationId"]: each for methods in document["paths"].values() for each in methods.values()}
    for steps in NEXT_STEPS:
        links = operations[steps.after]["responses"][str(steps.status)].setdefault("links", {})
        for each in steps.operations:
            name = operations[each]["operationId"]
            links[name] = {"operationId": name, "parameters": dict(steps.parameters)}
