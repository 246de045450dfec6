"""Forms as they were filled in, and what the API says of them, field by field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from starlette.datastructures import FormData

from safelight.dashboard.inside import Refused
from safelight.dashboard.visit import Pages, Visit

_MOST_CHARACTERS = 3000
"""Of one field, which is more than any of them takes."""
_ACCOUNTS_OFFERED = 100
_WHOLE = re.compile(r"-?[0-9]{1,15}", re.ASCII)
_CORRECTABLE = (400, 402, 409, 422)
_USED_UP = "/problems/idempotency-key-reused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """`values` are what stands in the fields; `problem` is why the API did not take them, None before it was asked."""

    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    problem: Mapping[str, Any] | None = None

    @property
    def status(self) -> int:
        """Of the page that shows it."""
        return 200 if self.problem is None else int(self.problem.get("status") or 422)

    def faults(self, name: str) -> list[str]:
        """What is wrong with this field."""
        return [each["detail"] for each in self._errors() if _field_of(each) == name]

    def without(self, names: Sequence[str]) -> Mapping[str, Any] | None:
        """The problem with those of its faults that belong to none of these fields."""
        if self.problem is None:
            return None
        left = [each for each in self._errors() if _field_of(each) not in names]
        if self._errors() and not left:
            return {**self.problem, "detail": "What is wrong stands at its field.", "errors": []}
        return {**self.problem, "errors": left}

    def _errors(self) -> list[Mapping[str, Any]]:
        return list((self.problem or {}).get("errors") or ())


def filled(form: FormData, names: Iterable[str]) -> dict[str, str]:
    """What was typed into these fields, without spaces around it."""
    return {name: str(form.get(name, "")).strip()[:_MOST_CHARACTERS] for name in names}


def corrigible(refused: Refused) -> Mapping[str, Any]:
    """The problem, where another try at the same form may do. Raises the refusal itself where it may not."""
    if refused.status not in _CORRECTABLE:
        raise refused
    return refused.problem


def whole(text: str) -> int | str | None:
    """A number; None for nothing. What is none goes on to the API as it is, which says what is wrong with it."""
    if not text:
        return None
    return int(text) if _WHOLE.fullmatch(text) else text


def moment_utc(text: str) -> str | None:
    """What a browser's field for a time gives, which says nothing of an offset, as a time in UTC; None for nothing.
    Anything else goes on to the API as it is."""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%dT%H:%M:%S}Z" if len(text) in (16, 19) else text or None
    except ValueError:
        return text


def once(form: FormData) -> str:
    """The key under which this form counts once, however often it is sent."""
    key = str(form.get("key", ""))
    return key if re.fullmatch(r"[0-9a-f]{32}", key) else uuid4().hex


def once_more(key: str, refused: Refused) -> str:
    """The key for the next try: another one where this one has been used up by another request."""
    return uuid4().hex if refused.problem.get("type") == _USED_UP else key


def new_key() -> str:
    return uuid4().hex


def whose(visit: Visit) -> str | None:
    """The account that the page's address names; None for one's own."""
    return visit.request.query_params.get("account") or None


async def accounts_offered(visit: Visit) -> list[str]:
    """Whose things an admin may choose to see; none for others, who have their own."""
    if not visit.may("admin"):
        return []
    return [each["id"] for each in (await visit.get("/v1/accounts", limit=_ACCOUNTS_OFFERED))["accounts"]]


def segment(visit: Visit, name: str) -> str:
    """A part of this page's path, as a part of a path of the API's. Raises Refused for what can be none."""
    text: str = visit.request.path_params[name]
    if text in (".", ".."):
        raise Refused(404, {"title": "There is no such page"})
    return quote(text, safe="")


def query_of(given: Mapping[str, Any]) -> str:
    """The end of an address, with `?`; nothing where nothing is given."""
    known = {name: value for name, value in given.items() if value not in (None, "")}
    return f"?{urlencode(known)}" if known else ""


def add_query_filter(pages: Pages) -> None:
    """`query_of` for templates: `{…} | query`."""
    pages.templates.filters["query"] = query_of


def _field_of(error: Mapping[str, Any]) -> str:
    return str(error.get("pointer") or "").split("/")[1] if "/" in str(error.get("pointer") or "") else ""
