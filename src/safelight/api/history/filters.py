"""Which jobs, or which of their images, a list shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.requests import Request

from safelight.api.access import acting_for
from safelight.api.edge.faults import refused
from safelight.api.edge.problems import RequestFault
from safelight.api.edge.strict_json import why_bad
from safelight.api.schemas import EVERY_ACCOUNT, MAX_METADATA_CHARS, MAX_METADATA_ENTRIES, ImagesQuery, JobsQuery
from safelight.api.schemas.base import TEXT_PATTERN
from safelight.domain.access import Caller

METADATA_PARAMETER: dict[str, Any] = {
    "name": "metadata.{key}",
    "in": "query",
    "required": False,
    "description": "Of jobs whose metadata has this entry. May come with several keys, each once.",
    "schema": {"type": "string", "maxLength": MAX_METADATA_CHARS, "pattern": TEXT_PATTERN},
}

_METADATA = "metadata."
_SEVERAL = frozenset({"status"})


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Jobs, or images, that meet all of it. `account` None: everybody's. `statuses` are those that it shows, none: any.
    `metadata` are entries that a job has; `group`, `provider`, `model` and `error_kind` are of one image."""

    account: str | None
    statuses: tuple[str, ...] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None
    group: str | None = None
    provider: str | None = None
    model: str | None = None
    error_kind: str | None = None
    metadata: Mapping[str, str] | None = None

    @property
    def of_image(self) -> tuple[str | None, ...]:
        """What is asked of one image."""
        return self.group, self.provider, self.model, self.error_kind

    def identity(self) -> bytes:
        """The same for the same list, and only for it."""
        return orjson.dumps(
            [
                self.account,
                sorted(set(self.statuses)),
                self.created_after and self.created_after.astimezone(UTC),
                self.created_before and self.created_before.astimezone(UTC),
                *self.of_image,
                self.metadata and dict(self.metadata),
            ],
            option=orjson.OPT_SORT_KEYS,
        )


def history_of(request: Request, query: JobsQuery | ImagesQuery, *, caller: Caller) -> History:
    """Raises InvalidRequest on a parameter that does not exist, that is given twice, or that no metadata can match;
    NotFound for an account that is not the caller's to look at."""
    faults: list[RequestFault] = []
    metadata: dict[str, str] = {}
    given = request.query_params
    for name in dict.fromkeys(given):
        why = _why_wrong(type(query).model_fields, name, given.getlist(name))
        if why is not None:
            faults.append(RequestFault(name[:100], why[0], why[1], in_query=True))
        elif name.startswith(_METADATA):
            metadata[name.removeprefix(_METADATA)] = given[name]
    if len(metadata) > MAX_METADATA_ENTRIES:
        why = f"A job has at most {MAX_METADATA_ENTRIES} metadata entries."
        faults.append(RequestFault(_METADATA, why, in_query=True))
    if faults:
        raise refused(faults)
    return History(
        account=account_in(query.account, caller=caller),
        statuses=tuple(query.status),
        created_after=query.created_after,
        created_before=query.created_before,
        group=query.group,
        provider=query.provider,
        model=query.model,
        error_kind=query.error_kind.value if query.error_kind is not None else None,
        metadata=metadata or None,
    )


def account_in(named: str | None, *, caller: Caller) -> str | None:
    """The account to look at; None for all of them. Raises NotFound."""
    account = acting_for(caller, named)
    return None if account == EVERY_ACCOUNT else account


def _why_wrong(fields: Mapping[str, Any], name: str, values: list[str]) -> tuple[str, str] | None:
    """The fault's words and kind."""
    is_metadata = name.startswith(_METADATA) and len(name) > len(_METADATA)
    if not is_metadata and name not in fields:
        return "There is no such parameter.", "unknown-field"
    if len(values) > 1 and name not in _SEVERAL:
        return "Give this parameter once.", "validation-error"
    for text in (name, values[0]) if is_metadata else ():
        if (bad := why_bad(text)) is not None:
            return bad, "invalid-text"
    if is_metadata and len(values[0]) > MAX_METADATA_CHARS:
        return f"A metadata value has at most {MAX_METADATA_CHARS} characters.", "validation-error"
    return None
