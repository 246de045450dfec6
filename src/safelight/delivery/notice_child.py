"""The process that talks to an operator's services: `python -m safelight.delivery.notice_child`.

The only file that knows Apprise, which does its own HTTP and takes as long as it likes: here it can be killed. One
request comes on standard input: `{"services": {name: url}, "messages": [{"id", "to", "title", "body", "kind"}]}`. For
each message and service one line goes out as soon as it is known: `{"id", "service", "why"}`, null where it was
accepted. Services are told side by side, each its messages in order. `why` never quotes an address or an answer.
"""

from __future__ import annotations

import json
import logging
import re
import signal
import sys
import threading
from typing import Any

_STATUS = re.compile(r"\berror=(\d{3})\b")


def main() -> None:
    # The parent decides when this process ends; a signal to the whole group must not cut a message off.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a plugin prints is no answer
    request = json.loads(sys.stdin.read())
    lock = threading.Lock()

    def answer(message: dict[str, Any], service: str, why: str | None) -> None:
        line = {"id": message["id"], "service": service, "why": why}
        with lock:
            answers.write(json.dumps(line) + "\n")
            answers.flush()

    lanes = [
        threading.Thread(target=_tell, args=(url, name, request["messages"], answer), daemon=True)
        for name, url in request["services"].items()
    ]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()


def _tell(url: str, name: str, messages: list[dict[str, Any]], answer: Any) -> None:
    """Every message for one service, one after the other."""
    import apprise

    asset = apprise.AppriseAsset(app_id="Safelight", app_desc="Safelight", async_mode=False)
    service = apprise.Apprise(asset=asset)
    is_known = service.add(url)
    statuses = _Statuses()
    logging.getLogger("apprise").addHandler(statuses)
    for message in messages:
        if name not in message["to"]:
            continue
        if not is_known:
            answer(message, name, "its address is none that Apprise can read")
            continue
        statuses.newest = None
        try:
            is_accepted = service.notify(
                title=message["title"],
                body=message["body"],
                notify_type=message["kind"],
                body_format=apprise.NotifyFormat.TEXT,
            )
        except Exception as error:  # a plugin's own mistake
            answer(message, name, f"its plugin failed ({type(error).__name__})")
            continue
        status = f" (status {statuses.newest})" if statuses.newest else ""
        answer(message, name, None if is_accepted else f"it was not accepted{status}")


class _Statuses(logging.Handler):
    """The HTTP status in what a plugin says of a failure on this thread: the rest of it may quote a secret."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self.newest: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread and (found := _STATUS.search(record.getMessage())):
            self.newest = found[1]


if __name__ == "__main__":
    main()
