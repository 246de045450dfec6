"""Named points at which a test can stop this process, in production inert.

`SAFELIGHT_FAILPOINT=staged:kill@2` kills the process with SIGKILL the second time it gets to `staged`;
`attempt_committed:stop@1` stops it with SIGSTOP, to be thawed by SIGCONT.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Failpoint(StrEnum):
    CLAIMED = "claimed"
    """The image has a new claim token; nothing else has happened."""
    ATTEMPT_COMMITTED = "attempt_committed"
    """The attempt's row is committed; not a byte has left."""
    HANDLE_RECEIVED = "handle_received"
    """The vendor has taken the call as a job; only this process knows which."""
    HANDLE_COMMITTED = "handle_committed"
    """The job's handle is committed; it has not been asked after."""
    POLLING = "polling"
    """The job was asked after and has not ended."""
    RECEIVED_UNSTAGED = "received_unstaged"
    """The vendor's bytes are in memory and nowhere else."""
    STAGED = "staged"
    """The bytes and their sidecar are durable; the database does not know."""
    RECEIVED = "received"
    """The receipt is committed; nothing is stored."""
    UPLOADED = "uploaded"
    """The renditions are stored; the image is not settled."""
    SETTLED = "settled"
    """The image is completed; the queue row and the staged bytes are still there."""


_ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
_SPEC = re.compile(r"(?P<name>\w+):(?P<action>kill|stop)@(?P<at>[1-9]\d*)")


@dataclass(slots=True)
class Failpoints:
    """At most one armed point. Not armed, `reach` is one comparison."""

    name: str | None = None
    action: str = "kill"
    at: int = 1
    _reached: int = field(default=0, init=False)

    @classmethod
    def parse(cls, spec: str | None, names: Iterable[str] = Failpoint) -> Failpoints:
        """From `name:action@n`; nothing armed when empty. Raises ValueError on a form or name that is none of them."""
        if not spec:
            return cls()
        match = _SPEC.fullmatch(spec)
        if match is None:
            raise ValueError(f"a failpoint reads `name:kill@n` or `name:stop@n`, not {spec!r}")
        if match["name"] not in (known := [str(name) for name in names]):
            raise ValueError(f"there is no failpoint {match['name']!r}; there are {', '.join(known)}")
        return cls(match["name"], match["action"], int(match["at"]))

    def reach(self, name: str) -> None:
        """Does not return when this is the armed point's moment (or returns when thawed)."""
        if name != self.name:
            return
        self._reached += 1
        if self._reached == self.at:
            os.kill(os.getpid(), _ACTIONS[self.action])
