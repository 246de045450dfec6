"""How the sandbox treats a connection that its caller keeps."""

from __future__ import annotations

import time

import httpx2


async def test_an_answer_over_a_kept_connection_does_not_wait_for_an_acknowledgement(http: httpx2.AsyncClient) -> None:
    taken: list[float] = []
    for _ in range(20):
        began = time.perf_counter()
        (await http.get("/bill")).raise_for_status()
        taken.append(time.perf_counter() - began)

    assert min(taken[1:]) < 0.03, "each of them waited for as long as a delayed acknowledgement takes"
