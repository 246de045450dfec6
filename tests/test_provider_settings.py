"""What the settings say of a provider, as far as it could do harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from safelight.providers.registry import InvalidConfiguration
from safelight.settings import ProviderSettings, Settings
from safelight.wiring.parts import catalog_of


def settings_with(provider: ProviderSettings, home: Path, *, egress_allow: str = "") -> Settings:
    return Settings(home=home, providers={"mine": provider}, egress_allow=egress_allow)


def test_the_vendors_usual_key_goes_to_the_vendors_own_address_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-the-real-one")
    at_the_vendor = ProviderSettings(kind="openai")
    elsewhere = ProviderSettings(kind="openai", base_url="http://localhost:8000/v1")
    elsewhere_with_its_own = ProviderSettings(
        kind="openai", base_url="http://localhost:8000/v1", api_key=SecretStr("local")
    )

    keys = [
        settings_with(provider, tmp_path).key_of(provider)
        for provider in (at_the_vendor, elsewhere, elsewhere_with_its_own)
    ]

    assert keys == ["sk-the-real-one", None, "local"]


def test_an_allowance_that_cannot_be_read_is_a_matter_of_configuration(tmp_path: Path):
    provider = ProviderSettings(kind="fal", api_key=SecretStr("k"))

    with pytest.raises(InvalidConfiguration, match="egress_allow"):
        catalog_of(settings_with(provider, tmp_path, egress_allow="gopher://10.0.0.0/8"))
