"""The soak's receiver: what it takes, what it refuses, and that it writes down what it answered."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import httpx2

from safelight.chaos.evidence import Reception, read_lines
from safelight.chaos.receiver import receiving
from safelight.delivery.webhooks.signing import new_secret, signed_headers

SECRET = new_secret()


async def test_what_is_signed_is_taken_and_written_down_and_what_is_not_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "receptions.jsonl"
    async with receiving(log, seed=0) as receiver, httpx2.AsyncClient(trust_env=False) as http:
        receiver.secrets.append(SECRET)
        receiver.is_faulty = False
        taken = await post(http, receiver.url, "msg_1")
        refused = await post(http, receiver.url, "msg_2", secret=new_secret())

    assert (taken, refused) == (200, 400)
    good, bad = read_lines(log, Reception)
    assert (good.message_id, good.job_id, good.seq, good.image_id, good.answered) == ("msg_1", "job_1", 3, "a", 200)
    assert good.endpoint == "/hook"
    assert good.is_verified
    assert (bad.message_id, bad.job_id, bad.answered, bad.is_verified) == ("msg_2", None, 400, False)


async def test_a_faulty_one_takes_every_message_at_its_third_coming_at_last(tmp_path: Path) -> None:
    log = tmp_path / "receptions.jsonl"
    async with receiving(log, seed=0) as receiver, httpx2.AsyncClient(trust_env=False) as http:
        receiver.secrets.append(SECRET)
        receiver.hang_seconds = 0.02
        for number in range(60):
            for _ in range(3):
                if await post(http, receiver.url, f"msg_{number}") == 200:
                    break

    receptions = read_lines(log, Reception)
    answers = Counter(each.answered for each in receptions)
    assert answers[200] == 60
    assert answers[500] > 0
    assert answers[None] > 0
    assert len(receptions) == answers.total()


async def post(http: httpx2.AsyncClient, url: str, message_id: str, *, secret: str = SECRET) -> int | None:
    """The status that it was answered with, if it was."""
    event = {"type": "image.completed", "timestamp": "now", "data": {"job_id": "job_1", "seq": 3, "image_id": "a"}}
    body = json.dumps(event).encode()
    headers = signed_headers(message_id, body, at_unix=int(time.time()), secrets=[secret])
    try:
        return (await http.post(url, content=body, headers=headers)).status_code
    except httpx2.TransportError:
        return None
