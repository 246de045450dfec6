"""What the game is told by its environment: `PORT`, `SAFELIGHT_URL`, `REDIS_URL` and so on."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

WRITTEN = Path(__file__).parent / "cases"


class Settings(BaseSettings):
    """Durations are in seconds."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True)

    host: str = Field(default="127.0.0.1", validation_alias="APP_HOST")
    port: int = 8500
    app_url: str = "http://127.0.0.1:8500"
    """Where Safelight reaches this server, for webhooks."""
    data_dir: Path = Path(".demo-sleuths/game")
    """Where the store's file lies, if there is no Redis."""
    redis_url: str | None = None
    cors_origins: str = ""
    """Sites whose pages may call this server, separated by commas."""
    moderator_token: SecretStr | None = None
    """What `/api/moderator/…` and `/api/cron/…` ask for; without one they are open, on loopback only."""

    safelight_url: str = "http://127.0.0.1:8420"
    safelight_api_key: SecretStr | None = None
    safelight_webhook_secret: SecretStr
    """`whsec_…`, as `POST /v1/webhooks/default/rotate-secret` shows it; two with a comma while it is replaced."""
    image_provider: str | None = None
    """Who draws; Safelight's default otherwise."""
    image_deadline_seconds: float = 900.0

    gemini_api_key: SecretStr | None = None
    """With it new cases are told by a text model, else they come from `cases`."""
    gemini_text_model: str = "gemini-3.1-flash-lite"
    google_gemini_base_url: str | None = None
    """Instead of the vendor's own address."""
    telling_seconds: float = Field(default=1.5, gt=0)
    """How long a player waits for the model's tale before a written case is taken."""
    daily_telling_seconds: float = Field(default=60.0, gt=0)
    """The same at midnight, when nobody waits."""
    cases: Path = WRITTEN
    """A folder of written cases, or one of them."""

    daily: bool = True
    """Make a case at 00:00 UTC, and today's when the server starts without it."""
    sweep_seconds: float = Field(default=60.0, ge=0)
    """How often what was lost on the way is looked for; 0: never."""
    silence_seconds: float = Field(default=120.0, ge=0)
    """After so long without news a job is asked for."""

    @property
    def webhook_secrets(self) -> list[str]:
        return [each.strip() for each in self.safelight_webhook_secret.get_secret_value().split(",") if each.strip()]

    @property
    def origins(self) -> list[str]:
        return [each.strip() for each in self.cors_origins.split(",") if each.strip()]

    @model_validator(mode="after")
    def _is_guarded(self) -> Self:
        if self.moderator_token is None and not _is_loopback(self.host):
            raise ValueError("set MODERATOR_TOKEN: others than this machine reach the moderator's routes")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
