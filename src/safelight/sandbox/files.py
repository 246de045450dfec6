"""Pictures that are fetched by address, as many vendors hand them out."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from safelight.sandbox.wire import Answer

_MOST_FILES = 10_000  # good ones share the bytes of the few pictures there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """One request for a file. `had_key`: it carried an `Authorization` header, which no file needs."""

    name: str
    status: int
    had_key: bool

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "status": self.status, "had_key": self.had_key}


class Files:
    """Held in memory, the newest ten thousand; `fetches` are the requests for them, oldest first."""

    def __init__(self) -> None:
        self.fetches: list[Fetch] = []
        self._answers: dict[str, Callable[[], Answer]] = {}

    def keep(self, answer: Answer | Callable[[], Answer], *, suffix: str) -> str:
        """The path it is served at from now on, as it is: a spoilt answer is a spoilt download.

        A function is asked anew at every fetch, for files that go away.
        """
        name = secrets.token_hex(12) + suffix
        self._answers[name] = answer if callable(answer) else lambda: answer
        while len(self._answers) > _MOST_FILES:
            del self._answers[next(iter(self._answers))]
        return f"/files/{name}"

    def fetch(self, name: str, *, had_key: bool) -> Answer:
        answers = self._answers.get(name)
        answer = answers() if answers else Answer(status=404, body=b'{"detail": "no such file"}')
        self.fetches.append(Fetch(name=name, status=answer.status, had_key=had_key))
        return answer
