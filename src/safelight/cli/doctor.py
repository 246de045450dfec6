"""`safelight doctor`: what is well, what is not, what it means and what to do. It changes and starts nothing.

An embedded database that is not running stays so: starting it may mean recovering it, which is `serve`'s to do.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from safelight import __version__
from safelight.cli.complaint import read_settings
from safelight.cli.running import run
from safelight.client import SafelightClient
from safelight.db import checkup as database
from safelight.db.embedded import other_version, running_dsn
from safelight.delivery.webhooks.checkup import secrets_check
from safelight.delivery.webhooks.vault import InvalidKey, vault_found
from safelight.domain.checkup import Check, Verdict, worst
from safelight.engine.watch.doctor import DatabaseReport, examine
from safelight.providers import checkup as providers
from safelight.providers.checkup import Account, provider_checks
from safelight.settings import PLACEHOLDER, Settings
from safelight.storage import checkup as storage
from safelight.storage.checkup import fallback_checks, storage_checks
from safelight.storage.local_staging import LocalStaging
from safelight.storage.place import Folder, StorageUnusable
from safelight.storage.staging import Receipt
from safelight.storage.stores import open_stores
from safelight.wiring.parts import config_of, timing_of

_SIGNS = {Verdict.OK: ("✓", "green"), Verdict.WARNING: ("!", "yellow"), Verdict.PROBLEM: ("✗", "bold red")}
_SAID = {Verdict.OK: "all is well", Verdict.WARNING: "no problem", Verdict.PROBLEM: "there are problems"}


def doctor(*, as_json: bool) -> int:
    """Exit code 1 when a check is a problem, else 0."""
    settings = read_settings()

    async def command() -> int:
        checks = await checkup(settings)
        print_json(checks) if as_json else print_report(checks)
        return 1 if worst(checks) is Verdict.PROBLEM else 0

    return run(command())


async def checkup(settings: Settings) -> list[Check]:
    """Every check of this installation, by area."""
    receipts, staged = await _staged(settings)
    report = await _database(settings, receipts)
    return [
        *report.checks,
        *await _secrets(settings, report),
        *await _storage(settings, report.store_markers),
        *staged,
        *await _providers(settings),
        await _api(settings),
        *_software(report.server_version),
    ]


def print_json(checks: Sequence[Check]) -> None:
    print(json.dumps({"verdict": worst(checks), "checks": [asdict(check) for check in checks]}, indent=2))


def print_report(checks: Sequence[Check]) -> None:
    console = Console(markup=False, highlight=False)
    for area in dict.fromkeys(check.area for check in checks):
        console.print(area, style="bold")
        console.print(_rows(check for check in checks if check.area == area))
    problems = sum(check.verdict is Verdict.PROBLEM for check in checks)
    warnings = sum(check.verdict is Verdict.WARNING for check in checks)
    console.print(f"{_SAID[worst(checks)]}: {len(checks)} checks, {problems} problems, {warnings} warnings")


async def _database(settings: Settings, receipts: Sequence[Receipt]) -> DatabaseReport:
    try:
        dsn = settings.database_url or running_dsn(settings.home)
    except OSError as error:
        return DatabaseReport(checks=(database.unreachable(error),))
    if dsn is None:
        if (complaint := other_version(settings.home / "pg")) is not None:
            return DatabaseReport(checks=(_other_version(complaint),))
        found = "the embedded PostgreSQL of this home is not running"
        return DatabaseReport(
            checks=(
                Check(
                    area=database.AREA,
                    name="reachable",
                    verdict=Verdict.WARNING,
                    found=found if (settings.home / "pg").exists() else f"{found}, and never has been",
                    meaning="That is as it should be while `safelight serve` is stopped; its content was not checked.",
                    remedy="Run `safelight serve`, then `safelight doctor` beside it.",
                ),
            )
        )
    return await examine(
        dsn,
        receipts=receipts,
        max_concurrency={name: each.max_concurrency for name, each in settings.all_providers().items()},
        requests_per_minute={
            name: each.requests_per_minute
            for name, each in settings.all_providers().items()
            if each.requests_per_minute is not None
        },
        timing=timing_of(settings),
    )


async def _secrets(settings: Settings, report: DatabaseReport) -> list[Check]:
    """Of a database that answers, and that this version can read."""
    if not any(each.name == "workers" for each in report.checks):
        return []
    secret_key = settings.secret_key.get_secret_value() if settings.secret_key is not None else None
    try:
        vault = vault_found(settings.home, secret_key)
        dsn = settings.database_url or running_dsn(settings.home)
        check = await secrets_check(dsn, vault) if dsn is not None else None
    except (InvalidKey, OSError, asyncpg.PostgresError):
        return []  # every process says so when it starts, and the database's own checks what ails it
    return [check] if check is not None else []


def _other_version(complaint: str) -> Check:
    found, _, remedy = complaint.partition(" Nothing was changed. ")
    return Check(
        area=database.AREA,
        name="reachable",
        verdict=Verdict.PROBLEM,
        found=found,
        meaning="No process can start.",
        remedy=remedy,
    )


async def _staged(settings: Settings) -> tuple[list[Receipt], list[Check]]:
    """What is staged, with a check when some of it cannot be read, or lies on this host only."""
    folder = settings.home / "staging"
    with TemporaryDirectory() as nothing_here:
        try:
            place = settings.place
            if isinstance(place, Folder) and not folder.is_dir():
                return [], []
            fallback = folder if folder.is_dir() else Path(nothing_here)
            stores = open_stores(place, staging_folder=fallback)
        except (ValueError, StorageUnusable, OSError):
            return [], []  # which the check of the storage itself says
        try:
            receipts, corrupt = await stores.staging.pending(), await stores.staging.corrupt()
            here = [] if isinstance(place, Folder) else await LocalStaging(fallback).pending()
        except OSError:
            return [], []
        finally:
            stores.close()
    where = folder if isinstance(place, Folder) else place
    return [*receipts, *here], [*_corrupt(corrupt, where), *_stranded(here)]


def _corrupt(names: Sequence[str], where: object) -> list[Check]:
    if not names:
        return []
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return [
        Check(
            area=storage.AREA,
            name="staged receipts",
            verdict=Verdict.PROBLEM,
            found=f"{len(names)} receipts in `{where}` cannot be read: {shown}",
            meaning="The disk damaged pictures that were paid for; Safelight cannot use them.",
            remedy="Restore these files and their `.bin` from a backup, or delete them. Have the disk looked at.",
        )
    ]


def _stranded(receipts: Sequence[Receipt]) -> list[Check]:
    if not receipts:
        return []
    return [
        Check(
            area=storage.AREA,
            name="stranded",
            verdict=Verdict.WARNING,
            found=f"{len(receipts)} paid pictures lie on this host only: the bucket was away when they came",
            meaning="No other host can finish them. A worker of this host moves them once the bucket answers.",
            remedy="Keep this host's disk, and run a worker on it.",
        )
    ]


async def _storage(settings: Settings, markers: str | None) -> list[Check]:
    try:
        place = settings.place
    except ValueError as error:
        return [
            Check(
                area=storage.AREA,
                name="blobs",
                verdict=Verdict.PROBLEM,
                found=str(error),
                meaning="No process can start.",
                remedy="Put SAFELIGHT_STORAGE_URL right.",
            )
        ]
    staged = settings.home / "staging"
    if isinstance(place, Folder):
        return await storage_checks(
            blobs=place.root, staged=staged, min_free_bytes=settings.min_free_bytes, markers=markers
        )
    from safelight.storage.bucket_checkup import bucket_checks

    return [
        *await bucket_checks(place, markers=markers),
        *await fallback_checks(staged, min_free_bytes=settings.min_free_bytes),
    ]


async def _providers(settings: Settings) -> list[Check]:
    configured = settings.all_providers()
    checks = await provider_checks(
        [
            Account(name=name, kind=each.kind, model=each.model, config=config_of(settings, each))
            for name, each in configured.items()
        ]
    )
    default = settings.chosen_provider()
    if default is not None:
        found = f"`{default}`, when a request names none"
        return [*checks, Check(area=providers.AREA, name="default", verdict=Verdict.OK, found=found)]
    real = [name for name in configured if name != PLACEHOLDER]
    return [
        *checks,
        Check(
            area=providers.AREA,
            name="default",
            verdict=Verdict.WARNING,
            found=f"there are {len(real)}, and none of them is the default" if real else "no vendor is configured",
            meaning="A request has to name its provider; one that names none is answered with 422, unless the service "
            "was started with --placeholder, which is not seen here.",
            remedy="Set SAFELIGHT_DEFAULT_PROVIDER." if real else "Set a vendor's key, such as GEMINI_API_KEY.",
        ),
    ]


async def _api(settings: Settings) -> Check:
    async with SafelightClient(settings.url, timeout_seconds=5) as client:
        if await client.is_up():
            return Check(area="api", name="address", verdict=Verdict.OK, found=f"answers at {settings.url}")
    return Check(
        area="api",
        name="address",
        verdict=Verdict.WARNING,
        found=f"nothing answers at {settings.url}",
        meaning="`safelight jobs` cannot work; `safelight generate` starts a private service.",
        remedy="Run `safelight serve`, or set SAFELIGHT_URL to where the API listens.",
    )


def _software(server_version: str | None) -> list[Check]:
    found = f"Safelight {__version__}, Python {platform.python_version()}, PgQueuer {_installed('pgqueuer')}"
    server = f", PostgreSQL {server_version}" if server_version else ""
    checks = [Check(area="software", name="versions", verdict=Verdict.OK, found=found + server), _libvips()]
    if wanted := _other_pgqueuer():
        checks.append(
            Check(
                area="software",
                name="pgqueuer",
                verdict=Verdict.PROBLEM,
                found=f"PgQueuer {_installed('pgqueuer')} is installed, and {wanted} is needed",
                meaning="Its tables come from our migrations and fit that version only.",
                remedy="Install Safelight again, with its own dependencies.",
            )
        )
    return checks


def _libvips() -> Check:
    try:
        import pyvips
    except (ImportError, OSError) as error:
        return Check(
            area="software",
            name="libvips",
            verdict=Verdict.PROBLEM,
            found=f"libvips cannot be loaded: {error}",
            meaning="No picture can be verified or resized.",
            remedy="Install `pyvips-binary`, or your system's libvips.",
        )
    found = "libvips " + ".".join(str(pyvips.version(part)) for part in range(3))
    return Check(area="software", name="libvips", verdict=Verdict.OK, found=found)


def _other_pgqueuer() -> str | None:
    """The version that this package is pinned to, when another one is installed."""
    pins = [
        each.partition("==")[2].partition(";")[0].strip() for each in requires("safelight") or () if "pgqueuer" in each
    ]
    return pins[0] if pins and pins[0] and pins[0] != _installed("pgqueuer") else None


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def _rows(checks: Iterable[Check]) -> Group:
    """A line per check, and below it what it means and what to do where there is something."""
    shown: list[Table | Padding] = []
    for check in checks:
        sign, style = _SIGNS[check.verdict]
        line = Table.grid(padding=(0, 1))
        line.add_column(width=1)
        line.add_column(width=16, no_wrap=False)
        line.add_row(Text(sign, style=style), Text(check.name), Text(check.found))
        shown.append(Padding(line, (0, 0, 0, 1), expand=False))
        shown += [
            Padding(Text(said, style="dim"), (0, 0, 0, 20), expand=False)
            for said in (check.meaning, check.remedy and f"→ {check.remedy}")
            if said
        ]
    return Group(*shown)
