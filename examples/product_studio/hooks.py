"""Where Safelight tells what happens to orders. A message is a hint: how things stand is asked, not read from it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from examples.product_studio.problems import Problem
from examples.product_studio.visitors import TheStudio
from safelight.client.webhooks import NotVerified, verify

_MAX_BYTES = 100_000

hooks = APIRouter()


@hooks.post("/hooks/safelight/{generation_id}", status_code=204)
async def receive(request: Request, studio: TheStudio, generation_id: str) -> Response:
    """204 once it is noted. Messages may come twice or not at all: the order's own `seq` says what is new.

    Each account has a secret of its own, so what is signed for one user says nothing of another's orders.
    """
    body = await _body(request)
    generation = await studio.store.generation(generation_id)
    user = await studio.store.user(generation.user_id) if generation is not None else None
    if generation is None or user is None:
        raise Problem(401, "not-verified", "Nobody has signed this.")
    try:
        event = verify(request.headers, body, user.webhook_secret)
    except NotVerified as reason:
        raise Problem(401, reason.slug, "Nobody has signed this.") from reason
    seq = event["data"].get("seq")
    if isinstance(seq, int) and event["data"].get("job_id") == (generation.job_id or event["data"].get("job_id")):
        await studio.heard(generation, seq)
    return Response(status_code=204)


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BYTES:
            raise Problem(413, "payload-too-large", "That is no message of Safelight's.")
    return body
