"""Where things are, as answers say it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Links:
    """Absolute paths; below `public_url` where it is known."""

    public_url: str | None

    def job(self, job_id: str, action: str = "") -> str:
        return self._link(f"/v1/jobs/{job_id}{action}")

    def image(self, job_id: str, image_id: str, output: str | None = None) -> str:
        return self.job(job_id, f"/images/{image_id}" + (f"/{output}" if output else ""))

    def schedule(self, schedule_id: str, action: str = "") -> str:
        return self._link(f"/v1/schedules/{schedule_id}{action}")

    def webhook(self, endpoint_id: str) -> str:
        return self._link(f"/v1/webhooks/{endpoint_id}")

    def _link(self, path: str) -> str:
        return (self.public_url or "").rstrip("/") + path
