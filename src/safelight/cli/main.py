"""The command line. A command imports its parts when it runs, so that `safelight --help` answers at once."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from safelight import __version__
from safelight.cli.accounts import accounts
from safelight.cli.alerts import alerts
from safelight.cli.complaint import Complaint, complain, exit_code
from safelight.cli.jobs import AsJson, Url, jobs
from safelight.cli.keys import keys
from safelight.cli.providers import providers
from safelight.cli.queue import queue
from safelight.cli.recipes import recipes
from safelight.cli.schedules import schedules
from safelight.cli.styles import styles
from safelight.domain.errors import SafelightError

app = typer.Typer(
    help="Durable image generation: nothing accepted is lost, nothing received is paid twice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
db = typer.Typer(help="The database's schema.", no_args_is_help=True)
app.add_typer(jobs, name="jobs")
app.add_typer(keys, name="keys")
app.add_typer(accounts, name="accounts")
app.add_typer(queue, name="queue")
app.add_typer(alerts, name="alerts")
app.add_typer(schedules, name="schedules")
app.add_typer(providers, name="providers")
app.add_typer(recipes, name="recipes")
app.add_typer(styles, name="styles")
app.add_typer(db, name="db")


def main() -> None:
    """Runs the command that the arguments name, and ends the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a sign still shows the rest
    try:
        app(prog_name="safelight")
    except SafelightError as error:
        sys.exit(complain(error))
    except BrokenPipeError:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.close()
        sys.exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    del version  # its callback has done it


@app.command()
def serve(
    placeholder: Annotated[
        bool, typer.Option("--placeholder", help="Draw placeholders when a request names no provider.")
    ] = False,
    bind: Annotated[str | None, typer.Option(help="host:port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Worker processes.")] = None,
    after_restore: Annotated[
        bool,
        typer.Option(
            "--after-restore", help="The database came out of a backup: start with buying paused, and report."
        ),
    ] = False,
) -> None:
    """Run everything: API, workers and an embedded PostgreSQL."""

    def process() -> int:
        from safelight.cli.processes import run_serve

        return run_serve(placeholder=placeholder, bind=bind, workers=workers, after_restore=after_restore)

    _run(process)


@app.command()
def api() -> None:
    """Run the HTTP API alone."""

    def process() -> int:
        from safelight.cli.processes import run_api

        return run_api()

    _run(process)


@app.command()
def worker(one: Annotated[tuple[str, str, str, str] | None, typer.Option(hidden=True)] = None) -> None:
    """Run one worker process alone."""

    def process() -> int:
        from safelight.cli.processes import run_worker

        return run_worker(one=one)

    _run(process)


@db.command("migrate")
def db_migrate() -> None:
    """Bring the database's schema up to date."""

    def process() -> int:
        from safelight.cli.processes import run_migrate

        return run_migrate()

    _run(process)


@app.command()
def backup(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="New, empty, or an earlier backup to bring up to date.")
    ],
    pictures: Annotated[bool, typer.Option(help="Finished pictures too, where they lie in a folder.")] = True,
) -> None:
    """Save this installation into a folder, while it runs or not.

    The secret key is not in it; keep that in another place.
    """

    def process() -> int:
        from safelight.cli.backup import backup as run_backup

        return run_backup(folder, with_pictures=pictures)

    _run(process)


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `safelight backup` has made.")],
) -> None:
    """Make an installation of a backup, with buying paused.

    Only where there is no database yet: in a new SAFELIGHT_HOME, or an empty database of your own.
    """

    def process() -> int:
        from safelight.cli.backup import restore as run_restore

        return run_restore(folder)

    _run(process)


@app.command("upgrade-database")
def upgrade_database(
    old_bindir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where `postgres` of the older version is, if it is not found by itself."),
    ] = None,
) -> None:
    """Carry the embedded database over to the PostgreSQL of this version.

    With Safelight stopped. The old data is kept beside the new.
    """

    def process() -> int:
        from safelight.cli.database import upgrade_database as run_upgrade

        return run_upgrade(old_bindir)

    _run(process)


@db.callback()
def _db() -> None:
    """Keeps `migrate` a word of its own while it is the only one."""


@app.command()
def generate(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="JSON or TOML: the body of POST /v1/jobs. CSV: id,group,prompt,aspect_ratio,seed,style.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Pictures go to DIR/{group}/{id}.{ext}.")
    ],
    url: Url = None,
) -> None:
    """Generate the images of a job file into a folder.

    Run again, it goes on; a changed file is a new job. When nothing answers at the configured address, a private
    service runs until the job has ended. Exit code: 0 complete, 3 partial, 1 failed.
    """
    from safelight.cli.generate import generate as run_generate

    raise typer.Exit(run_generate(file, folder=output, url=url))


@app.command()
def quote(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="What `safelight generate` takes. Pictures that it names are uploaded."),
    ],
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """What a job file would cost, and how long it may take.

    Nothing is ordered. Exit code: 0, or 1 when it would be refused.
    """
    from safelight.cli.quote import quote as run_quote

    run_quote(file, as_json=as_json, url=url)


@app.command()
def stats(
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Jobs created from then on; default: 30 days before.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Jobs created before then, `2026-11-20T00:00:00Z`.")
    ] = None,
    account: Annotated[str | None, typer.Option(help="With an admin's key: another account, or `*` for all.")] = None,
    group_by: Annotated[str | None, typer.Option(help="account, provider, model, group, style, day or hour.")] = None,
    time_zone: Annotated[str | None, typer.Option(help="Whose days and hours; default: UTC.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """What has become of jobs: how many, how well, how fast, at what cost."""
    from safelight.cli.stats import stats as run_stats

    asked = {"since": since, "until": until, "account": account, "group_by": group_by, "time_zone": time_zone}
    run_stats(as_json=as_json, url=url, **asked)


@app.command()
def doctor(
    as_json: AsJson = False,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Break an installation made for it, and judge what becomes of its jobs.")
    ] = False,
    minutes: Annotated[float, typer.Option(min=0.2, max=1440, help="With --chaos: how long things break.")] = 10.0,
    seed: Annotated[int, typer.Option(help="With --chaos: what breaks when, and what is ordered.")] = 0,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="With --chaos: jobs in all; default: 200 for each minute.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --chaos: an empty folder for evidence and logs.")
    ] = None,
    page: Annotated[Path | None, typer.Option(metavar="FILE", hidden=True)] = None,
) -> None:
    """Examine this installation, and say what to do.

    Changes and starts nothing, and sends nothing to a vendor. With --chaos this installation is left alone: one of its
    own is started in a temporary folder, without a vendor. Exit code: 1 when there is a problem, else 0.
    """
    if chaos:
        from safelight.chaos.plan import Plan
        from safelight.cli.chaos import chaos as run_chaos

        plan = Plan(minutes=minutes, seed=seed, jobs=jobs)
        raise typer.Exit(run_chaos(plan, as_json=as_json, keep=keep, page=page))
    if keep is not None or page is not None or jobs is not None:
        raise Complaint("--keep, --jobs and --page are for --chaos")
    from safelight.cli.doctor import doctor as run_doctor

    _run(lambda: run_doctor(as_json=as_json))


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 picks a free one.")] = 8421,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    latency: Annotated[
        str, typer.Option(help="Seconds per image: `0.05`, or log-normal `p50=2,p95=6`.")
    ] = "p50=2,p95=6",
    fault_rate: Annotated[str, typer.Option(help="Share of calls that go wrong: `429=0.1,500=0.05`.")] = "",
    seed: Annotated[int, typer.Option(help="Fixes which calls meet a fault and how long each takes.")] = 0,
    bill: Annotated[Path, typer.Option(metavar="FILE", help="Where each call is charged.")] = Path("bill.jsonl"),
) -> None:
    """Stand in for the vendors, with faults and a bill."""
    from safelight.cli.sandbox import sandbox as run_sandbox

    raise typer.Exit(run_sandbox(host=host, port=port, latency=latency, fault_rate=fault_rate, seed=seed, bill=bill))


@app.command()
def demo(
    home: Annotated[Path, typer.Option(metavar="DIR", help="The demo's own data folder.")] = Path(".demo"),
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the pictures go.")] = Path(
        "demo-output"
    ),
    kill_worker: Annotated[
        bool, typer.Option("--kill-worker", help="Kill a worker process half-way, with calls in flight.")
    ] = False,
    live: Annotated[bool, typer.Option("--live", help="Buy from the real vendor, with GEMINI_API_KEY.")] = False,
    model: Annotated[str | None, typer.Option(help="The vendor's model id; only with --live.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before spending money.")] = False,
) -> None:
    """See it work: a mystery case of 14 images.

    Runs everything in a home of its own against the sandbox, and compares with the vendor's bill.
    """
    from safelight.cli.demo import demo as run_demo
    from safelight.cli.demo import live_model

    bought = live_model(model, yes=yes) if live else None
    if model is not None and not live:
        raise Complaint("--model is for --live; the sandbox has its own")
    raise typer.Exit(run_demo(home=home.absolute(), folder=output.absolute(), kill_worker=kill_worker, live=bought))


def _run(process: Callable[[], int]) -> None:
    """Ends with the process's exit code. Raises Complaint for what an operator has to put right."""
    raise typer.Exit(exit_code(process))
