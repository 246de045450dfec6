"""`safelight schedules`: jobs that are made again and again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight.cli.complaint import Complaint
from safelight.cli.jobs import AsJson, Url, print_json, run_with_client

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from safelight.client import SafelightClient

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name, or its id, `sch_…`.")]

schedules = typer.Typer(help="Look at schedules, and add, change or run them.", no_args_is_help=True)


@schedules.command("list")
def list_schedules(as_json: AsJson = False, url: Url = None) -> None:
    """Every schedule, with its next time and how its last run went."""

    async def command(client: SafelightClient, console: Console) -> int:
        found = await _all(client)
        if as_json:
            print_json({"schedules": found})
        else:
            console.print(_timetable(found))
        return 0

    run_with_client(command, url)


@schedules.command()
def show(
    name: Name,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most this many runs.")] = 10,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """One schedule and its newest runs."""

    async def command(client: SafelightClient, console: Console) -> int:
        schedule = await _find(client, name)
        runs = (await client.call("GET", _path(schedule, "/runs"), may_repeat=True, params={"limit": limit})).json()
        if as_json:
            whole = (await client.call("GET", _path(schedule), may_repeat=True)).json()
            print_json(whole | {"runs": runs["runs"]})
        else:
            _print(console, schedule, runs["runs"])
        return 0

    run_with_client(command, url)


@schedules.command()
def add(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON or TOML: the body of POST /v1/schedules.", show_default=False)
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Change the schedule of this name, if there is one.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Make a schedule of a file. Its job is checked now, as one that is submitted."""
    from safelight.cli.job_file import read_job_file

    if file.suffix.lower() == ".csv":
        raise Complaint(f"{file}: a schedule is written as JSON or TOML")
    body = read_job_file(file).body

    async def command(client: SafelightClient, console: Console) -> int:
        known = await _named(client, body.get("name")) if replace else None
        if known is None:
            schedule = (await client.call("POST", "/v1/schedules", json=body)).json()
        else:
            changes = _DEFAULTS | body
            schedule = (await client.call("PATCH", _path(known), may_repeat=True, json=changes)).json()
        if as_json:
            print_json(schedule)
        else:
            console.print(f"{schedule['name']}: {_next(schedule)}", soft_wrap=True)
        return 0

    run_with_client(command, url)


@schedules.command()
def remove(name: Name, url: Url = None) -> None:
    """Make no further job. Jobs that were made stay."""

    async def command(client: SafelightClient, console: Console) -> int:
        schedule = await _find(client, name)
        await client.call("DELETE", _path(schedule))
        console.print(f"{schedule['name']} is gone", soft_wrap=True)
        return 0

    run_with_client(command, url)


@schedules.command()
def enable(name: Name, url: Url = None) -> None:
    """Run again, from its next time on."""
    _switch(name, url, enabled=True)


@schedules.command()
def disable(name: Name, url: Url = None) -> None:
    """Do not run until it is enabled."""
    _switch(name, url, enabled=False)


@schedules.command()
def run(name: Name, as_json: AsJson = False, url: Url = None) -> None:
    """Make its job now. With `unique_per: day` it is the day's job, if there is one already."""
    from uuid import uuid4

    async def command(client: SafelightClient, console: Console) -> int:
        schedule = await _find(client, name)
        key = {"idempotency-key": uuid4().hex}
        made = (await client.call("POST", _path(schedule, "/run"), may_repeat=True, headers=key)).json()
        if made["job"] is None:
            raise Complaint(f"no job could be made: {made['detail']}")
        if as_json:
            print_json(made)
        else:
            joined = " · the job of an earlier run of that day" if made["status"] == "joined" else ""
            console.print(f"{made['job']['id']} {made['job']['status']}{joined}", soft_wrap=True)
        return 0

    run_with_client(command, url)


_DEFAULTS: dict[str, Any] = {"unique_per": None, "catch_up": "latest", "ready_by": None, "enabled": True}
"""What a file does not say, when it replaces a schedule that may say otherwise."""


def _switch(name: str, url: str | None, *, enabled: bool) -> None:
    async def command(client: SafelightClient, console: Console) -> int:
        schedule = await _find(client, name)
        changed = await client.call("PATCH", _path(schedule), may_repeat=True, json={"enabled": enabled})
        console.print(f"{schedule['name']}: {_next(changed.json())}", soft_wrap=True)
        return 0

    run_with_client(command, url)


async def _all(client: SafelightClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        asked = {"limit": 100, **cursor}
        page = (await client.call("GET", "/v1/schedules", may_repeat=True, params=asked)).json()
        found += page["schedules"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


async def _find(client: SafelightClient, name: str) -> dict[str, Any]:
    """Raises Complaint when there is none, ApiProblem for an id that nobody has."""
    from safelight.domain.ids import is_schedule_id

    if is_schedule_id(name):
        return (await client.call("GET", f"/v1/schedules/{name}", may_repeat=True)).json()
    if found := await _named(client, name):
        return found
    raise Complaint(f"there is no schedule called `{name}`; see `safelight schedules list`")


async def _named(client: SafelightClient, name: Any) -> dict[str, Any] | None:
    if not isinstance(name, str):
        return None  # the service says what is wrong with it
    page = (await client.call("GET", "/v1/schedules", may_repeat=True, params={"name": name})).json()
    return page["schedules"][0] if page["schedules"] else None


def _path(schedule: dict[str, Any], action: str = "") -> str:
    return f"/v1/schedules/{schedule['id']}{action}"


def _timetable(found: list[dict[str, Any]]) -> Table:
    from safelight.cli.tables import table

    timetable = table("schedule", "cron", "next", "last run", "went", "job", whole=("job",))
    for each in found:
        last = each["last_run"]
        went = _went(last) if last else ""
        when = _local(last["scheduled_at"], each) if last else ""
        job = last["job"]["id"] if last and last["job"] else ""
        timetable.add_row(each["name"], f"{each['cron']} {each['timezone']}", _next(each), when, went, job)
    return timetable


def _print(console: Console, schedule: dict[str, Any], runs: list[dict[str, Any]]) -> None:
    from safelight.cli.tables import table

    said = [
        f"{schedule['cron']} {schedule['timezone']}",
        _next(schedule),
        f"catches up: {schedule['catch_up']}",
        *(["one job a day"] if schedule["unique_per"] else []),
        *([f"ready by {schedule['ready_by']}"] if schedule["ready_by"] else []),
    ]
    console.print(f"{schedule['name']} · {schedule['id']} · {' · '.join(said)}", soft_wrap=True)
    log = table("scheduled", "by", "went", "job", "why", whole=("job",))
    for each in runs:
        job = each["job"]["id"] if each["job"] else ""
        faults = "; ".join(f"{fault['pointer']} {fault['detail']}" for fault in each["faults"])
        why = faults or each["detail"] or ""
        log.add_row(_local(each["scheduled_at"], schedule), each["trigger"], _went(each), job, why)
    console.print(log)


def _went(run: dict[str, Any]) -> str:
    state = run["job"]["status"] or "job not kept" if run["job"] else run["status"]
    return f"{state}, at risk: {run['at_risk_reason']}" if run["at_risk_at"] and run["job"] else state


def _next(schedule: dict[str, Any]) -> str:
    if not schedule["enabled"]:
        return "disabled"
    return f"next {_local(schedule['next_run_at'], schedule)}" if schedule["next_run_at"] else "no further time"


def _local(moment: str, schedule: dict[str, Any]) -> str:
    """As the schedule's own clock shows it."""
    from datetime import datetime
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    at = datetime.fromisoformat(moment)
    try:
        return f"{at.astimezone(ZoneInfo(schedule['timezone'])):%Y-%m-%d %H:%M}"
    except ZoneInfoNotFoundError:
        return f"{at:%Y-%m-%d %H:%M} UTC"
