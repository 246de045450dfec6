"""Accounts: what they have and may spend, for themselves and for those who administer them."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from safelight.api import schemas
from safelight.api.access import Administers, Reads, acting_for
from safelight.api.cursor import page_cursor, page_number, page_position
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.body import read_object
from safelight.api.edge.faults import refused, validated
from safelight.api.edge.idempotency import KEY_PARAMETER, REPLAYED, idempotency_key
from safelight.api.edge.openapi import documented, problems, request_body
from safelight.api.edge.problems import RequestFault
from safelight.api.money import shown_amounts
from safelight.domain.access import ACCOUNT
from safelight.domain.credits import Billing
from safelight.domain.money import format_usd, microusd
from safelight.engine.accounts.accounts import (
    Account,
    account_of,
    accounts_after,
    change,
    ensure,
    no_such_account,
    set_daily_budget,
)
from safelight.engine.accounts.ledger import Entry, EntryKind, add_credit, statement

NoQuery = Annotated[schemas.NoQuery, Query()]

_REPLAYED_HEADER = {"Idempotency-Replayed": "`true` when this entry was made by an earlier request with the same key."}


def account_routes(deps: ApiDependencies) -> APIRouter:
    router = APIRouter(prefix="/v1/accounts", tags=["accounts"])

    async def named(account_id: str) -> str:
        """An account that an admin names exists from then on."""
        _require_name(account_id)
        await ensure(deps.pool, account_id, billing=deps.account_billing)
        return account_id

    @router.get("", responses=documented(200, schemas.AccountPage, "A page.") | problems(400, 422))
    async def list_accounts(_: Administers, query: Annotated[schemas.AccountsQuery, Query()]) -> Response:
        """Every account, by its id."""
        after = page_position(query.cursor, "accounts") if query.cursor is not None else None
        found = await accounts_after(deps.pool, after, limit=query.limit + 1)
        page = found[: query.limit]
        following = page_cursor(page[-1].id, "accounts") if len(found) > query.limit else None
        return _answer(schemas.AccountPage(accounts=[shown(each) for each in page], next_cursor=following))

    @router.get("/{account_id}", responses=documented(200, schemas.Account, "The account.") | problems(404, 422))
    async def get_account(caller: Reads, account_id: str, _: NoQuery) -> Response:
        """What the account has, what is held of it, and what its budget leaves today."""
        _require_name(account_id)
        return _answer(shown(await account_of(deps.pool, acting_for(caller, account_id))))

    @router.get(
        "/{account_id}/ledger", responses=documented(200, schemas.LedgerPage, "A page.") | problems(400, 404, 422)
    )
    async def get_ledger(caller: Reads, account_id: str, query: Annotated[schemas.LedgerQuery, Query()]) -> Response:
        """The account's statement: every entry, or those of a job, newest first, with the balance after it."""
        _require_name(account_id)
        account = acting_for(caller, account_id)
        of_list = ("ledger", account, query.job or "")
        before = page_number(query.cursor, *of_list) if query.cursor is not None else None
        found = await statement(deps.pool, account, job_id=query.job, before=before, limit=query.limit + 1)
        page = found[: query.limit]
        following = page_cursor(str(page[-1].id), *of_list) if len(found) > query.limit else None
        return _answer(schemas.LedgerPage(entries=[_entry(each) for each in page], next_cursor=following))

    @router.post(
        "/{account_id}/credits",
        status_code=201,
        responses=documented(201, schemas.LedgerEntry, "Entered.", headers=_REPLAYED_HEADER)
        | problems(400, 404, 408, 409, 413, 415, 422),
        openapi_extra=request_body(schemas.NewCredit, parameters=[KEY_PARAMETER]),
    )
    async def add_credits(request: Request, _caller: Administers, account_id: str, _: NoQuery) -> Response:
        """A top-up, or an adjustment with its reason. With an `Idempotency-Key` it is entered once, however often it is
        sent."""
        key = idempotency_key(request)
        wish = validated(schemas.NewCredit, await read_object(request, within_seconds=deps.body_seconds))
        account = await account_of(deps.pool, await named(account_id))
        entry, is_known = await add_credit(
            deps.pool,
            account_id,
            _amount(wish, account.billing),
            billing=account.billing,
            kind=EntryKind(wish.kind),
            reason=wish.reason,
            idempotency_key=key,
        )
        return _answer(_entry(entry), 201, {REPLAYED: "true"} if is_known else {})

    @router.put(
        "/{account_id}/budget",
        responses=documented(200, schemas.Account, "As it is now.") | problems(400, 404, 408, 413, 415, 422),
        openapi_extra=request_body(schemas.NewBudget),
    )
    async def put_budget(request: Request, _caller: Administers, account_id: str, _: NoQuery) -> Response:
        """What calls may cost for the account on a day. What was spent today counts."""
        wish = validated(schemas.NewBudget, await read_object(request, within_seconds=deps.body_seconds))
        budget = microusd(Decimal(wish.daily_usd)) if wish.daily_usd is not None else None
        await set_daily_budget(deps.pool, await named(account_id), budget)
        deps.admission.nudge()
        return _answer(shown(await account_of(deps.pool, account_id)))

    @router.patch(
        "/{account_id}",
        responses=documented(200, schemas.Account, "As it is now.") | problems(400, 404, 408, 413, 415, 422),
        openapi_extra=request_body(schemas.AccountChange),
    )
    async def change_account(request: Request, _caller: Administers, account_id: str, _: NoQuery) -> Response:
        """How it is billed, its share of what runs, and its own limits. What is left out stays."""
        wish = validated(schemas.AccountChange, await read_object(request, within_seconds=deps.body_seconds))
        given: dict[str, Any] = {name: getattr(wish, name) for name in wish.model_fields_set}
        if "billing" in given:
            given["billing"] = Billing(given["billing"])
        await change(deps.pool, await named(account_id), **given)
        deps.admission.nudge()
        return _answer(shown(await account_of(deps.pool, account_id)))

    return router


def shown(account: Account) -> schemas.Account:
    return schemas.Account(
        id=account.id,
        billing=account.billing.value,
        balance=_balance(account),
        budget=_budget(account),
        weight=account.weight,
        max_concurrency=account.max_concurrency,
        max_queued=account.max_queued,
        created_at=account.created_at,
    )


def _balance(account: Account) -> schemas.Balance | None:
    books = {"available": account.available, "held": account.held, "captured": account.captured}
    if account.billing is Billing.NONE:
        return None
    return schemas.Balance(**shown_amounts(account.billing, books))


def _budget(account: Account) -> schemas.Budget | None:
    left = account.day_left_microusd
    if account.daily_budget_microusd is None or left is None:
        return None
    return schemas.Budget(
        daily_usd=format_usd(account.daily_budget_microusd),
        day=account.day,
        held_usd=format_usd(account.day_held_microusd),
        spent_usd=format_usd(account.day_spent_microusd),
        overage_usd=format_usd(account.day_overage_microusd),
        left_usd=format_usd(left),
    )


def _entry(entry: Entry) -> schemas.LedgerEntry:
    is_credits = entry.currency is Billing.CREDITS
    amount = {"credits": entry.amount} if is_credits else {"amount_usd": format_usd(entry.amount)}
    after = shown_amounts(entry.currency, {"available": entry.available_after, "held": entry.held_after})
    return schemas.LedgerEntry(
        id=entry.id,
        at=entry.at,
        kind=entry.kind.value,
        debit=entry.debit,  # pyright: ignore[reportArgumentType]
        credit=entry.credit,  # pyright: ignore[reportArgumentType]
        reason=entry.reason,
        job=entry.job_id,
        image=entry.image_id,
        run=entry.run,
        **amount,
        **after,
    )


def _amount(wish: schemas.NewCredit, billing: Billing) -> int:
    """In what the account is billed in. Raises InvalidRequest that lists every fault."""
    faults: list[RequestFault] = []
    field, other = ("usd", "credits") if billing is Billing.USD else ("credits", "usd")
    given = getattr(wish, field)
    if getattr(wish, other) is not None:
        faults.append(RequestFault(f"/{other}", f"The account is billed in {billing.value}: name `{field}` alone."))
    elif given is None:
        faults.append(RequestFault(f"/{field}", f"Name the amount, in `{field}`."))
    amount = 0 if given is None else int(Decimal(given) * 1_000_000) if field == "usd" else given
    if given is not None and amount == 0:
        faults.append(RequestFault(f"/{field}", "Must not be 0."))
    if amount < 0 and wish.kind == "top_up":
        faults.append(RequestFault(f"/{field}", "A top-up is more than 0; an `adjustment` may take back."))
    if wish.kind == "adjustment" and wish.reason is None:
        faults.append(RequestFault("/reason", "An adjustment says why."))
    if faults:
        raise refused(faults)
    return amount


def _require_name(account_id: str) -> None:
    """What can be no account is none, for whoever asks."""
    if not ACCOUNT.fullmatch(account_id):
        raise no_such_account()


def _answer(content: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """What a model leaves unset stays out of the answer. Nobody keeps a copy: the next one may differ."""
    return Response(
        content.model_dump_json(exclude_unset=True),
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        "application/json",
    )
