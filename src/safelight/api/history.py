"""Which of an account's jobs a list shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from starlette.requests import Request

from safelight.api.edge.faults import refused
from safelight.api.edge.problems import RequestFault
from safelight.api.edge.strict_json import why_bad
from safelight.api.schemas import MAX_METADATA_CHARS, MAX_METADATA_ENTRIES, HistoryQuery

_METADATA = "metadata."


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Jobs that meet all of it. `metadata` are entries that a job has, `group` one that an image of it is in."""

    account: str
    status: str | None = None
    created_after: datetime | None = None
    group: str | None = None
    metadata: Mapping[str, str] | None = None

    def identity(self) -> bytes:
        """The same for the same list, and only for it."""
        return orjson.dumps(
            [
                self.account,
                self.status,
                self.created_after and self.created_after.astimezone(UTC),
                self.group,
                self.metadata and dict(self.metadata),
            ],
            option=orjson.OPT_SORT_KEYS,
        )


def history_of(request: Request, query: HistoryQuery, *, account: str) -> History:
    """Raises InvalidRequest on a parameter that does not exist, that is given twice, or that no metadata can match."""
    faults: list[RequestFault] = []
    metadata: dict[str, str] = {}
    given = request.query_params
    for name in dict.fromkeys(given):
        why = _why_wrong(name, given.getlist(name))
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
        account=account,
        status=query.status,
        created_after=query.created_after,
        group=query.group,
        metadata=metadata or None,
    )


def _why_wrong(name: str, values: list[str]) -> tuple[str, str] | None:
    """The fault's words and kind."""
    is_metadata = name.startswith(_METADATA) and len(name) > len(_METADATA)
    if not is_metadata and name not in HistoryQuery.model_fields:
        return "There is no such parameter.", "unknown-field"
    if len(values) > 1:
        return "Give this parameter once.", "validation-error"
    for text in (name, values[0]) if is_metadata else ():
        if (bad := why_bad(text)) is not None:
            return bad, "invalid-text"
    if is_metadata and len(values[0]) > MAX_METADATA_CHARS:
        return f"A metadata value has at most {MAX_METADATA_CHARS} characters.", "validation-error"
    return None
