"""Links that stand in for a key: who may follow them, until when, and what makes them hard to guess.

A signed link is good for one path of one account until it expires. A lasting link is good for one path for as long as
its job keeps the key that it was derived from.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

MAX_EXPIRY_SECONDS = 7 * 86_400
STEPS_PER_EXPIRY = 6
"""Links that are shown within one such part of their time are the same: so an answer that shows them does not change
with every look, and a browser finds what it has. Chosen."""
LINK_KEY_BYTES = 32

_LINK_BYTES = 18
_EXPIRES = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a signed link says of itself, not checked."""

    expires_at: str
    key_id: str
    signature: str


class Signer:
    """Signs under the first of `keys`, and takes what any of them has signed.

    A link lasts for `expiry_seconds` at most, and for five sixths of that at least. `clock` gives seconds since 1970.
    """

    def __init__(self, keys: Sequence[bytes], *, expiry_seconds: int, clock: Callable[[], float] = time.time) -> None:
        if not keys or not 1 <= expiry_seconds <= MAX_EXPIRY_SECONDS:
            raise ValueError(f"a signer has keys, and its links last from 1 second to {MAX_EXPIRY_SECONDS}")
        self._keys = {_key_id(key): key for key in reversed(keys)}
        self._newest = _key_id(keys[0])
        self._expiry_seconds = expiry_seconds
        self._step_seconds = max(1, expiry_seconds // STEPS_PER_EXPIRY)
        self._clock = clock

    def sign(self, path: str, *, account: str) -> str:
        """The query with which a GET of the path needs no key."""
        now = int(self._clock())
        expires_at = str(now - now % self._step_seconds + self._expiry_seconds)
        signature = _signature(self._keys[self._newest], path, expires_at, account, self._newest)
        return urlencode({"expires": expires_at, "key": self._newest, "signature": signature})

    def is_good(self, claim: Claim, path: str, *, account: str) -> bool:
        """Whether this path was signed so, on behalf of this account, and its time has not passed."""
        key = self._keys.get(claim.key_id)
        if key is None or not self.seconds_left(claim):
            return False
        expected = _signature(key, path, claim.expires_at, account, claim.key_id)
        return hmac.compare_digest(expected.encode(), claim.signature.encode())

    def seconds_left(self, claim: Claim) -> int:
        if not _EXPIRES.fullmatch(claim.expires_at):
            return 0
        return max(0, int(claim.expires_at) - int(self._clock()))


def signing_key(secret: bytes) -> bytes:
    """A key of its own for links, from one that has another use (HKDF-SHA256, RFC 5869, without salt)."""
    extracted = hmac.digest(bytes(hashlib.sha256().digest_size), secret, "sha256")
    return hmac.digest(extracted, b"safelight signed links\x01", "sha256")


def link_token(link_key: bytes, path: str) -> str:
    """What makes a lasting link to the path: 144 bits that nobody finds without the job's own key."""
    return _text(hmac.digest(link_key, f"safelight-link-1\n{path}".encode(), "sha256")[:_LINK_BYTES])


def is_link(token: str, link_key: bytes, path: str) -> bool:
    return hmac.compare_digest(link_token(link_key, path).encode(), token.encode())


def _signature(key: bytes, path: str, expires_at: str, account: str, key_id: str) -> str:
    """No part can hold a line feed, so no two sets of parts read the same."""
    message = "\n".join(("safelight-url-1", "GET", path, expires_at, account, key_id))
    return _text(hmac.digest(key, message.encode(), "sha256"))


def _key_id(key: bytes) -> str:
    """Tells keys apart, and nothing of what they are."""
    return hmac.digest(key, b"safelight key id", "sha256")[:6].hex()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
