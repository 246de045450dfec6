"""The addresses that OpenAI's clients use, below `/openai/v1`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from safelight.api import schemas
from safelight.api.access import READS, Submits
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.body import read_object
from safelight.api.edge.faults import refused, validated
from safelight.api.edge.idempotency import KEY_PARAMETER, idempotency_key
from safelight.api.edge.openapi import Responses, documented, request_body
from safelight.api.edge.problems import RequestFault
from safelight.api.following.waiting import JobWatch
from safelight.api.openai.asked import read_asked, without_nulls
from safelight.api.openai.desk import JOB_HEADER, Desk, Order
from safelight.api.openai.edits import kept_inputs, read_edit
from safelight.api.openai.models import ModelNames, Named
from safelight.api.pictures.uploads import UploadPlaces
from safelight.api.schemas.base import MAX_REFERENCES
from safelight.api.schemas.openai import (
    GeneratedImages,
    ImageEdit,
    ImageGeneration,
    OpenAIError,
    OpenAIModel,
    OpenAIModels,
)
from safelight.delivery.links import Links
from safelight.domain.fingerprint import fingerprint

NoQuery = Annotated[schemas.NoQuery, Query()]

_HEADERS = {
    JOB_HEADER: "The job that the request is.",
    "Idempotency-Replayed": "`true` when an earlier request made this job.",
}
_FILE: dict[str, Any] = {"type": "string", "format": "binary", "minLength": 1}


def _form_fields() -> dict[str, Any]:
    """The fields of JSON as a form has them: there is no null in it, and what is not there was not said."""
    fields = ImageGeneration.model_json_schema()["properties"]
    return {
        name: {**field["anyOf"][0], **{word: text for word, text in field.items() if word == "description"}}
        if "anyOf" in field
        else field
        for name, field in fields.items()
    }


_EDIT: dict[str, Any] = {
    "parameters": [KEY_PARAMETER],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image", "prompt"],
                    "properties": {
                        "image": {"type": "array", "items": _FILE, "minItems": 1, "maxItems": MAX_REFERENCES},
                        "mask": _FILE,
                        **_form_fields(),
                    },
                }
            },
            "application/json": request_body(ImageEdit)["requestBody"]["content"]["application/json"],
        },
    },
}
_REPEATS = "x-stainless-retry-count"
"""What OpenAI's clients, all made by one generator, say of their own repeats."""


def openai_routes(deps: ApiDependencies, watch: JobWatch, links: Links, places: UploadPlaces) -> APIRouter:
    router = APIRouter(prefix="/openai/v1", tags=["OpenAI"])
    names = ModelNames(deps.catalog, deps.openai_aliases)
    desk = Desk(deps, watch, links)

    def order_of(request: Request, account: str, fields: Mapping[str, Any], wording: Mapping[str, Any]) -> Order:
        wish = validated(ImageGeneration, fields)
        return Order(
            account=account,
            key=idempotency_key(request),
            repeats=_repeats(request),
            fingerprint=fingerprint(wording),
            request=wish,
            asked=read_asked(wish, names),
        )

    @router.post(
        "/images/generations",
        responses=documented(200, GeneratedImages, "The pictures.", headers=_HEADERS) | _ERRORS,
        openapi_extra=request_body(ImageGeneration, parameters=[KEY_PARAMETER]),
    )
    async def generate_images(request: Request, caller: Submits, _: NoQuery) -> Response:
        """Pictures from words, as the answer itself. Behind it is a job like any other, which goes on whatever becomes
        of the request; the same request sent again asks for the same job."""
        fields = without_nulls(await read_object(request, within_seconds=deps.body_seconds))
        order = order_of(request, caller.account, fields, {"openai": "generations", "body": fields})
        return await desk.answer(request, order, await desk.accept(order))

    @router.post(
        "/images/edits",
        responses=documented(200, GeneratedImages, "The pictures.", headers=_HEADERS) | _ERRORS,
        openapi_extra=_EDIT,
    )
    async def edit_images(request: Request, caller: Submits, _: NoQuery) -> Response:
        """Pictures from words and up to 16 others, of which the first may have a mask. Else as generations are."""
        with places.taken(caller.account):
            edit = await read_edit(request, within_seconds=deps.body_seconds)
            wording = await asyncio.to_thread(edit.as_json)
            order = order_of(request, caller.account, edit.fields, {"openai": "edits", **wording})
            accepted = await desk.accept(order, partial(kept_inputs, deps, edit, account=caller.account))
        del edit  # what follows may take long, and files are large
        return await desk.answer(request, order, accepted)

    @router.get("/models", responses=_ERRORS, dependencies=[READS])
    async def list_openai_models(_: NoQuery) -> OpenAIModels:
        """Every name that a request may use."""
        return OpenAIModels(object="list", data=[_card(each) for each in names.all()])

    @router.get("/models/{model:path}", responses=_ERRORS, dependencies=[READS])
    async def get_openai_model(model: str, _: NoQuery) -> OpenAIModel:
        """One of them. A model's own name may have slashes."""
        found = names.find(model)
        if isinstance(found, RequestFault):
            raise refused([found])
        return _card(found)

    return router


def _errors(*statuses: int) -> Responses:
    answers: Responses = {}
    for status in statuses:
        answers |= documented(status, OpenAIError, "What is wrong, in OpenAI's form.")
    return answers


_ERRORS = _errors(400, 401, 403, 404, 408, 409, 410, 413, 415, 429, 500, 502, 503)


def _repeats(request: Request) -> int:
    sent = request.headers.get(_REPEATS, "")
    return int(sent) if sent.isascii() and sent.isdecimal() and len(sent) <= 6 else 0


def _card(named: Named) -> OpenAIModel:
    return OpenAIModel(id=named.id, object="model", created=0, owned_by=named.provider)
