"""Secrets at rest: sealed under a key that the database does not hold."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from safelight.storage.durable import make_folder, open_folder, read_file, sync, write_part

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

KEY_FILE = "secret.key"
_KEY_BYTES = 32


class CannotOpen(Exception):
    """What is sealed was sealed under another key, which is not here."""

    def __init__(self) -> None:
        super().__init__(
            "its secret was sealed under another key than this process has: give every process the same "
            f"SAFELIGHT_SECRET_KEY, or the same {KEY_FILE} in its SAFELIGHT_HOME; if the key is lost, rotate the secret"
        )


class InvalidKey(ValueError):
    """A key that is none. Says which, not what it reads."""


class Vault:
    """Seals under the first of `keys` and opens what any of them has sealed. Each is 32 bytes in URL-safe base64."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys or not all(_is_key(key) for key in keys):
            raise InvalidKey("a secret key is 32 bytes in URL-safe base64, 44 characters")
        self._keys = tuple(keys)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """To derive others from, for another use; the newest first."""
        return tuple(base64.urlsafe_b64decode(key) for key in self._keys)

    def seal(self, secret: str) -> bytes:
        return self._fernet.encrypt(secret.encode())

    def open(self, sealed: bytes) -> str:
        """Raises CannotOpen."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise CannotOpen from None

    def open_any(self, sealed: Iterable[bytes]) -> list[str]:
        """Those that can be opened, in their order: a lost key's secret is there until its successor has taken its
        place. Raises CannotOpen when it is none of them."""
        opened: list[str] = []
        for each in sealed:
            with suppress(CannotOpen):
                opened.append(self.open(each))
        if not opened:
            raise CannotOpen
        return opened

    @cached_property
    def _fernet(self) -> MultiFernet:
        """Imported with the first secret: 4 MB that a process without webhooks does not need."""
        from cryptography.fernet import Fernet, MultiFernet

        return MultiFernet([Fernet(key) for key in self._keys])


def vault_at(home: Path, secret_key: str | None) -> Vault:
    """Of the keys in `secret_key`, separated by commas; without any, of the installation's own in `home`, which is made
    if it is not there: by one process, whole and durable, readable by nobody else. Raises InvalidKey and OSError."""
    keys = [key.strip() for key in (secret_key or "").split(",") if key.strip()]
    return Vault(keys or [_key_in(home)])


def vault_found(home: Path, secret_key: str | None) -> Vault | None:
    """As `vault_at`, but None where there is no key: nothing is made. Raises InvalidKey and OSError."""
    if not (secret_key or "").strip(", ") and not (home / KEY_FILE).exists():
        return None
    return vault_at(home, secret_key)


def new_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode()


def _is_key(text: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(text)) == _KEY_BYTES
    except ValueError:
        return False


def _key_in(home: Path) -> str:
    make_folder(home)
    folder = open_folder(home)
    try:
        with suppress(FileNotFoundError):
            return read_file(KEY_FILE, folder=folder).decode("ascii", "replace").strip()
        part = write_part(new_key().encode(), folder=folder)
        with suppress(FileExistsError):  # another process was first, and its key is everybody's
            os.link(part, KEY_FILE, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        os.unlink(part, dir_fd=folder)
        sync(folder)
        return read_file(KEY_FILE, folder=folder).decode("ascii", "replace").strip()
    finally:
        os.close(folder)
