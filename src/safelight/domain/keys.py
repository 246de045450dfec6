"""API keys as text: `sl_{id}_{secret}{checksum}`.

The id says where to look, the secret is 32 random bytes, and the checksum tells a slip of the pen from a key before
anybody is asked. With that much chance in it a key needs no slow hash: guessing is hopeless, and checking is free.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from typing import NewType

KeyId = NewType("KeyId", str)

PREFIX = "sl_"

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_BYTES = 32
_SECRET_CHARS = 43
_CHECKSUM_CHARS = 6
_ID = re.compile(r"key_[0-9A-HJKMNP-TV-Z]{26}")
_KEY = re.compile(rf"sl_([0-9A-HJKMNP-TV-Z]{{26}})_[0-9A-Za-z]{{{_SECRET_CHARS + _CHECKSUM_CHARS}}}")
_WITHIN = re.compile(r"sl_[0-9A-HJKMNP-TV-Z]{26}_[0-9A-Za-z]{8}")


def new_key(key_id: KeyId) -> str:
    """A key of that id, which nobody can guess or make again."""
    body = f"{PREFIX}{key_id.removeprefix('key_')}_{_base62(secrets.token_bytes(_SECRET_BYTES), _SECRET_CHARS)}"
    return body + _checksum(body)


def id_in(key: str) -> KeyId | None:
    """The id of a key; None for what cannot be one."""
    match = _KEY.fullmatch(key)
    if match is None or _checksum(key[:-_CHECKSUM_CHARS]) != key[-_CHECKSUM_CHARS:]:
        return None
    return KeyId(f"key_{match[1]}")


def digest_of(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


def is_key_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def has_key(text: str) -> bool:
    """Whether a key, or most of one, stands somewhere in the text."""
    return _WITHIN.search(text) is not None


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()).to_bytes(4), _CHECKSUM_CHARS)


def _base62(data: bytes, width: int) -> str:
    number = int.from_bytes(data)
    digits = []
    for _ in range(width):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
