"""A client of Safelight's HTTP API, for programs in Python and for the command line.

async with SafelightClient("http://127.0.0.1:8420") as safelight:
    submitted = await safelight.submit({"images": [{"id": "cover", "prompt": "A brass key"}]})
    async for event in safelight.events(submitted.job.id):
        print(event.type, event.image_id)
    await safelight.download(submitted.job.id, Path("pictures"))

`SyncSafelightClient` is the same without `async`; `safelight.client.webhooks` verifies what the service posts.
"""

from __future__ import annotations

from safelight.client.album import Album
from safelight.client.blocking import SyncSafelightClient
from safelight.client.errors import ApiProblem, Forbidden, NoStream, NotRead, NotSaved, Unauthenticated, Unreachable
from safelight.client.service import SafelightClient
from safelight.client.views import Event, FeedPage, ImageView, JobView, OutputView, Quote, Submitted, Upload

__all__ = [
    "Album",
    "ApiProblem",
    "Event",
    "FeedPage",
    "Forbidden",
    "ImageView",
    "JobView",
    "NoStream",
    "NotRead",
    "NotSaved",
    "OutputView",
    "Quote",
    "SafelightClient",
    "Submitted",
    "SyncSafelightClient",
    "Unauthenticated",
    "Unreachable",
    "Upload",
]
