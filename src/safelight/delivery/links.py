"""Where things are, as answers say it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from safelight.domain.signing import Signer, link_token

LINK = "link"
"""The query parameter of a lasting link."""


@dataclass(frozen=True, slots=True)
class Links:
    """Absolute paths; below `public_url` where it is known.

    Every address of a picture that is shown anywhere comes from `image`, when it is shown. It stands in for a key where
    the installation has keys, which `needs_keys` says; else it is plain. Without a `signer` it is plain as well.
    """

    public_url: str | None
    signer: Signer | None = None
    needs_keys: Callable[[], bool] = lambda: True

    def job(self, job_id: str, action: str = "") -> str:
        return self._link(f"/v1/jobs/{job_id}{action}")

    def image(
        self, job_id: str, image_id: str, output: str | None = None, *, account: str, link_key: bytes | None = None
    ) -> str:
        """Signed on behalf of the job's account, for some time; or, with the job's `link_key`, for ever."""
        path = f"/v1/jobs/{job_id}/images/{quote(image_id)}" + (f"/{quote(output)}" if output else "")
        if link_key is not None:
            return self._link(f"{path}?{LINK}={link_token(link_key, path)}")
        return self._signed(path, account)

    def archive(self, job_id: str, *, account: str) -> str:
        return self._signed(f"/v1/jobs/{job_id}/archive", account)

    def schedule(self, schedule_id: str, action: str = "") -> str:
        return self._link(f"/v1/schedules/{schedule_id}{action}")

    def upload(self, upload_id: str, part: str = "") -> str:
        """Of an upload's own: nothing here stands in for a key."""
        return self._link(f"/v1/uploads/{upload_id}{part}")

    def webhook(self, endpoint_id: str) -> str:
        return self._link(f"/v1/webhooks/{endpoint_id}")

    def _signed(self, path: str, account: str) -> str:
        if self.signer is None or not self.needs_keys():
            return self._link(path)
        return self._link(f"{path}?{self.signer.sign(path, account=account)}")

    def _link(self, path: str) -> str:
        return (self.public_url or "").rstrip("/") + path
