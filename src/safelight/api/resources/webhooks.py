"""Webhooks: who is told of what, under which secret, and what became of each message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from safelight.api import schemas
from safelight.api.access import Reads, Submits, acting_for
from safelight.api.cursor import page_cursor, page_number
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.body import read_object
from safelight.api.edge.faults import body_faults, refused, validated
from safelight.api.edge.openapi import documented, problems, request_body
from safelight.api.ordering.webhook import url_faults
from safelight.delivery.links import Links
from safelight.delivery.webhooks import deliveries
from safelight.delivery.webhooks.deliveries import Delivery, Wanted
from safelight.delivery.webhooks.endpoints import DEFAULT, Endpoint, Endpoints, Terms
from safelight.domain.errors import NotFound
from safelight.domain.ids import is_endpoint_id, is_message_id

M = TypeVar("M", bound=BaseModel)

AccountQuery = Annotated[schemas.AccountQuery, Query()]

_CREATED_HEADERS = {"Location": "The webhook's address."}


def webhook_routes(deps: ApiDependencies) -> APIRouter:
    router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
    endpoints = Endpoints(deps.pool, deps.vault)
    links = Links(deps.public_url)

    async def read(request: Request, model: type[M]) -> M:
        """The body as the model has it. Raises InvalidRequest with every fault, those of its address too."""
        document = await read_object(request, within_seconds=deps.body_seconds)
        faults = await url_faults(document, deps.check_url, pointer="/url")
        try:
            wish = model.model_validate(document)
        except ValidationError as error:
            raise refused([*body_faults(error), *faults]) from None
        if faults:
            raise refused(faults)
        return wish

    @router.post(
        "",
        status_code=201,
        responses=documented(
            201, schemas.CreatedWebhook, "Created; its secret is shown now only.", headers=_CREATED_HEADERS
        )
        | problems(400, 408, 409, 413, 415, 422),
        openapi_extra=request_body(schemas.NewWebhook),
    )
    async def create_webhook(request: Request, caller: Submits, query: AccountQuery) -> Response:
        """An address that is told what happens from now on, in messages signed with a secret of its own."""
        account = acting_for(caller, query.account)
        wish = await read(request, schemas.NewWebhook)
        endpoint, secret = await endpoints.create(_terms(wish.model_dump()), account=account)
        created = schemas.CreatedWebhook(**_shown(endpoint).model_dump(), secret=secret)
        return _answer(created, 201, {"Location": links.webhook(endpoint.id)})

    @router.get("", responses=documented(200, schemas.Webhooks, "All of them.") | problems(422))
    async def list_webhooks(caller: Reads, query: AccountQuery) -> Response:
        """The account's webhooks, oldest first; not those that jobs have named for themselves."""
        account = acting_for(caller, query.account)
        return _answer(schemas.Webhooks(webhooks=[_shown(each) for each in await endpoints.all(account=account)]))

    @router.get("/deliveries", responses=documented(200, schemas.DeliveryPage, "A page.") | problems(400, 422))
    async def list_deliveries(caller: Reads, query: Annotated[schemas.DeliveriesQuery, Query()]) -> Response:
        """Messages of the last 30 days, newest first. Filters that come together must all be met."""
        account = acting_for(caller, query.account)
        wanted = Wanted(account=account, endpoint_id=query.webhook_id, job_id=query.job_id, status=query.status)
        the_list = ("deliveries", account, query.webhook_id or "", query.job_id or "", query.status or "")
        before = page_number(query.cursor, *the_list) if query.cursor is not None else None
        found = await deliveries.page(deps.pool, wanted, before=before, limit=query.limit + 1)
        page = found[: query.limit]
        following = page_cursor(str(page[-1].id), *the_list) if len(found) > query.limit else None
        return _answer(schemas.DeliveryPage(deliveries=[_message(each) for each in page], next_cursor=following))

    @router.get(
        "/deliveries/{delivery_id}", responses=documented(200, schemas.Delivery, "The message.") | problems(404, 422)
    )
    async def get_delivery(caller: Reads, delivery_id: str, query: AccountQuery) -> Response:
        """What became of a message."""
        account = acting_for(caller, query.account)
        return _answer(_message(await deliveries.one(deps.pool, _message_id(delivery_id), account=account)))

    @router.post(
        "/deliveries/{delivery_id}/redeliver",
        status_code=202,
        responses=documented(202, schemas.Delivery, "It is sent again.") | problems(404, 409, 422),
    )
    async def redeliver(caller: Submits, delivery_id: str, query: AccountQuery) -> Response:
        """Sends a message again, whatever became of it, under the same id."""
        account = acting_for(caller, query.account)
        return _answer(_message(await deliveries.redeliver(deps.pool, _message_id(delivery_id), account=account)), 202)

    @router.get("/{webhook_id}", responses=documented(200, schemas.Webhook, "The webhook.") | problems(404, 422))
    async def get_webhook(caller: Reads, webhook_id: str, query: AccountQuery) -> Response:
        """The webhook, without its secret; one that a job has named for itself too."""
        account = acting_for(caller, query.account)
        return _answer(_shown(await endpoints.one(_endpoint_id(webhook_id), account=account)))

    @router.patch(
        "/{webhook_id}",
        responses=documented(200, schemas.Webhook, "As it stands now.") | problems(400, 404, 408, 413, 415, 422),
        openapi_extra=request_body(schemas.WebhookChange),
    )
    async def change_webhook(request: Request, caller: Submits, webhook_id: str, query: AccountQuery) -> Response:
        """Changes the fields that are given. Messages that wait go to the new address."""
        account = acting_for(caller, query.account)
        known_id = (await endpoints.one(_endpoint_id(webhook_id), account=account)).id
        wish = await read(request, schemas.WebhookChange)
        given = wish.model_dump(exclude_unset=True, exclude={"enabled"})
        enable = "enabled" in wish.model_fields_set

        def changed(now: Endpoint) -> Terms:
            kept = {name: getattr(now, name) for name in ("url", "events", "retry_seconds", "description")}
            return _terms(kept | given)

        return _answer(_shown(await endpoints.change(known_id, changed, account=account, enable=enable)))

    @router.delete("/{webhook_id}", status_code=204, responses={204: {"description": "Deleted."}} | problems(404, 422))
    async def delete_webhook(caller: Submits, webhook_id: str, query: AccountQuery) -> Response:
        """Nothing more is sent there. Its messages stay in the list."""
        account = acting_for(caller, query.account)
        await endpoints.delete(_endpoint_id(webhook_id), account=account)
        return Response(status_code=204)

    @router.post(
        "/{webhook_id}/test",
        status_code=202,
        responses=documented(202, schemas.Delivery, "A message is on its way.") | problems(404, 409, 422),
    )
    async def send_test_message(caller: Submits, webhook_id: str, query: AccountQuery) -> Response:
        """Sends a signed `webhook.test`; the delivery says what came of it."""
        account = acting_for(caller, query.account)
        endpoint = await endpoints.one(_endpoint_id(webhook_id), account=account)
        return _answer(_message(await deliveries.send_test(deps.pool, endpoint.id, account=account)), 202)

    @router.post(
        "/{webhook_id}/rotate-secret",
        responses=documented(200, schemas.RotatedSecret, "The new secret, shown now only.")
        | problems(400, 404, 408, 409, 413, 415, 422),
        openapi_extra=request_body(schemas.NewRotation, is_required=False),
    )
    async def rotate_secret(request: Request, caller: Submits, webhook_id: str, query: AccountQuery) -> Response:
        """A new secret; for a while the one before signs too. `default` is the secret for addresses that jobs name."""
        account = acting_for(caller, query.account)
        document = await read_object(request, within_seconds=deps.body_seconds, is_required=False)
        wish = validated(schemas.NewRotation, document)
        of_whom = webhook_id if webhook_id == DEFAULT else _endpoint_id(webhook_id)
        rotated = await endpoints.rotate(of_whom, account=account, overlap_seconds=wish.overlap_seconds)
        return _answer(
            schemas.RotatedSecret(id=webhook_id, secret=rotated.secret, previous_expires_at=rotated.previous_expires_at)
        )

    return router


def _endpoint_id(text: str) -> str:
    if not is_endpoint_id(text):
        raise NotFound("There is no such webhook.")
    return text


def _message_id(text: str) -> str:
    if not is_message_id(text):
        raise NotFound("There is no such delivery.")
    return text


def _terms(fields: Mapping[str, Any]) -> Terms:
    events = fields["events"]
    return Terms(**{**fields, "events": None if events is None else list(dict.fromkeys(events))})


def _shown(endpoint: Endpoint) -> schemas.Webhook:
    return schemas.Webhook(**asdict(endpoint), enabled=endpoint.disabled_at is None)


def _message(delivery: Delivery) -> schemas.Delivery:
    fields = asdict(delivery)
    del fields["id"]
    fields |= {
        "id": fields.pop("message_id"),
        "webhook_id": fields.pop("endpoint_id"),
        "next_attempt_at": fields.pop("due_at"),
    }
    return schemas.Delivery(**fields)


def _answer(content: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Nobody keeps a copy: the next one may differ, and a secret is for its caller alone."""
    return Response(
        content.model_dump_json(), status, {"Cache-Control": "no-store", **(headers or {})}, "application/json"
    )
