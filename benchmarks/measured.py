"""What `make bench` measured, for calculations: out of its JSON file, or out of the tables that it wrote on a page."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from benchmarks.admission import AT_ONCE

_NAMES = {
    "worker_ms": "cpu_kept_worker",
    "render_ms": "cpu_kept_render",
    "postgres_ms": "cpu_kept_postgres",
    "api_ms": "cpu_kept_api",
    "plain_worker_ms": "cpu_plain_worker",
    "plain_per_second": "throughput_plain",
    "kept_per_second": "throughput_kept",
    "admission_ms": "admission_p99_10000",
}
_KEPT = "images through the whole durable life, default rendition"
_PLAIN = "images through the whole durable life, no rendition"
_ROWS = {
    "worker_ms": (_KEPT, "· processor time per image, worker"),
    "render_ms": (_KEPT, "· processor time per image, its render child"),
    "postgres_ms": (_KEPT, "· processor time per image, PostgreSQL"),
    "api_ms": (_KEPT, "· processor time per image, API"),
    "plain_worker_ms": (_PLAIN, "· processor time per image, worker"),
    "plain_per_second": (_PLAIN, ""),
    "kept_per_second": (_KEPT, ""),
    "admission_ms": (f"admission of {AT_ONCE} images, 10 000 queued, p99", ""),
}


class NotMeasured(Exception):
    """A figure that is needed is not there; the message says which, and how to give it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Medians. Milliseconds are of processor time, per image; those of `admission_ms` the 99th percentile of an
    admission of `AT_ONCE` images. `source` says where they come from."""

    worker_ms: float
    render_ms: float
    postgres_ms: float
    api_ms: float
    plain_worker_ms: float
    plain_per_second: float
    kept_per_second: float
    admission_ms: float
    source: str


NAMES = tuple(_NAMES)
"""The fields that can be measured, or given."""


def measured_in(path: Path, given: dict[str, float]) -> Measured:
    """`given` goes before what the file says. Raises NotMeasured."""
    text = path.read_text(encoding="utf-8")
    found = _in_json(text) if path.suffix == ".json" else _on_page(text)
    found |= given
    if missing := [name for name in NAMES if name not in found]:
        raise NotMeasured(f"`{path}` does not tell {', '.join(missing)}: give `--set {missing[0]}=…`")
    source = f"`{path.name}`" + (f" with {', '.join(sorted(given))} as given" if given else "")
    return Measured(**{name: found[name] for name in NAMES}, source=source)


def _in_json(text: str) -> dict[str, float]:
    medians = {each["name"]: each["median"] for each in json.loads(text)["figures"]}
    return {name: medians[known] for name, known in _NAMES.items() if known in medians}


def _on_page(text: str) -> dict[str, float]:
    """A row that begins with `·` belongs to the one above that does not."""
    medians: dict[tuple[str, str], float] = {}
    parent = ""
    for what, number in re.findall(r"^\| ([^|]+?) \| ([\d  .]+?) [^\d |]+ \|", text, re.MULTILINE):
        parent, child = (parent, what) if what.startswith("·") else (what, "")
        medians[parent, child] = float(re.sub(r"\s", "", number))
    return {name: medians[row] for name, row in _ROWS.items() if row in medians}
