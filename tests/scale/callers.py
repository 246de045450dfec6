"""Callers of an installation that has several APIs, and the log that they keep of what they sent and got."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from safelight.chaos.checker import judge
from safelight.chaos.collect import collect_books, collect_store
from safelight.chaos.evidence import Reception, Served, Submission, read, write_lines
from safelight.chaos.verdict import Verdict
from safelight.storage.place import BucketPlace
from tests.delivery.receiver import Answer, Message, status
from tests.scale.hosts import Host
from tests.sse import TERMINAL, stream

TIMEOUT_SECONDS = 8
CARD = {"name": "card", "width": 64, "height": 64, "fit": "cover", "format": "jpeg"}


@dataclass(kw_only=True)
class Witness:
    """What was seen from outside, in the order in which it happened."""

    submissions: list[Submission] = field(default_factory=list)
    receptions: list[Reception] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)

    def taking(self) -> Answer:
        """A receiver's answer that takes every message, and notes that it did."""
        take = status(204)

        async def answer(message: Message, writer: asyncio.StreamWriter) -> None:
            data = message.document["data"]
            self.receptions.append(
                Reception(
                    at=datetime.now(UTC),
                    message_id=message.id,
                    endpoint=message.path,
                    type=message.type,
                    job_id=data.get("job_id"),
                    seq=data.get("seq"),
                    answered=204,
                )
            )
            await take(message, writer)

        return answer

    async def fetch(self, client: httpx2.AsyncClient, job_id: str, image_id: str) -> bytes:
        answer = await client.get(f"/v1/jobs/{job_id}/images/{image_id}")
        self.served.append(Served.as_answered(job_id, image_id, answer))
        return answer.content

    async def verdict(self, database: str, place: BucketPlace, *, bill: Path, folder: Path) -> Verdict:
        """All of it against the books, the vendor's bill and the bytes in the bucket."""
        folder.mkdir()
        write_lines(folder / "submissions.jsonl", self.submissions)
        write_lines(folder / "receptions.jsonl", self.receptions)
        write_lines(folder / "served.jsonl", self.served)
        shutil.copy(bill, folder / "bill.jsonl")
        await collect_books(database, folder)
        await collect_store(place, folder)
        return judge(read(folder))


@dataclass(kw_only=True)
class Caller:
    """Submits at the first of `ways` and follows at the second; whichever breaks, it goes on at the other."""

    key: str
    images: int
    ways: Sequence[Host]
    witness: Witness
    job_id: str = ""
    heard: list[tuple[int, str]] = field(default_factory=list)
    breaks: int = 0

    async def run(self) -> None:
        self.job_id = await self.submitted()
        again = await self.submitted(first=1)
        assert again == self.job_id, "the same key is the same job, whoever is asked"
        turn = 1
        while not (self.heard and self.heard[-1][1] in TERMINAL):
            await self._follow(self.ways[turn % len(self.ways)].client)
            turn += 1

    async def submitted(self, first: int = 0) -> str:
        for turn in range(first, first + 600):
            client = self.ways[turn % len(self.ways)].client
            try:
                answer = await client.post("/v1/jobs", json=self._body(), headers={"Idempotency-Key": self.key})
            except httpx2.TransportError:  # it was killed: nobody knows whether it had accepted
                self._note(None, None)
                await asyncio.sleep(0.05)
                continue
            assert answer.status_code in (200, 202), answer.text
            self._note(answer.status_code, answer.json()["id"])
            return answer.json()["id"]
        raise AssertionError("nobody takes the job")

    async def _follow(self, client: httpx2.AsyncClient) -> None:
        try:
            async with stream(client, self.job_id, after=self.heard[-1][0] if self.heard else 0) as told:
                while told.response.status_code == 200 and (each := await told.next()) is not None:
                    if each.id is not None:
                        self.heard.append((each.id, each.type))
        except httpx2.TransportError:
            self.breaks += 1
            await asyncio.sleep(0.05)

    def _body(self) -> dict[str, Any]:
        images = [{"id": image_id, "prompt": self._prompt(image_id)} for image_id in self._image_ids()]
        return {"defaults": {"timeout_seconds": TIMEOUT_SECONDS}, "outputs": [CARD], "images": images}

    def _image_ids(self) -> list[str]:
        return [f"img-{n}" for n in range(self.images)]

    def _prompt(self, image_id: str) -> str:
        return f"{self.key}, picture {image_id}"

    def _note(self, status: int | None, job_id: str | None) -> None:
        prompts = (self._prompt(image_id).encode() for image_id in self._image_ids())
        self.witness.submissions.append(
            Submission(
                at=datetime.now(UTC),
                key=self.key,
                status=status,
                job_id=job_id,
                images=tuple(self._image_ids()),
                prompts_sha256=tuple(hashlib.sha256(each).hexdigest() for each in prompts),
            )
        )
