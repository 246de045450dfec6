"""Who calls, and what they may do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

DEFAULT_ACCOUNT = "default"
"""The account of an installation that has no keys, and of keys that are made for no other."""


ACCOUNT_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""The id of an account, chosen by whoever names it first."""

ACCOUNT = re.compile(ACCOUNT_PATTERN)


class KeyScope(StrEnum):
    """What a key is good for. `admin` includes the others, and every account."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """On whose behalf a request is made. `key_id` is None where no key is needed."""

    account: str
    scopes: frozenset[KeyScope]
    key_id: str | None = None

    def may(self, scope: KeyScope) -> bool:
        return scope in self.scopes or KeyScope.ADMIN in self.scopes


ANYBODY = Caller(account=DEFAULT_ACCOUNT, scopes=frozenset(KeyScope))
"""Whoever calls a service that runs open."""
