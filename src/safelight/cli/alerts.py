"""`safelight alerts`: what fires, which rules there are, and whether the operator's services take a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from safelight.cli.complaint import Complaint, read_settings
from safelight.cli.jobs import AsJson, Url, print_json, run_with_client

if TYPE_CHECKING:
    from rich.console import Console

    from safelight.client import SafelightClient

alerts = typer.Typer(help="See what needs an operator, and try out who is told.", no_args_is_help=True)


@alerts.command("list")
def list_alerts(as_json: AsJson = False, url: Url = None) -> None:
    """What fires now, and what was resolved in the last week. Needs an admin's key."""

    async def command(client: SafelightClient, console: Console) -> int:
        found = (await client.call("GET", "/v1/alerts", may_repeat=True)).json()
        if as_json:
            print_json(found)
            return 0
        firing = [each for each in found["alerts"] if each["state"] == "firing"]
        over = [each for each in found["alerts"] if each["state"] == "resolved"]
        if not firing:
            when = _time(found["evaluated_at"]) or "nobody has looked yet"
            console.print(f"nothing fires ({when})")
        for each in firing:
            console.print(f"{each['severity']}  {each['title']}, since {_time(each['since'])}", soft_wrap=True)
            console.print(f"  {each['detail']}", soft_wrap=True)
            console.print(f"  {each['remedy']}", soft_wrap=True)
        for each in over:
            console.print(f"over      {each['title']}, {_span(each)}", soft_wrap=True)
        return 0

    run_with_client(command, url)


@alerts.command("rules")
def rules(as_json: AsJson = False) -> None:
    """Every rule as these settings have it, and whom it tells."""
    from safelight.domain.alerts import DEFAULTS, MEANINGS, Rule
    from safelight.wiring.alerts import services_of

    settings = read_settings()
    terms, services = settings.alerts.policy().terms, services_of(settings)
    shown = [
        {
            "rule": rule.value,
            "enabled": rule in terms,
            "measure": DEFAULTS[rule].measure.value,
            "warning": terms[rule].warning if rule in terms else None,
            "critical": terms[rule].critical if rule in terms else None,
            "tells_warning": services.hearing(rule.value, "warning"),
            "tells_critical": services.hearing(rule.value, "critical"),
            "meaning": MEANINGS[rule],
        }
        for rule in Rule
    ]
    if as_json:
        print_json({"rules": shown})
        return
    from rich.console import Console

    from safelight.cli.tables import table

    terms_of_all = table("rule", "warning", "critical", "tells", whole=("rule",))
    for each in shown:
        tells = ", ".join(dict.fromkeys([*each["tells_warning"], *each["tells_critical"]])) or "nobody"
        warning, critical = (_bound(each[name], each["measure"]) for name in ("warning", "critical"))
        terms_of_all.add_row(each["rule"], warning, critical, tells if each["enabled"] else "turned off")
    Console(markup=False, highlight=False).print(terms_of_all)


@alerts.command("test")
def try_services(as_json: AsJson = False) -> None:
    """Send a message that says nothing to every service, and say which took it. Exit code: 1 when one did not."""
    import asyncio

    from safelight.delivery.notices import AlertsExtraMissing, Note, require_extra, send
    from safelight.wiring.alerts import services_of

    settings = read_settings()
    services = services_of(settings).named
    if not services:
        raise Complaint("nobody is to be told: set alerts.urls, such as `slack://…`")
    try:
        require_extra()
    except AlertsExtraMissing as error:
        raise Complaint(str(error)) from error
    note = Note(
        id=1,
        to=list(services),
        title="[test] Safelight can tell you",
        body=f"Somebody has run `safelight alerts test`. Nothing is wrong.\n{settings.public_url or settings.url}",
        kind="info",
    )
    results = asyncio.run(send([note], services, within_seconds=settings.alerts.send_seconds))
    if as_json:
        print_json(
            {"services": [{"service": each.service, "accepted": each.why is None, "why": each.why} for each in results]}
        )
    else:
        for each in results:
            print(f"{each.service}: {each.why or 'accepted'}")
    raise typer.Exit(1 if any(each.why is not None for each in results) else 0)


def _bound(value: float | None, measure: str) -> str:
    if value is None:
        return ""
    return {"below": f"below {value:g}", "at_percent": f"{value:g} %"}.get(measure, f"{value:g} s")


def _time(moment: str | None) -> str:
    return f"{moment[:16].replace('T', ' ')} UTC" if moment else ""


def _span(each: Mapping[str, Any]) -> str:
    return f"{_time(each['since'])} to {_time(each['clear_since'] or each['resolved_at'])}"
