"""An event as everybody is shown it: in a page, on a stream, in a webhook's body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from safelight.delivery.links import Links
from safelight.domain.events import EventType


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of a job's log; `seq` is 1, 2, 3 … without a gap. `image_id` where it concerns one, and with a picture in
    it `link_key` where the job's links are to last."""

    account: str
    job_id: str
    seq: int
    type: str
    image_id: str | None
    data: Mapping[str, Any]
    created_at: datetime
    link_key: bytes | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Event:
        """From a row that has these columns."""
        return cls(**{name: row[name] for name in cls.__slots__})


def envelope(event: Event, links: Links) -> dict[str, Any]:
    """`{"type", "timestamp", "data"}`: where it happened, and a link to what there is to see; never bytes."""
    about: dict[str, Any] = {"job_id": event.job_id, "seq": event.seq, "job_url": links.job(event.job_id)}
    if event.image_id is not None:
        about["image_id"] = event.image_id
        if event.type == EventType.IMAGE_COMPLETED:
            about["image_url"] = links.image(
                event.job_id, event.image_id, account=event.account, link_key=event.link_key
            )
    return {"type": event.type, "timestamp": event.created_at.isoformat(), "data": {**event.data, **about}}
