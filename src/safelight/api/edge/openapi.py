"""The OpenAPI document: what FastAPI derives, with the bodies that are read strictly and the problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from safelight.api import schemas
from safelight.api.edge.next_steps import tell_of_next_steps
from safelight.api.edge.problems import MEDIA_TYPE
from safelight.api.edge.rate import is_counted
from safelight.api.schemas import openai

_REF = "#/components/schemas/{model}"
_MODELS = (
    schemas.NewJob,
    schemas.NewCancellation,
    schemas.NewRetry,
    schemas.Job,
    schemas.Quote,
    schemas.JobPage,
    schemas.ImagePage,
    schemas.Stats,
    schemas.GenerationMetrics,
    schemas.EventPage,
    schemas.FeedPage,
    schemas.NewStyle,
    schemas.Style,
    schemas.Styles,
    schemas.NewSchedule,
    schemas.ScheduleChange,
    schemas.Schedule,
    schemas.SchedulePage,
    schemas.ScheduleRun,
    schemas.ScheduleRunPage,
    schemas.Upload,
    schemas.NewWebhook,
    schemas.WebhookChange,
    schemas.NewRotation,
    schemas.CreatedWebhook,
    schemas.Webhook,
    schemas.Webhooks,
    schemas.RotatedSecret,
    schemas.Delivery,
    schemas.DeliveryPage,
    schemas.NewKey,
    schemas.AttemptPage,
    schemas.CreatedKey,
    schemas.Key,
    schemas.KeyPage,
    schemas.Account,
    schemas.AccountPage,
    schemas.AccountChange,
    schemas.NewBudget,
    schemas.NewCredit,
    schemas.LedgerEntry,
    schemas.LedgerPage,
    schemas.Problem,
    openai.ImageGeneration,
    openai.ImageEdit,
    openai.GeneratedImages,
    openai.OpenAIError,
)

Responses = dict[int | str, dict[str, Any]]


class Application(FastAPI):
    """Serves a document in which every request, answer and problem is described."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            _, ours = models_json_schema([(model, "validation") for model in _MODELS], ref_template=_REF)
            _remove_foreign_errors(document)
            _tell_of_keys(document)
            tell_of_next_steps(document)
            document["components"]["schemas"].update(ours["$defs"])
        assert self.openapi_schema is not None
        return self.openapi_schema


def documented(
    status: int, model: type[BaseModel], description: str, *, headers: Mapping[str, str] | None = None
) -> Responses:
    """A JSON answer that the route writes itself."""
    answer: dict[str, Any] = {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}},
    }
    if headers:
        answer["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
        }
    return {status: answer}


def problems(*statuses: int) -> Responses:
    """Those, and the two that any route may answer with."""
    schema = {"$ref": _REF.format(model=schemas.Problem.__name__)}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in sorted({*statuses, 500, 503})
    }


def request_body(
    model: type[BaseModel], *, is_required: bool = True, parameters: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """A JSON body that the route reads itself, and headers that it looks at."""
    body = {
        "required": is_required,
        "content": {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}},
    }
    return {"requestBody": body, **({"parameters": list(parameters)} if parameters else {})}


def _tell_of_keys(document: dict[str, Any]) -> None:
    """What needs a key is refused without one, without its scope, for an account that is another's, and, where requests
    are counted, too often."""
    refusals = {str(status): answer for status, answer in problems(401, 403, 404).items()}
    too_often = {str(status): answer for status, answer in problems(429).items()}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            if "security" in operation:
                all_refusals = refusals | too_often if is_counted(path) else refusals
                operation["responses"] = dict(sorted((all_refusals | operation["responses"]).items()))


def _remove_foreign_errors(document: dict[str, Any]) -> None:
    """FastAPI adds an error of its own shape to every route with a parameter, which none of ours answers with."""
    for operation in (each for methods in document["paths"].values() for each in methods.values()):
        if "application/json" in operation["responses"].get("422", {}).get("content", {}):
            del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
