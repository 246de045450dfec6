"""The same calls for programs without an event loop of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from safelight.client.service import SafelightClient

P = ParamSpec("P")
T = TypeVar("T")

_CLOSED = "this client is closed"


def _waits(
    method: Callable[Concatenate[SafelightClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncSafelightClient, P], T]:
    @wraps(method)
    def waited(self: SyncSafelightClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._result(method(self._client, *args, **kwargs))

    return waited


def _goes_through(
    method: Callable[Concatenate[SafelightClient, P], AsyncIterator[T]],
) -> Callable[Concatenate[SyncSafelightClient, P], Iterator[T]]:
    @wraps(method)
    def gone_through(self: SyncSafelightClient, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._each(method(self._client, *args, **kwargs))

    return gone_through


class SyncSafelightClient:
    """SafelightClient, whose calls return when they are done. It keeps a thread of its own until it is closed.

    It may be used from several threads, and not from inside of a running event loop, which it would hold up.
    """

    submit = _waits(SafelightClient.submit)
    quote = _waits(SafelightClient.quote)
    upload = _waits(SafelightClient.upload)
    job = _waits(SafelightClient.job)
    jobs = _waits(SafelightClient.jobs)
    images = _waits(SafelightClient.images)
    attempts = _waits(SafelightClient.attempts)
    stats = _waits(SafelightClient.stats)
    cancel = _waits(SafelightClient.cancel)
    retry = _waits(SafelightClient.retry)
    queue = _waits(SafelightClient.queue)
    picture = _waits(SafelightClient.picture)
    download = _waits(SafelightClient.download)
    archive = _waits(SafelightClient.archive)
    remove = _waits(SafelightClient.remove)
    wait = _waits(SafelightClient.wait)
    call = _waits(SafelightClient.call)
    is_up = _waits(SafelightClient.is_up)
    events = _goes_through(SafelightClient.events)
    account_events = _goes_through(SafelightClient.account_events)
    watch = _goes_through(SafelightClient.watch)

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 30.0,
        patience_seconds: float = 15.0,
        silence_seconds: float = 45.0,
    ) -> None:
        self._client = SafelightClient(
            base_url,
            api_key=api_key,
            timeout_seconds=timeout_seconds,
            patience_seconds=patience_seconds,
            silence_seconds=silence_seconds,
        )
        self.base_url = self._client.base_url
        self._closing = threading.RLock()  # a collection of garbage may come in between
        self._is_closed = False
        self._loop = asyncio.new_event_loop()
        # A program that forgets to close it still ends.
        self._thread = threading.Thread(target=self._loop.run_forever, name="safelight client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Its connections and its thread are gone; calls in other threads end with RuntimeError, as later ones do."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            wound_down = asyncio.run_coroutine_threadsafe(self._wind_down(), self._loop)
        wound_down.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _wind_down(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.aclose()
        await self._loop.shutdown_asyncgens()

    def _result(self, call: Coroutine[Any, Any, T]) -> T:
        with self._closing:  # what is begun before the end is ended by it
            if self._is_closed:
                call.close()
                raise RuntimeError(_CLOSED)
            future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise RuntimeError(_CLOSED) from None
        finally:
            future.cancel()  # an interrupt ends the call, too

    def _each(self, values: AsyncIterator[T]) -> Iterator[T]:
        async def following() -> tuple[T, ...]:
            try:
                return (await anext(values),)
            except StopAsyncIteration:  # cannot leave a coroutine's future
                return ()

        async def close() -> None:
            if (aclose := getattr(values, "aclose", None)) is not None:
                await aclose()

        try:
            while found := self._result(following()):
                yield found[0]
        finally:
            with self._closing:
                if not self._is_closed:
                    # Not waited for: an iterator that was forgotten may be collected in the client's own thread.
                    asyncio.run_coroutine_threadsafe(close(), self._loop)
