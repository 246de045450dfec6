"""Entry points as a real installer leaves them: a `dist-info` folder on the path."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from configs import config

from safelight.providers.configuration import checked_url
from safelight.providers.fal import FalProvider
from safelight.providers.gemini import GeminiProvider
from safelight.providers.openai import OpenAIProvider
from safelight.providers.placeholder import PlaceholderProvider
from safelight.providers.registry import InvalidConfiguration, installed_kinds, load_kind
from safelight.providers.replicate import ReplicateProvider

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

Install = Callable[[str, dict[str, str]], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution with these provider kinds first on the path, over one of the same name."""

    def install(name: str, kinds: dict[str, str]) -> None:
        site = tmp_path / name
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{kind} = {target}" for kind, target in kinds.items()]
        (info / "entry_points.txt").write_text("[safelight.providers]\n" + "\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(site))

    return install


@pytest.fixture
def ours(install: Install) -> None:
    install("safelight", PROJECT["entry-points"]["safelight.providers"])


@pytest.mark.usefixtures("ours")
def test_our_own_kinds_come_through_the_plugin_door() -> None:
    kinds = installed_kinds()

    assert set(kinds) == {"fal", "gemini", "openai", "placeholder", "replicate"}
    assert load_kind("gemini", kinds) is GeminiProvider
    assert load_kind("placeholder", kinds) is PlaceholderProvider


@pytest.mark.usefixtures("ours")
def test_a_strangers_kind_is_found_and_built(install: Install, tmp_path: Path) -> None:
    install("acme_pictures", {"acme": "acme_provider:Acme"})
    (tmp_path / "acme_pictures" / "acme_provider.py").write_text(
        "from safelight.providers.placeholder import PlaceholderProvider\nclass Acme(PlaceholderProvider):\n    pass\n"
    )

    provider = load_kind("acme", installed_kinds()).from_config("mine", config())

    assert type(provider).__name__ == "Acme"


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize(
    ("kind", "target", "complaint"),
    [
        ("gemini", "safelight.providers.placeholder:PlaceholderProvider", "installed twice"),
        ("acme", "no_such_module:Acme", "cannot be loaded"),
        ("acme", "safelight.providers.placeholder:NoSuchClass", "cannot be loaded"),
        ("acme", "safelight.providers.placeholder:MODEL", "no `from_config`"),
    ],
)
def test_a_broken_plugin_is_named(install: Install, kind: str, target: str, complaint: str) -> None:
    install("acme_pictures", {kind: target})

    with pytest.raises(InvalidConfiguration, match=complaint) as caught:
        load_kind(kind, installed_kinds())
    assert f"`{kind}`" in str(caught.value)


@pytest.mark.parametrize("kind", [GeminiProvider, PlaceholderProvider])
def test_no_kind_starts_on_a_configuration_it_would_ignore_or_lack(
    kind: type[GeminiProvider] | type[PlaceholderProvider],
) -> None:
    with pytest.raises(InvalidConfiguration, match="`mine`"):
        kind.from_config("mine", config(base_url="ftp://host"))


@pytest.mark.parametrize("kind", [GeminiProvider, OpenAIProvider, ReplicateProvider, FalProvider])
@pytest.mark.parametrize(
    "base_url",
    [
        "http://[::1",
        "http://host:port",
        "http://host:99999",
        "http://host:0",
        "https://.example.com",
        f"https://{'a' * 64}.example.com",
        "https://\N{SNOWMAN}.example",
        "https://api.example.com/v1 ",
        "https://api .example.com",
        "http://a\0b",
        "https://api.example.com/v1?version=2",
        "https://api.example.com/#v1",
    ],
)
def test_no_kind_starts_with_a_base_url_that_leads_nowhere(
    kind: type[GeminiProvider] | type[OpenAIProvider] | type[ReplicateProvider] | type[FalProvider], base_url: str
) -> None:
    with pytest.raises(InvalidConfiguration, match="the base URL of provider `mine`") as caught:
        kind.from_config("mine", config(api_key="k", base_url=base_url.replace("//", "//user:secret@", 1)))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url", ["http://[::1]:8000/v1", "https://b\u00fccher.example/v1", "http://my_host:8000", "http://127.1"]
)
def test_an_unusual_base_url_that_can_be_connected_to_is_kept(base_url: str) -> None:
    assert checked_url("mine", config(base_url=base_url)) == base_url


def test_a_slash_at_the_end_of_a_base_url_changes_nothing_for_a_strangers_kind_either() -> None:
    assert checked_url("mine", config(base_url="http://127.0.0.1:8000/v1/")) == "http://127.0.0.1:8000/v1"
