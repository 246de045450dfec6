"""What the studio is told by its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Each field is an environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    port: int = 8520
    """On 127.0.0.1."""
    app_url: str = ""
    """How Safelight reaches the studio, for webhooks; empty: by `port` on this machine."""
    data_dir: Path = Path("product-studio-data")
    """The studio's own folder, which it makes."""
    safelight_url: str = "http://127.0.0.1:8420"
    safelight_api_key: SecretStr | None = None
    """An admin's key, since the studio makes accounts and tops them up; None where Safelight runs open."""
    welcome_tokens: int = 100
    """What somebody new finds in their account."""
    sweep_seconds: float = 10.0
    """How often the studio looks for orders that were not sent, and for news that no webhook brought."""

    @property
    def own_url(self) -> str:
        return (self.app_url or f"http://127.0.0.1:{self.port}").rstrip("/")

    @property
    def api_key(self) -> str | None:
        return self.safelight_api_key.get_secret_value() if self.safelight_api_key is not None else None
