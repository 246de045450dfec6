"""A file with a job in it, as the body of `POST /v1/jobs`: JSON or TOML hold that body, CSV a row per image.

    id,group,prompt,aspect_ratio,seed,style
    the-tower,cards,"A tower struck by lightning",2:3,7,watercolor

What is wrong is said as `file:line: why` wherever the line is known.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from safelight.cli.complaint import Complaint
from safelight.domain.errors import Fault

COLUMNS = ("id", "group", "prompt", "aspect_ratio", "seed", "style")
REQUIRED_COLUMNS = ("id", "prompt")

_FAULTS_SHOWN = 3
_LARGEST_INTEGER = 2**63 - 1
_DEPTH = 32
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_IMAGE_POINTER = re.compile(r"/images/(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFile:
    """`body` is what the service is sent. `lines` are where its images begin in `source`, for a CSV file only."""

    source: Path
    body: dict[str, Any]
    lines: tuple[int, ...] = ()

    def place_of(self, fault: Fault) -> str:
        """`cards.csv:7` where the field that a fault points to is known to come from, else the file."""
        found = _IMAGE_POINTER.match(fault.pointer)
        if found is None or int(found[1]) >= len(self.lines):
            return str(self.source)
        return f"{self.source}:{self.lines[int(found[1])]}"


def read_job_file(source: Path) -> JobFile:
    """Raises Complaint for a file that cannot be read and for one that is not what its suffix says."""
    parse = _PARSERS.get(source.suffix.lower())
    if parse is None:
        raise Complaint(f"{source}: its name has to end in one of {', '.join(_PARSERS)}")
    job_file = parse(source, _text(source))
    if unfit := next(_unfit(job_file.body, ()), None):
        raise Complaint(f"{source}: {unfit}")
    return job_file


def _text(source: Path) -> str:
    try:
        content = source.read_bytes()
    except OSError as error:
        raise Complaint(f"{source}: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        raise Complaint(f"{source}:{line}: not UTF-8; save the file with that encoding") from None


def _json(source: Path, text: str) -> JobFile:
    try:
        body = json.loads(text, object_pairs_hook=_members, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise Complaint(f"{source}:{error.lineno}: not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise Complaint(f"{source}: not JSON: {error}") from None
    if not isinstance(body, dict):
        raise Complaint(f"{source}: holds no object; it is the body of POST /v1/jobs")
    return JobFile(source=source, body=body)


def _toml(source: Path, text: str) -> JobFile:
    try:
        return JobFile(source=source, body=tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        place = _TOML_PLACE.search(str(error))
        line = f":{place[1] or 1 + text.rstrip().count(chr(10))}" if place else ""
        raise Complaint(f"{source}{line}: not TOML: {_TOML_PLACE.sub('', str(error))}") from None


def _csv(source: Path, text: str) -> JobFile:
    # The parser gets whole lines with their ends, so that a prompt may go over several.
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    images: list[dict[str, Any]] = []
    lines: list[int] = []
    faults: list[str] = []
    try:
        header = [name.strip() for name in next(rows, [])]
        if problem := _wrong_header(header):
            raise Complaint(f"{source}:1: {problem}")
        while True:
            line = rows.line_num + 1
            row = next(rows, None)
            if row is None:
                break
            if not any(cell.strip() for cell in row):
                continue
            try:
                image = _image(header, row)
            except ValueError as error:
                faults.append(f"{source}:{line}: {error}")
                continue
            images.append(image)
            lines.append(line)
    except csv.Error as error:
        raise Complaint(f"{source}:{rows.line_num}: not CSV: {error}") from None
    first: dict[str, int] = {}
    for image, line in zip(images, lines, strict=True):
        if first.setdefault(image["id"], line) != line:
            faults.append(f"{source}:{line}: id `{image['id']}` is that of line {first[image['id']]} too")
    if faults:
        more = f"; and {len(faults) - _FAULTS_SHOWN} more" if len(faults) > _FAULTS_SHOWN else ""
        raise Complaint("; ".join(faults[:_FAULTS_SHOWN]) + more)
    if not images:
        raise Complaint(f"{source}: has a header and no image below it")
    return JobFile(source=source, body={"images": images}, lines=tuple(lines))


def _wrong_header(header: list[str]) -> str | None:
    known = ", ".join(COLUMNS)
    if len(header) == 1 and re.search(r"[;\t]", header[0]):
        return "columns are separated by commas"
    if unknown := [name for name in header if name not in COLUMNS]:
        return f"unknown column `{unknown[0]}`; the first line names the columns, which are {known}"
    if doubled := [name for name in header if header.count(name) > 1]:
        return f"column `{doubled[0]}` is there twice"
    if missing := [name for name in REQUIRED_COLUMNS if name not in header]:
        return f"column `{missing[0]}` is missing; the first line names the columns, which are {known}"
    return None


def _image(header: list[str], row: list[str]) -> dict[str, Any]:
    """Raises ValueError that says what is wrong with the row."""
    if len(row) > len(header):
        raise ValueError(f"{len(row)} cells under {len(header)} columns; put a text with commas into quotes")
    image: dict[str, Any] = {}
    for name, cell in zip(header, row, strict=False):
        if cell.strip():
            image[name] = cell if name == "prompt" else cell.strip()
    for name in REQUIRED_COLUMNS:
        if name not in image:
            raise ValueError(f"no {name}")
    if "seed" in image:
        if not re.fullmatch(r"[0-9]{1,18}", image["seed"]):
            raise ValueError(f"seed `{image['seed'][:40]}` is no whole number from 0 on")
        image["seed"] = int(image["seed"])
    return image


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"one object has `{doubled}` twice")
    return members


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"`{name}` is no number")


def _unfit(value: Any, path: tuple[str | int, ...]) -> Iterator[str]:
    """What TOML or Python's JSON can hold and the wire cannot."""
    why = None
    if len(path) > _DEPTH:
        yield f"`{'.'.join(map(str, path[:3]))}` holds more than {_DEPTH} tables and lists inside of each other"
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _unfit(inner, (*path, name))
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from _unfit(inner, (*path, n))
    elif isinstance(value, str):
        why = "holds half of a character" if any("\ud800" <= c <= "\udfff" for c in value) else None
    elif isinstance(value, float):
        why = None if math.isfinite(value) else "is no finite number"
    elif isinstance(value, int):
        why = None if abs(value) <= _LARGEST_INTEGER else "is too large a number"
    elif value is not None:
        why = "is a date or a time; put it into quotes"
    if why:
        yield f"`{'.'.join(map(str, path))}` {why}"


_PARSERS: Mapping[str, Callable[[Path, str], JobFile]] = {".json": _json, ".toml": _toml, ".csv": _csv}
