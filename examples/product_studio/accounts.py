"""Users and what they have. Every user is an account at Safelight, which is billed in credits: a token here is a credit
there, and there is no second book."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from examples.product_studio.store import Store, User
from safelight.client import SafelightClient

_LEDGER_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """With a client that has an admin's key. Raises what the client raises."""

    safelight: SafelightClient
    store: Store
    welcome_tokens: int

    async def sign_up(self, name: str) -> tuple[User, str]:
        """The user, who has the welcome tokens, and their token to sign in with, which is shown this once.

        The account at Safelight comes first: if that breaks off there is no user, but perhaps an account of nobody's.
        """
        user_id = f"studio-{secrets.token_hex(8)}"
        path = _path(user_id)
        await self.safelight.call("PATCH", path, may_repeat=True, json={"billing": "credits"})
        rotated = await self.safelight.call(
            "POST", "/v1/webhooks/default/rotate-secret", may_repeat=True, params={"account": user_id}
        )
        if self.welcome_tokens:
            await self._pay_in(user_id, self.welcome_tokens, key="welcome", reason="Welcome to the studio")
        user, token = User(id=user_id, name=name, webhook_secret=rotated.json()["secret"]), _new_token()
        await self.store.add_user(user, token_sha256=_sha256(token))
        return user, token

    async def signed_in(self, token: str) -> User | None:
        return await self.store.user_of_token(_sha256(token))

    async def balance(self, user: User) -> dict[str, int]:
        """Tokens that are `available`, `held` for orders that go on, and `spent` on pictures, ever."""
        balance = (await self.safelight.call("GET", _path(user.id), may_repeat=True)).json()["balance"]
        return {
            "available": balance["credits_available"],
            "held": balance["credits_held"],
            "spent": balance["credits_captured"],
        }

    async def top_up(self, user: User, tokens: int, *, key: str) -> None:
        """So many more, once for each `key`. Whoever sells tokens does this when they were paid for."""
        await self._pay_in(user.id, tokens, key=f"top-up-{_sha256(key)[:32]}", reason="Bought in the studio")

    async def statement(self, user: User, *, limit: int, cursor: str | None = None) -> dict[str, Any]:
        """One page of the user's ledger, newest first, as Safelight has it."""
        asked = {"limit": str(limit)} | ({"cursor": cursor} if cursor is not None else {})
        return (await self.safelight.call("GET", f"{_path(user.id)}/ledger", may_repeat=True, params=asked)).json()

    async def entries_for(self, user_id: str, job_id: str) -> AsyncIterator[dict[str, Any]]:
        """Everything that the ledger has for one job."""
        asked = {"job": job_id, "limit": str(_LEDGER_PAGE)}
        while True:
            page = await self.safelight.call("GET", f"{_path(user_id)}/ledger", may_repeat=True, params=asked)
            for entry in page.json()["entries"]:
                yield entry
            if (cursor := page.json()["next_cursor"]) is None:
                return
            asked["cursor"] = cursor

    async def _pay_in(self, user_id: str, tokens: int, *, key: str, reason: str) -> None:
        body = {"credits": tokens, "reason": reason}
        headers = {"idempotency-key": key}
        await self.safelight.call("POST", f"{_path(user_id)}/credits", may_repeat=True, json=body, headers=headers)


def _path(user_id: str) -> str:
    return f"/v1/accounts/{user_id}"


def _new_token() -> str:
    return f"studio_{secrets.token_urlsafe(24)}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
