from __future__ import annotations

import time
from datetime import datetime

from safelight.domain.template import filled, unknown_placeholders

WHEN = datetime(2026, 11, 20, 18, 5, 7)  # noqa: DTZ001 - the clock of the zone, as a schedule hands it over


def test_the_time_of_a_run_goes_into_metadata_and_the_prefix_and_nowhere_else() -> None:
    template = {
        "images": [{"id": "a", "prompt": "A {date} palm"}],
        "storage_prefix": "cases/{date}",
        "metadata": {"case": "case-{date}", "at": "{datetime}", "{date}": "a key", "count": 7},
    }
    body = filled(template, WHEN)
    assert body["storage_prefix"] == "cases/2026-11-20"
    assert body["metadata"] == {
        "case": "case-2026-11-20",
        "at": "2026-11-20T18-05-07",
        "{date}": "a key",
        "count": 7,
    }
    assert body["images"] == template["images"]
    assert template["metadata"]["case"] == "case-{date}"
    assert unknown_placeholders(template) == []


def test_a_placeholder_that_nobody_fills_is_found_where_it_stands() -> None:
    template = {"storage_prefix": "{dat}/{date}", "metadata": {"a/b": "{week} {date}", "json": '{"date": 1}'}}
    assert unknown_placeholders(template) == [(("storage_prefix",), "dat"), (("metadata", "a/b"), "week")]


def test_a_template_of_another_shape_is_left_to_whoever_reads_jobs() -> None:
    for template in ({}, {"metadata": None, "storage_prefix": 7}, {"metadata": ["{dat}"]}):
        assert filled(template, WHEN) == template
        assert unknown_placeholders(template) == []


def test_a_template_with_any_number_of_texts_is_filled_in_one_pass() -> None:
    """Anybody may send one, and it is looked at before it is refused."""
    began_at = time.process_time()
    found = filled({"metadata": {f"key-{n}": "{date}" for n in range(200_000)}}, WHEN)
    assert set(found["metadata"].values()) == {f"{WHEN:%Y-%m-%d}"}
    assert time.process_time() - began_at < 20.0
