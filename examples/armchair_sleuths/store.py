"""A key-value store with the one operation that concurrent writers need: swap a value if it is still the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol


class Store(Protocol):
    """Texts by key. Every operation is atomic, also between processes."""

    async def get(self, key: str) -> str | None: ...

    async def put(self, key: str, value: str, *, ttl_seconds: int | None = None) -> None:
        """The key holds the value; for `ttl_seconds`, if given."""
        ...

    async def swap(self, key: str, old: str | None, new: str) -> bool:
        """The key holds `new`, if it held `old`; None: if it held nothing. Otherwise nothing is changed, and it is
        False. A value that had a time to live has none any more."""
        ...

    async def aclose(self) -> None: ...


async def change(store: Store, key: str, edit: Callable[[Any], Any]) -> Any:
    """What `edit` makes of the key's JSON (None: there is none) is kept, and returned.

    Nobody's change is lost: if another came in between, `edit` is called again with its outcome. So it must do nothing
    but compute. Nothing is written when it returns its argument, or an equal one.
    """
    while True:
        raw = await store.get(key)
        old = None if raw is None else json.loads(raw)
        new = edit(old)
        if new == old or await store.swap(key, raw, json.dumps(new)):
            return new
