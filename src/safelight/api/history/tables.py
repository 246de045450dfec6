"""Answers as tables: CSV as RFC 4180 has it, in UTF-8, row by row, for programs that calculate with cells.

Such a program takes a text that begins like a formula for one, whoever wrote it. So it is given an apostrophe to begin
with, which shows that it is none (https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from safelight.api.edge.accept import prefers
from safelight.api.edge.openapi import Responses

Cell = str | int | float | bool | datetime | None

MEDIA_TYPE = "text/csv"

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def wants_table(request: Request, form: str | None) -> bool:
    """What the parameter says counts; without it, what `Accept` names."""
    return form == "csv" if form is not None else prefers(request, MEDIA_TYPE, to="application/json")


def table(name: str, columns: Sequence[str], rows: AsyncIterator[Iterable[Sequence[Cell]]]) -> Response:
    """Rows come in parts; no more than one part is held at a time. When one cannot be had, the connection breaks off:
    what has arrived is then known not to be all."""
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{name}.csv"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(_written(columns, rows), 200, headers, f"{MEDIA_TYPE}; charset=utf-8; header=present")


def lines(rows: Iterable[Sequence[Cell]]) -> bytes:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerows([_cell(each) for each in row] for row in rows)
    return written.getvalue().encode()


def with_table(answer: Responses, description: str) -> Responses:
    """An answer that may be had as a table too."""
    schema = {"type": "string", "description": description}
    answer[200]["content"][MEDIA_TYPE] = {"schema": schema}
    return answer


async def _written(columns: Sequence[str], rows: AsyncIterator[Iterable[Sequence[Cell]]]) -> AsyncIterator[bytes]:
    yield lines([columns])
    async for part in rows:
        yield lines(part)


def _cell(value: Cell) -> str | int | float:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case str() if value.startswith(_FORMULA):
            return f"'{value}"
        case _:
            return value
