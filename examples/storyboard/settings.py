"""What the app reads from its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Durations are in seconds."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    bind_host: str = "127.0.0.1"
    port: int = 8432
    app_url: str = ""
    """Where Safelight reaches this app, for webhooks. Default: `http://{bind_host}:{port}`."""
    data_dir: Path = Path("storyboard-data")
    """Its own folder: `storyboard.sqlite3` is all that is in it."""

    safelight_url: str = "http://127.0.0.1:8420"
    safelight_api_key: str | None = None
    safelight_webhook_secret: str | None = None
    """From `POST /v1/webhooks/default/rotate-secret`. Without it no webhooks are asked for, and reads ask instead."""

    inpaint_provider: str | None = "openai"
    """Who edits with a mask; a request may name another one. Null is what Safelight's own default is."""
    inpaint_model: str | None = "gpt-image-1-mini"

    answer_seconds: float = Field(default=0.2, gt=0)
    """How long an answer to a new job waits for Safelight, each of the up to two times that it asks; the job is handed
    over after it all the same."""
    fresh_seconds: float = Field(default=2.0, ge=0)
    """A copy of a job that is still being made is shown without asking Safelight for this long."""
    sweep_seconds: float = Field(default=5.0, gt=0)
    """How often what was left undone is looked for."""

    @property
    def webhook_url(self) -> str | None:
        if self.safelight_webhook_secret is None:
            return None
        return f"{self.app_url or f'http://{self.bind_host}:{self.port}'}/api/webhooks/safelight"
