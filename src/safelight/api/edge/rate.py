"""How many requests a minute one caller may make of this process.

The account is kept by `throttled-py` (GCRA, in memory): two numbers for each caller whatever the limit, a clock that
nobody sets, and an upper bound on callers. It is imported where a limit is set, and nowhere else.
"""

from __future__ import annotations

import ipaddress
import math
from typing import TYPE_CHECKING

from starlette.requests import Request

from safelight.api.openai.errors import is_in_room
from safelight.api.pictures.passes import may_have_link
from safelight.domain.access import Caller
from safelight.domain.errors import Unavailable

if TYPE_CHECKING:
    from throttled.asyncio import Throttled

MOST_CALLERS = 10_000
"""Remembered at a time. Chosen: as many as the keyring remembers keys."""

_NO_ADDRESS = "none"


class RequestRate:
    """A minute's requests may come at once, which is also the most that is saved up; from then on there is room for one
    more each 1/`per_minute` of a minute. So any minute sees twice `per_minute` at most, and any hour 61 times.

    Counted are `/v1` and `/openai`, for the key, or the address where no key is needed. Not counted is what a link is
    enough for: pictures by their links, and, where no key is needed, by their plain addresses, which are the links
    there. `per_minute` None: any number, and nothing is remembered. Of more than `most_callers` the one that was heard
    of longest ago is forgotten, and begins anew.
    """

    def __init__(self, per_minute: int | None, *, most_callers: int = MOST_CALLERS) -> None:
        self._per_minute = per_minute
        self._account = _account(per_minute, most_callers) if per_minute is not None else None

    async def require_room(self, request: Request, caller: Caller) -> None:
        """Counts the request of a caller who has been found good. Raises Unavailable (`rate-limited`) for one too many,
        which does not count."""
        if self._account is None or not is_counted(request.scope["path"]):
            return
        if caller.key_id is None and may_have_link(request):
            return
        found = await self._account.limit(caller.key_id or f"from {_address_of(request)}")
        if found.limited:
            who = "This address" if caller.key_id is None else "This key"
            raise Unavailable(
                f"{who} has made more requests than it may: {self._per_minute} a minute.",
                slug="rate-limited",
                retry_after_seconds=max(1, math.ceil(found.state.retry_after)),
            )


def is_counted(path: str) -> bool:
    return path.startswith("/v1/") or is_in_room(path)


def _account(per_minute: int, most_callers: int) -> Throttled:
    from throttled.asyncio import MemoryStore, RateLimiterType, Throttled, per_min

    store = MemoryStore(options={"MAX_SIZE": most_callers})
    return Throttled(using=RateLimiterType.GCRA.value, quota=per_min(per_minute, burst=per_minute), store=store)


def _address_of(request: Request) -> str:
    """The client's, as a proxy on this machine tells it, else the connection's; in few characters whatever was told."""
    try:
        return ipaddress.ip_address(request.client.host).packed.hex() if request.client else _NO_ADDRESS
    except ValueError:
        return _NO_ADDRESS
