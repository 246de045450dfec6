"""The PostgreSQL that Safelight carries: one server per home, on a Unix socket, started and stopped by us.

    {home}/pg/            0700, of the user that runs the server (as root possibly a link, see `placement`)
        data/             the cluster; appears complete or not at all
        data-16/          what `upgrade` has kept of an older major version
        server.log        PostgreSQL's own words
        adopted           which server is another's to stop than its starter's, see `EmbeddedServer.adopt`
        left              which server is its last user's to stop, since its starter stopped before the others
        .s.PGSQL.5432     the socket, or in a folder below /tmp where this path would not do

Whether a server lives is not read from a pid file, which outlives its process and lies after a reboot. The
server and all its children inherit one open descriptor of `{home}/pg`, locked with flock(2): whoever gets the
lock knows that no process of the server is left, and may start one; whoever does not, attaches or waits.
Whoever uses the server shares a lock of `data/`; nobody stops it under another who does, unless he has adopted it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from safelight.db.placement import (
    MAJOR,
    EmbeddedServerError,
    Placement,
    lock_at_once,
    place,
    private_folder,
    share_at_once,
)

_PORT = 5432  # only names the socket file
_SOCKET = f".s.PGSQL.{_PORT}"
_LONGEST_SOCKET_PATH_BYTES = 100  # 104 on macOS and 108 on Linux, with the final NUL
_LARGEST_LOG_BYTES = 10_000_000
_ADOPTED, _LEFT = "adopted", "left"
_POLL_SECONDS = 0.02
_LOOKS_FOR_USERS = 5
_START_SECONDS = 30
_ANSWER_SECONDS = 5
# Length and code 80877103: https://www.postgresql.org/docs/18/protocol-message-formats.html
_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")

# Written to postgresql.conf when the cluster is made, for the operator to change.
_TUNABLE = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "min_wal_size": "32MB",
    "max_wal_size": "256MB",
    "log_checkpoints": "off",
    # Without DETAIL lines: those repeat the row, and rows hold prompts.
    "log_error_verbosity": "terse",
}
_FIXED = {
    "listen_addresses": "",
    "logging_collector": "off",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_DURABLE = {"fsync": "on", "full_page_writes": "on"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Postmaster:
    """What a running server says about itself in `postmaster.pid`; `started` tells two with one pid apart."""

    pid: int
    started: str
    socket_folder: Path
    is_ready: bool


class EmbeddedServer:
    """One PostgreSQL 18 for one home. Every method blocks: from a coroutine use `asyncio.to_thread`.

    The server is nobody's child: it outlives a killed starter, and the next `start` attaches to it. Not
    thread-safe. `durable=False` gives up the data when the *machine* fails: for throw-away data only.
    """

    def __init__(
        self,
        home: Path,
        *,
        durable: bool = True,
        deadline_seconds: float = 60,
        placement: Placement | None = None,
    ) -> None:
        self._home = home
        self._durable = durable
        self._deadline_seconds = deadline_seconds
        self._placement = placement
        self._started: _Postmaster | None = None
        self._adopted: _Postmaster | None = None
        self._hold: int | None = None

    @property
    def bin_path(self) -> Path:
        """The folder of `postgres`, `psql`, `pg_dump` and their kin."""
        return self._place().bin_path

    @property
    def server_version(self) -> str:
        """Of the carried binaries, such as `18.4`."""
        command = [str(self.bin_path / "postgres"), "--version"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]

    @property
    def is_owner(self) -> bool:
        """This object started the running server and `stop` ends it; False after attaching to another's."""
        return self._started is not None

    def start(self) -> str:
        """The server accepts connections; returns the DSN of its `postgres` database.

        Creates the cluster at the first start, recovers after an unclean end, attaches when a server of this
        home is already there. Raises EmbeddedServerError, with the end of its log, after `deadline_seconds`; and at
        once, with nothing changed, for data of another major version.
        """
        ends_at = time.monotonic() + self._deadline_seconds
        placement = self._place()
        _require_version(placement)
        while True:
            with lock_at_once(placement.area) as lock:
                if lock is not None:
                    self._launch(placement, lock, timeout_seconds=max(1.0, ends_at - time.monotonic()))
                    self._started = _postmaster(placement.area)
            postmaster = _postmaster(placement.area)
            if postmaster is not None and postmaster.is_ready and self._takes_hold() and _answers(postmaster):
                self._started = postmaster if postmaster == self._started else None
                return _dsn(postmaster)
            self._let_go()
            if time.monotonic() > ends_at:
                raise EmbeddedServerError(
                    f"No PostgreSQL answers in `{placement.area}` after {self._deadline_seconds:g} s.\n"
                    f"{_log_end(placement.area)}"
                )
            time.sleep(_POLL_SECONDS)

    @property
    def is_gone(self) -> bool:
        """No process of this home's server is left, whoever ended it. Asks the kernel only."""
        return _is_gone(self._place().area)

    def stop(self) -> None:
        """The server this object started is gone, its data written out, or left to the others that use it: the last
        of them stops it. One that was only attached to goes on, unless its starter has left it so, and so does one
        that somebody started after ours had died, or has adopted since."""
        started, self._started = self._started, None
        if self._hold is None and started is None:
            return
        self._let_go()
        area = self._place().area
        running = _postmaster(area)
        if running is None:
            return
        if running == self._adopted == started:
            _shut_down(area, running)
        elif not _is_noted(area, _ADOPTED, running):
            if running == started:
                _note(area, _LEFT, running)  # before the others are looked for: who leaves meanwhile finds it
            if _is_noted(area, _LEFT, running):
                _shut_down_if_unused(area, running)

    def adopt(self) -> None:
        """The running server is ours to stop, whoever started it: for a starter that knows itself alone."""
        area = self._place().area
        self._started = self._adopted = _postmaster(area)
        if self._adopted is not None:
            _note(area, _ADOPTED, self._adopted)

    def destroy(self) -> None:
        """No server runs for this home, whoever started it, and its data is deleted for good."""
        self._started = None
        self._let_go()
        if not (self._home / "pg").exists():
            (self._home / "pg").unlink(missing_ok=True)  # a link to what is gone already
            return
        placement = self._place()
        _shut_down_whoever_runs(placement.area)
        shutil.rmtree(_short_socket_folder(placement.area), ignore_errors=True)
        shutil.rmtree(placement.area)
        (self._home / "pg").unlink(missing_ok=True)
        self._placement = None

    def _place(self) -> Placement:
        if self._placement is None:
            self._placement = place(self._home)
        return self._placement

    def _takes_hold(self) -> bool:
        """Nobody who leaves stops the server from now on; False while somebody is about to."""
        if self._hold is None:
            self._hold = share_at_once(self._place().area / "data")
        return self._hold is not None

    def _let_go(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            os.close(hold)

    def _launch(self, placement: Placement, lock: int, *, timeout_seconds: float) -> None:
        area = placement.area
        socket_folder = _socket_folder(placement)
        # The lock proves these are leftovers. PostgreSQL would believe a recycled pid in them, and refuse.
        for leftover in (
            area / "data/postmaster.pid",
            socket_folder / _SOCKET,
            socket_folder / f"{_SOCKET}.lock",
        ):
            leftover.unlink(missing_ok=True)
        if (log := area / "server.log").exists() and log.stat().st_size > _LARGEST_LOG_BYTES:
            log.replace(area / "server.log.1")

        def run(*command: str) -> None:
            done = subprocess.run(
                [str(placement.bin_path / command[0]), *command[1:]],
                cwd=area,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                pass_fds=(lock,),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                **placement.identity(),
            )
            if done.returncode != 0:
                said = done.stderr.strip()
                raise EmbeddedServerError(f"PostgreSQL in `{area}`, {command[0]}: {said}\n{_log_end(area)}")

        if not (area / "data").exists():
            shutil.rmtree(area / "data.new", ignore_errors=True)
            tuning = (f"--set={name}={value}" for name, value in _TUNABLE.items())
            run(
                "initdb",
                "--pgdata=data.new",
                "--username=postgres",
                # Whoever may enter the 0700 folder of the socket is the owner of the data.
                "--auth-local=trust",
                "--auth-host=reject",
                "--encoding=UTF8",
                # Code point order, Unicode case rules: the same everywhere, unlike the C library's locales.
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                *tuning,
                *(() if self._durable else ("--no-sync",)),
            )
            (area / "data.new").rename(area / "data")
            os.fsync(lock)  # the lock is a descriptor of `area`

        durability = _DURABLE if self._durable else dict.fromkeys(_DURABLE, "off")
        # A list-valued setting: quoted once for PostgreSQL, and below once for the shell that pg_ctl runs.
        folders = '"' + str(socket_folder).replace('"', '""') + '"'
        settings = {**_FIXED, **durability, "unix_socket_directories": folders, "port": str(_PORT)}
        options = " ".join(shlex.quote(f"--{name}={value}") for name, value in settings.items())
        seconds = str(int(timeout_seconds) or 1)
        run(
            "pg_ctl",
            "start",
            "--wait",
            f"--timeout={seconds}",
            "-D",
            "data",
            "-l",
            "server.log",
            "-o",
            options,
        )


def data_version(area: Path) -> int | None:
    """The major version of the PostgreSQL that made the data; None where there is none yet. Raises OSError, and
    EmbeddedServerError where that cannot be told."""
    mark = area / "data/PG_VERSION"
    try:
        return int(mark.read_text().split(".")[0])
    except FileNotFoundError:
        return None
    except ValueError:
        raise EmbeddedServerError(
            f"`{mark}` names no version of PostgreSQL: the data is damaged. Nothing was changed. "
            "Restore a backup into a new home."
        ) from None


def other_version(area: Path) -> str | None:
    """Why the carried server cannot open what lies in this folder, and what to do; None when it can. Raises OSError."""
    try:
        found = data_version(area)
    except EmbeddedServerError as error:
        return str(error)
    if found is None:
        if kept := kept_data(area):
            return (
                f"The upgrade of `{area}` broke off between two steps; `{kept[-1].name}` is whole; nothing is lost. "
                "Run `safelight upgrade-database` again, which goes on from there."
            )
        return None
    if found == MAJOR:
        return None
    remedy = (
        "Stop every process of Safelight and run `safelight upgrade-database`: it keeps the old data beside the new."
        if found < MAJOR
        else "Install the newer Safelight that made it, or restore a backup into a new home."
    )
    return (
        f"The data in `{area}` was made by PostgreSQL {found}, and this Safelight carries PostgreSQL {MAJOR}, which "
        f"cannot open it; one of its own version can. Nothing was changed. {remedy}"
    )


def kept_data(area: Path) -> list[Path]:
    """What upgrades have kept of older major versions, oldest first."""
    return sorted(area.glob("data-[0-9][0-9]"))


def _require_version(placement: Placement) -> None:
    if placement.major == MAJOR and (complaint := other_version(placement.area)):
        raise EmbeddedServerError(complaint)


def running_server(area: Path) -> str | None:
    """What tells the server that runs here from any other; None when none does."""
    postmaster = _postmaster(area)
    return None if postmaster is None else _identity(postmaster)


def stop_left_behind(area: Path, server: str | None) -> None:
    """No server runs here that is `server`. Another one goes on."""
    running = _postmaster(area)
    if running is not None and _identity(running) == server:
        _shut_down(area, running)


def running_dsn(home: Path) -> str | None:
    """The DSN of the server that answers in this home; None when none does. Starts, creates and changes nothing.

    Raises OSError when its files cannot be read.
    """
    postmaster = _postmaster(home / "pg")
    return _dsn(postmaster) if postmaster is not None and postmaster.is_ready and _answers(postmaster) else None


def _shut_down_if_unused(area: Path, server: _Postmaster) -> None:
    """Looks more than once: whoever looks at the descriptors of a process keeps a closed one open for a moment."""
    for _ in range(_LOOKS_FOR_USERS):
        with lock_at_once(area / "data") as unused:
            if unused is not None:
                _shut_down(area, server)
                return
        time.sleep(_POLL_SECONDS)


def _shut_down_whoever_runs(area: Path) -> None:
    """No server runs here, nor one that somebody is about to start."""

    def is_told_of_or_gone() -> bool:
        return _postmaster(area) is not None or _is_gone(area)

    while not _is_gone(area):
        if not _within(_START_SECONDS, is_told_of_or_gone):
            raise EmbeddedServerError(f"The PostgreSQL in `{area}` did not stop.")
        if (running := _postmaster(area)) is not None:
            _shut_down(area, running)


def _shut_down(area: Path, server: _Postmaster) -> None:
    """This server is gone; one that somebody starts as soon as it is goes on. Fast, then immediate, then by force: the
    last two leave recovery to the next start."""

    def is_over() -> bool:
        found = _postmaster(area)
        return (found is not None and _identity(found) != _identity(server)) or _is_gone(area)

    for number, seconds in ((signal.SIGINT, 30), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
        if is_over():
            return
        with suppress(ProcessLookupError):  # killed; its children are about to notice
            os.kill(server.pid, number)
        if _within(seconds, is_over):
            return
    raise EmbeddedServerError(f"The PostgreSQL in `{area}` did not stop.")


def _is_gone(area: Path) -> bool:
    with lock_at_once(area) as lock:
        return lock is not None


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    ends_at = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < ends_at:
        time.sleep(_POLL_SECONDS)
    return holds


def _postmaster(area: Path) -> _Postmaster | None:
    # https://www.postgresql.org/docs/18/storage-file-layout.html: one fact a line, the last one padded.
    try:
        lines = os.fsdecode((area / "data/postmaster.pid").read_bytes()).splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < 8 or not (lines[0].isascii() and lines[0].isdigit()):
        return None
    return _Postmaster(
        pid=int(lines[0]),
        started=lines[2],
        socket_folder=Path(lines[4]),
        is_ready=lines[7].strip() == "ready",
    )


def _identity(postmaster: _Postmaster) -> str:
    return f"{postmaster.pid} {postmaster.started}"


def _note(area: Path, name: str, postmaster: _Postmaster) -> None:
    (area / name).unlink(missing_ok=True)  # it may be another user's
    (area / name).write_text(_identity(postmaster))


def _is_noted(area: Path, name: str, postmaster: _Postmaster) -> bool:
    try:
        return (area / name).read_text() == _identity(postmaster)
    except FileNotFoundError:
        return False


def _answers(postmaster: _Postmaster) -> bool:
    # An open socket is not enough: that of a dying server still takes connections. So it is asked something.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_ANSWER_SECONDS)
        try:
            probe.connect(str(postmaster.socket_folder / _SOCKET))
            probe.sendall(_SSL_REQUEST)
            return probe.recv(1) in (b"N", b"S")
        except OSError:
            return False


def _dsn(postmaster: _Postmaster) -> str:
    return f"postgresql://postgres@/postgres?host={quote(str(postmaster.socket_folder), safe='/')}&port={_PORT}"


def _socket_folder(placement: Placement) -> Path:
    # In a DSN a comma separates hosts, even inside a path.
    path = os.fsencode(placement.area / _SOCKET)
    if len(path) <= _LONGEST_SOCKET_PATH_BYTES and b"," not in path:
        return placement.area
    return private_folder(_short_socket_folder(placement.area), uid=placement.uid, gid=placement.gid)


def _short_socket_folder(area: Path) -> Path:
    # /tmp whatever TMPDIR says: short, the same for every process, and the server's user can enter it.
    return Path("/tmp") / f"safelight-{sha256(os.fsencode(area)).hexdigest()[:16]}"  # noqa: S108 - verified 0700 ours


def _log_end(area: Path) -> str:
    try:
        return "\n".join((area / "server.log").read_text(errors="replace").splitlines()[-15:])
    except OSError:
        return ""
