"""The processes of Safelight: `api`, `worker`, and `serve`, which runs a database and both and stops all of it.

Every process stops on SIGTERM or SIGINT: nothing new is taken, calls that were sent run to their end. A second signal
leaves at once; what was in flight is then claimed by another worker, as after a crash.

`serve` only looks after the others, for as long as they live: what they are made of is imported where they start.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import structlog
import uvloop

from safelight.cli.complaint import Complaint, Misconfigured, read_settings
from safelight.cli.supervised import Child, stop_all
from safelight.cli.traces import traced
from safelight.db.keys import has_keys
from safelight.db.provide import Database, provide_database
from safelight.logs import configure_logging
from safelight.settings import RESTORING, Settings, child_environment

if TYPE_CHECKING:
    from safelight.engine.upkeep.restore import Restored

log = structlog.get_logger(__name__)

_OPEN_FILES = 65_536
_READY_SECONDS = 60.0
_PROBE_SECONDS = 2.0
_PORT_SECONDS = 8.0
_REPORTED = 50

T = TypeVar("T")


def run_serve(*, placeholder: bool, bind: str | None, workers: int | None, after_restore: bool = False) -> int:
    """Database, API and workers, until told to stop.

    Exit code 0 after a clean stop, and EX_CONFIG when one of them cannot begin for the way it is configured.

    `after_restore`: the database came out of a backup, so buying is paused and what may be bought twice is listed.
    """
    changes = {"placeholder": True if placeholder else None, "bind": bind, "workers": workers}
    settings = _settings(**{name: value for name, value in changes.items() if value is not None})
    with _complaining():
        return uvloop.run(_serve(settings, after_restore=after_restore))


def run_api() -> int:
    """The HTTP API alone."""
    _allow_many_connections()
    with _complaining():
        return uvloop.run(_api(_settings()))


def run_worker(*, one: tuple[str, str, str, str] | None = None) -> int:
    """A worker; with `one` (worker id, image row, generation, queue row) only for that image."""
    with _complaining():
        return uvloop.run(_worker(_settings(), one))


def run_migrate() -> int:
    """Applies the migrations that are missing, and says which."""
    return uvloop.run(_migrate(_settings()))


def _allow_many_connections() -> None:
    """Each open stream is a file, and many systems let a process begin with 1024 although it may have more."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


@contextmanager
def _complaining() -> Iterator[None]:
    """What the parts say that an operator has to put right becomes Complaint. `serve` loads no engine for that."""
    from safelight.providers.registry import InvalidConfiguration
    from safelight.storage.place import StorageUnusable

    try:
        yield
    except InvalidConfiguration as error:
        raise Misconfigured(str(error)) from error
    except StorageUnusable as error:
        raise Complaint(str(error)) from error


def _settings(**overrides: object) -> Settings:
    settings = read_settings(**overrides)
    configure_logging(level=settings.log_level, as_json=settings.log_json)
    try:
        _ = settings.place
    except ValueError as error:
        raise Misconfigured(str(error)) from error
    if (settings.home / RESTORING).exists():  # buying may not be paused yet
        raise Complaint(f"`safelight restore` broke off in `{settings.home}`: run it again first")
    return settings


async def _serve(settings: Settings, *, after_restore: bool) -> int:
    host, port = address(settings.bind)
    run_folder = settings.home / "run"
    run_folder.mkdir(parents=True, exist_ok=True)
    children: list[Child] = []
    stopping, stopped = asyncio.Event(), asyncio.Event()
    _on_stop(stopping.set, at_once=lambda: _kill(children))
    with _only_serve(run_folder):
        await _require_free(host, port, stopping)
        database = await _unless(stopping, provide_database(settings.database_url, home=settings.home, alone=True))
        if database is None:
            return 0
        kept = asyncio.create_task(database.keep_running(stopped))
        try:
            is_open = not await _has_keys(settings, database.dsn)
            if after_restore:
                await _take_stock(settings, database.dsn)
            shared = {"database_url": database.dsn, "home": settings.home, "bind": settings.bind, "supervised": 1}
            if settings.placeholder:
                shared["placeholder"] = 1
            environment = child_environment(shared)
            children.append(Child("api", "api", environment, run_folder))
            names = (f"worker-{n}" for n in range(1, settings.workers + 1))
            children.extend(Child(name, "worker", environment, run_folder) for name in names)
            running = [asyncio.create_task(child.keep_running(stopping)) for child in children]
            try:
                if await _ready(host, port, stopping):
                    how = "open: there are no keys" if is_open else "requests need a key"
                    sys.stderr.write(f"Safelight is ready at http://{host}:{port} ({how})\n")
                    sys.stderr.write(_without_default(settings))
                await stopping.wait()
            finally:
                stopping.set()
                await stop_all(children, running, settings.drain_seconds)
        finally:
            stopped.set()
            await asyncio.wait((kept,))
            await database.stop()
    return os.EX_CONFIG if any(child.is_misconfigured for child in children) else 0


def _without_default(settings: Settings) -> str:
    """A line for whoever would learn of it by a refused request."""
    if settings.chosen_provider() is not None:
        return ""
    names = ", ".join(f"`{name}`" for name in settings.all_providers())
    return (
        f"No provider is the default, so a request has to name one ({names}): set a vendor's key, such as "
        "GEMINI_API_KEY, or SAFELIGHT_DEFAULT_PROVIDER; --placeholder draws for free\n"
    )


async def _api(settings: Settings) -> int:
    from safelight.api.server import ApiServer, ServerConfig
    from safelight.wiring.api import api_of

    host, port = address(settings.bind)
    async with (
        traced(settings, "api"),
        _database(settings) as database,
        api_of(settings, database.dsn) as app,
    ):
        if not await _has_keys(settings, database.dsn):
            log.info("running open: there are no keys, and only this machine reaches the service", bind=settings.bind)
        server = ApiServer(ServerConfig(app, host=host, port=port))

        def stop() -> None:
            server.should_exit = True

        _on_stop(stop)
        with _until_orphaned(settings, stop):
            await server.serve()
    return 0


async def _worker(settings: Settings, one: tuple[str, str, str, str] | None) -> int:
    from safelight.domain.ids import ImageRowId, WorkerId
    from safelight.engine.image.lease import Hint
    from safelight.wiring.worker import worker_of

    async with traced(settings, "worker"), _database(settings) as database:
        if one is not None:
            _on_stop(_go_on, at_once=_go_on)  # its one image is what the worker that started it waits for
            worker_id, row_id, generation, queue_row_id = one
            async with worker_of(settings, database.dsn, worker_id=WorkerId(UUID(worker_id))) as worker:
                await worker.run_one(
                    Hint(
                        queue_row_id=int(queue_row_id),
                        row_id=ImageRowId(int(row_id)),
                        generation=int(generation),
                    )
                )
            return 0
        async with worker_of(settings, database.dsn) as worker:
            _on_stop(worker.drain)
            with _until_orphaned(settings, worker.drain):
                log.info("worker started", slots=settings.slots, pid=os.getpid())
                await worker.run()
                log.info("worker stopped", pid=os.getpid())
    return 0


async def _migrate(settings: Settings) -> int:
    database = await provide_database(settings.database_url, home=settings.home)
    await database.stop()
    for each in database.applied:
        sys.stdout.write(f"applied {each.version:04}_{each.name}\n")
    sys.stdout.write("the schema is up to date\n")
    return 0


def address(bind: str) -> tuple[str, int]:
    """Host and port of `host:port`. Raises Misconfigured."""
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise Misconfigured(f"SAFELIGHT_BIND reads `host:port`, not `{bind}`")
    return host, int(port)


async def _has_keys(settings: Settings, dsn: str) -> bool:
    """Whether requests need a key. Raises Complaint where others reach the service and nobody has one."""
    if await has_keys(dsn):
        return True
    if settings.is_local:
        return False
    raise Complaint(
        f"`{settings.bind}` can be reached by others, and there is no API key; make one with "
        "`safelight keys create --admin`, or bind to 127.0.0.1"
    )


async def _unless(stopping: asyncio.Event, begun: Coroutine[Any, Any, T]) -> T | None:
    """What `begun` comes to; None when told to stop first: then it is cancelled, and has undone what it did."""
    working, told = asyncio.create_task(begun), asyncio.create_task(stopping.wait())
    await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        working.cancel()
        await asyncio.wait((working,))
    told.cancel()
    return None if working.cancelled() else working.result()


def _kill(children: Sequence[Child]) -> None:
    """All of them at once, or this process where there are none yet."""
    if not children:
        os._exit(1)
    for child in children:
        child.signal(signal.SIGKILL)


async def _require_free(host: str, port: int, stopping: asyncio.Event) -> None:
    """Nobody listens there. Raises Complaint when somebody still does after some seconds: by then the API of a killed
    `serve` is gone."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + _PORT_SECONDS
    while not stopping.is_set() and _is_taken(host, port):
        if loop.time() >= ends_at:
            raise Complaint(
                f"another program listens on `{host}:{port}`: stop it, or choose another address with SAFELIGHT_BIND"
            )
        await asyncio.sleep(0.1)


def _is_taken(host: str, port: int) -> bool:
    """Whether the API could not listen there because somebody does. What else it could not is for it to say."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return False
    except OSError as error:
        return error.errno == errno.EADDRINUSE


async def _ready(host: str, port: int, stopping: asyncio.Event) -> bool:
    """The API has said that it is; False when told to stop first, or after a minute."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + _READY_SECONDS
    while not stopping.is_set() and loop.time() < ends_at:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_PROBE_SECONDS):
                if await _says_yes(host, port):
                    return True
        await asyncio.sleep(0.05)
    return False


async def _says_yes(host: str, port: int) -> bool:
    """One question, by hand: an HTTP client would stay in this process's memory for as long as it lives."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        return (await reader.readline()).split()[1:2] == [b"200"]
    finally:
        writer.close()


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    """For a process on its own; under `serve` the address is given and nothing is started."""
    database = await provide_database(settings.database_url, home=settings.home)
    try:
        yield database
    finally:
        await database.stop()


@contextmanager
def _only_serve(run_folder: Path) -> Iterator[None]:
    """Raises Complaint when another `serve` runs in this home."""
    with (run_folder / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Complaint(f"another `safelight serve` is running in `{run_folder.parent}`") from None
        yield


def _on_stop(stop: Callable[[], None], *, at_once: Callable[[], object] = lambda: os._exit(1)) -> None:
    """The first SIGTERM or SIGINT calls `stop`, a second one `at_once`."""
    loop = asyncio.get_running_loop()
    asked = False

    def ask() -> None:
        nonlocal asked
        if asked:
            at_once()
        else:
            asked = True
            stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)


def _go_on() -> None:
    """Stopping is somebody else's decision."""


async def _take_stock(settings: Settings, dsn: str) -> None:
    from safelight.wiring.parts import take_stock

    report_restored(await take_stock(settings, dsn))


def report_restored(found: Restored) -> None:
    """What may be bought twice, for the person who restored the database."""
    from safelight.domain.money import format_usd

    say = sys.stderr.write
    say("buying is paused: the database was restored from a backup\n")
    if found.recovered:
        say(f"recovered from the staging folder, nothing to be bought: {found.recovered} pictures\n")
    bought = [each for each in found.open_images if each.has_picture]
    held = f"of {len(bought)} the store holds a picture already{':' if bought else ''}"
    say(f"open images: {len(found.open_images)}; {held}\n")
    for each in bought[:_REPORTED]:
        say(f"  {each.job_id} {each.image_id}: bought after the backup, and would be bought again\n")
    estimate = sum(each.estimate_microusd or 0 for each in found.open_images)
    say(f"resuming buys up to ${format_usd(estimate)}; of the others, calls made after the backup are not known here\n")
    say("cancel what you do not want (`safelight jobs cancel JOB`), then `safelight queue resume`\n")


@contextmanager
def _until_orphaned(settings: Settings, stop: Callable[[], None]) -> Iterator[None]:
    """Stops this process when the `serve` that started it is gone, however it went."""
    if not settings.supervised:
        yield
        return
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            loop.remove_reader(sys.stdin.fileno())
            stop()

    loop.add_reader(sys.stdin.fileno(), read)
    try:
        yield
    finally:
        loop.remove_reader(sys.stdin.fileno())
