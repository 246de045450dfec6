"""Who is signed in at the dashboard: a cookie that holds a key sealed, so that a browser never has one it could show.

The key in it is asked for like any other, with every request: a session ends when its key is revoked or expires, and
by itself after some hours. A cookie counts where nothing is changed, and at the dashboard, which asks more of a form
than a cookie.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from safelight.delivery.webhooks.vault import CannotOpen, Vault

SESSION_COOKIE = "safelight_session"
SESSION_SECONDS = 12 * 3600
"""Chosen: a working day."""

_PURPOSE = "dashboard session"


class Sessions:
    """`clock` gives seconds since 1970."""

    def __init__(self, vault: Vault, *, clock: Callable[[], float] = time.time) -> None:
        self._vault = vault
        self._clock = clock

    def issue(self, key: str) -> str:
        """The value of the cookie."""
        return self._vault.seal("\n".join((_PURPOSE, str(int(self._clock())), key))).decode()

    def key_in(self, cookie: str) -> str | None:
        """None for one that is not ours, or whose time has passed."""
        try:
            purpose, issued_at, key = self._vault.open(cookie.encode()).split("\n")
        except (CannotOpen, ValueError):
            return None
        is_good = purpose == _PURPOSE and 0 <= self._clock() - int(issued_at) < SESSION_SECONDS
        return key if is_good else None
