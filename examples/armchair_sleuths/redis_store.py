"""The store in Redis, for a game on several machines."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

_SWAP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class RedisStore:
    """What it keeps is as durable as that Redis: set `appendonly yes` there."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, decode_responses=True, socket_timeout=10, socket_connect_timeout=10)
        self._swap = self._redis.register_script(_SWAP)

    async def get(self, key: str) -> str | None:
        value: Any = await self._redis.get(key)
        return value

    async def put(self, key: str, value: str, *, ttl_seconds: int | None = None) -> None:
        await self._redis.set(key, value, ex=ttl_seconds)

    async def swap(self, key: str, old: str | None, new: str) -> bool:
        if old is None:
            return bool(await self._redis.set(key, new, nx=True))
        swapped: Any = await self._swap(keys=[key], args=[old, new])
        return swapped == 1

    async def aclose(self) -> None:
        await self._redis.aclose()
