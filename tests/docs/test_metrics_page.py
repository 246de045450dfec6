"""Every metric that a page, a dashboard or a rule names is one that the service tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safelight.api.schemas import GenerationMetrics, MetricsPoint, ProviderMetrics
from safelight.engine.figures.scrape import DATABASE_UP, OF_INSTALLATION
from safelight.metrics import OF_PROCESS, Kind

ROOT = Path(__file__).parents[2]
METRICS = {metric.name: metric for metric in (*OF_INSTALLATION, DATABASE_UP, *OF_PROCESS)}
SERIES = {metric.series: metric for metric in METRICS.values() if metric.kind is not Kind.HISTOGRAM} | {
    f"{metric.name}_{part}": metric
    for metric in METRICS.values()
    if metric.kind is Kind.HISTOGRAM
    for part in ("bucket", "sum", "count")
}
OTHERS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
GRAFANA = json.loads((ROOT / "deploy" / "grafana" / "safelight.json").read_text(encoding="utf-8"))
RULES = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")


def expressions() -> Iterator[str]:
    yield from (target["expr"] for panel in GRAFANA["panels"] for target in panel.get("targets", ()))
    for rule in RULES.split("- alert:")[1:]:
        yield rule.partition("expr:")[2].partition("\n        annotations")[0].partition("\n        for")[0]


@pytest.mark.parametrize("expression", [*expressions()])
def test_a_dashboard_or_rule_asks_for_metrics_and_labels_that_there_are(expression: str) -> None:
    asked = re.findall(r"\b((?:safelight|process)_\w+)(?:\{([^}]*)\})?", expression)
    assert asked
    for name, selectors in asked:
        if name in OTHERS:
            continue
        assert name in SERIES
        assert set(re.findall(r"(\w+)\s*=~?", selectors)) <= set(SERIES[name].labels), name
    labels = {"le", *(label for name, _ in asked if name in SERIES for label in SERIES[name].labels)}
    for by in re.findall(r"by \(([^)]*)\)", expression):
        assert {each.strip() for each in by.split(",")} <= labels | {"instance"}, expression


def test_every_figure_that_the_service_tells_has_a_good_name() -> None:
    for metric in METRICS.values():
        assert re.fullmatch(r"safelight_[a-z][a-z_]*[a-z]", metric.name)
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket"))
        if metric.kind is Kind.HISTOGRAM:
            assert metric.name.endswith("_seconds")
        assert metric.text.endswith((".", ")"))


def test_names_of_operations_and_the_api_page_are_there() -> None:
    for page in ("operations.md", "api.md", "troubleshooting.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        for name in re.findall(r"\bsafelight_[a-z_]+[a-z]\b", text):
            assert any(series.startswith(name) for series in SERIES), f"{page}: {name}"


@pytest.mark.parametrize("model", [GenerationMetrics, ProviderMetrics, MetricsPoint])
def test_every_field_of_how_it_is_doing_has_a_row(model: Any) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    section = page.partition("\n## How it is doing\n")[2].partition("\n## ")[0]
    for name, field in model.model_fields.items():
        assert f"`{field.alias or name}`" in section, name
