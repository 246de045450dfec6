"""What the vendor charged during a demo, read from its own bill."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx2
from rich.table import Table

from safelight.client import ImageView, JobView
from safelight.domain.money import format_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """All calls that ended, in their order: which prompt each was for (a digest), and what it cost."""

    prompts: tuple[str, ...]
    costs_microusd: tuple[int, ...]

    @property
    def calls(self) -> int:
        return len(self.prompts)

    @property
    def total_microusd(self) -> int:
        return sum(self.costs_microusd)

    @property
    def repeated_microusd(self) -> int:
        """What the calls cost that were not the last one for their prompt."""
        last = {prompt: n for n, prompt in enumerate(self.prompts)}
        kept = sum(self.costs_microusd[n] for n in last.values())
        return self.total_microusd - kept

    @property
    def repeated_calls(self) -> int:
        return self.calls - len(set(self.prompts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """The sandbox on this port, asked over HTTP as anybody could."""

    port: int

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def bill(self) -> Bill:
        """Once no call is in flight any more."""
        calls = (await self._get("/bill", wait_idle=1))["calls"]
        return Bill(
            prompts=tuple(call["prompt_sha256"] or "" for call in calls),
            costs_microusd=tuple(call["cost_microusd"] for call in calls),
        )

    async def in_flight(self, *, at_least: int, timeout_seconds: float) -> int:
        """How many calls are being generated, as soon as it is that many, or else after the timeout."""
        return (await self._get("/bill", wait_in_flight=at_least, timeout=timeout_seconds))["in_flight"]

    async def _get(self, path: str, **query: float) -> dict[str, Any]:
        async with httpx2.AsyncClient(base_url=self.base_url, timeout=60, trust_env=False) as http:
            return (await http.get(path, params=query)).json()


def dollars(amount_microusd: int) -> str:
    """Rounded to cents: `$0.47`."""
    return f"${Decimal(amount_microusd) / 1_000_000:.2f}"


def bought_again(job: JobView) -> tuple[ImageView, ...]:
    return tuple(image for image in job.images if image.attempt_count > 1)


def table_of(bill: Bill) -> Table:
    """The bill in three lines: what was delivered, what was bought again, the total."""
    table = Table("vendor's bill", box=None, title=None)
    table.add_column("calls", justify="right")
    table.add_column("charged", justify="right")
    delivered = (bill.calls - bill.repeated_calls, bill.total_microusd - bill.repeated_microusd)
    rows = (
        ("pictures delivered", *delivered),
        ("outcome unknown, bought again", bill.repeated_calls, bill.repeated_microusd),
        ("total", bill.calls, bill.total_microusd),
    )
    for label, calls, charged_microusd in rows:
        table.add_row(label, str(calls), f"${format_usd(charged_microusd)}")
    return table
