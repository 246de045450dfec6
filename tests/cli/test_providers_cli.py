"""`safelight providers` as a process of its own, with the sandbox as every vendor."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from safelight.cli.children import free_port
from safelight.domain.money import microusd
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.faults import parse_directive
from safelight.sandbox.server import RunningSandbox, running_sandbox
from tests.cli.conftest import Safelight, Said
from tests.fork_server import PIPE, start

KEY = "canary-key-0123456789"
MODELS = {
    "gemini": "gemini-3.1-flash-lite-image",
    "openai": "gpt-image-1-mini",
    "replicate": "black-forest-labs/flux-schnell",
    "fal": "fal-ai/flux/schnell",
}


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    async with running_sandbox(SandboxConfig(pictures=2), bill_path=tmp_path / "bill.jsonl") as running:
        yield running


@pytest.fixture
def configured(tmp_path: Path, sandbox: RunningSandbox, environment: dict[str, str]) -> RunningSandbox:
    """One provider of each kind, at the sandbox."""
    configure(tmp_path, sandbox, environment, *MODELS)
    return sandbox


def configure(
    folder: Path, sandbox: RunningSandbox, environment: dict[str, str], *kinds: str, key: str = KEY, scenario: str = ""
) -> None:
    lines: list[str] = []
    for kind in kinds:
        lines += [f"[providers.{kind}]", f'kind = "{kind}"', f'base_url = "{sandbox.url(kind, scenario)}"']
        lines += [f'model = "{MODELS[kind]}"', f'api_key = "{key}"', "requests_per_minute = 60"]
    (folder / "safelight.toml").write_text("\n".join(lines) + "\n")
    environment["SAFELIGHT_EGRESS_ALLOW"] = "http://127.0.0.0/8:*"
    for name in ("REPLICATE_API_TOKEN", "FAL_KEY"):
        environment.pop(name, None)


def checked(said: Said) -> dict[str, dict[str, Any]]:
    """The checks by name; the key is nowhere."""
    assert KEY not in said.out + said.err
    return {check["name"]: check for check in json.loads(said.out)["checks"]}


# list


@pytest.mark.usefixtures("configured")
async def test_the_list_shows_each_provider_with_its_models_and_never_its_key(safelight: Safelight) -> None:
    said, as_json = await asyncio.gather(safelight("providers", "list"), safelight("providers", "list", "--json"))

    assert (said.code, as_json.code) == (0, 0)
    assert KEY not in said.out + said.err + as_json.out + as_json.err
    assert (
        "gemini · kind gemini · default model gemini-3.1-flash-lite-image · 8 calls at once · 60 a minute · key is set"
    ) in said.out
    assert "at most $0.03435 a picture" in said.out
    assert "switched off on 2026-10-02" in said.out
    assert "placeholder · kind placeholder · default model placeholder-1 · 8 calls at once · no key" in said.out
    document = json.loads(as_json.out)
    assert document["default"] is None
    providers = {each["name"]: each for each in document["providers"]}
    assert list(providers) == [*MODELS, "placeholder"]
    assert all(providers[name]["has_key"] is (name != "placeholder") for name in providers)
    assert {"id": MODELS["fal"], "estimate_usd": "0.003", "retired_on": None} in providers["fal"]["models"]
    assert [each["gates"] for each in providers.values()] == [None] * 5


async def test_a_provider_that_cannot_be_built_is_listed_with_the_reason(
    safelight: Safelight, environment: dict[str, str]
) -> None:
    environment["SAFELIGHT_PROVIDERS__OLD__KIND"] = "daguerre"
    environment["SAFELIGHT_PROVIDERS__KEYLESS__KIND"] = "gemini"

    said = await safelight("providers", "list")

    assert said.code == 0
    assert "provider kind `daguerre` is not installed" in said.out
    assert "provider `keyless` of kind `gemini` needs an API key" in said.out
    assert "placeholder-1  free" in said.out


@pytest.mark.usefixtures("configured")
async def test_gates_are_shown_when_a_database_answers(
    safelight: Safelight, environment: dict[str, str], database: str, pool: asyncpg.Pool
) -> None:
    environment["SAFELIGHT_DATABASE_URL"] = database
    await pool.execute(
        "INSERT INTO gates (provider, model, failures, code, message, shut_at, probe_at, limited_until) VALUES"
        " ('gemini', '', 5, 'API_KEY_INVALID', 'no', safelight.now(), safelight.now() + interval '1 minute', NULL),"
        " ('fal', 'fal-ai/flux/dev', 0, NULL, NULL, NULL, NULL, safelight.now() + interval '1 hour')"
    )

    said, as_json = await asyncio.gather(safelight("providers", "list"), safelight("providers", "list", "--json"))

    assert "shut for every model since 20" in said.out
    assert "(API_KEY_INVALID), next try 20" in said.out
    assert "limited for fal-ai/flux/dev until 20" in said.out
    assert "no database answers" not in said.out
    gates = {each["name"]: each["gates"] for each in json.loads(as_json.out)["providers"]}
    assert [(gate["model"], gate["state"]) for gate in gates["gemini"]] == [(None, "shut")]
    assert [(gate["model"], gate["state"]) for gate in gates["fal"]] == [("fal-ai/flux/dev", "limited")]
    assert gates["openai"] == []


# check


async def test_a_check_asks_each_vendor_for_free(safelight: Safelight, configured: RunningSandbox) -> None:
    said = await safelight("providers", "check", "--json")

    found = checked(said)
    assert (said.code, json.loads(said.out)["verdict"], json.loads(said.out)["probe"]) == (0, "ok", None)
    for kind in ("gemini", "openai", "replicate"):
        assert found[f"{kind} key"]["found"] == "the vendor takes it"
    assert found["fal key"]["found"] == "is set; only a paid call can tell whether the vendor takes it"
    assert found["gemini address"]["found"] == f"127.0.0.1:{configured.port} takes connections"
    assert found["gemini model"]["found"] == "`gemini-3.1-flash-lite-image`, at most $0.03435 a picture"
    assert found["placeholder model"]["found"] == "`placeholder-1`, a picture costs nothing"
    assert configured.vendor.calls == []


async def test_a_bad_key_is_a_problem_at_every_vendor_that_can_be_asked(
    safelight: Safelight, sandbox: RunningSandbox, environment: dict[str, str], tmp_path: Path
) -> None:
    configure(tmp_path, sandbox, environment, *MODELS, key="bad-key")

    said = await safelight("providers", "check", "--json")

    assert said.code == 1
    problems = {name for name, check in checked(said).items() if check["verdict"] == "problem"}
    assert problems == {"gemini key", "openai key", "replicate key"}
    assert "API_KEY_INVALID" in checked(said)["gemini key"]["found"]
    assert all(checked(said)[name]["remedy"] for name in problems)
    assert sandbox.vendor.calls == []


async def test_a_vendor_that_is_out_leaves_its_key_unchecked(safelight: Safelight, configured: RunningSandbox) -> None:
    configured.vendor.set_outage("gemini", parse_directive("503"))

    said = await safelight("providers", "check", "gemini", "--json")

    assert said.code == 0
    assert checked(said)["gemini key"]["verdict"] == "warning"
    assert "HTTP 503" in checked(said)["gemini key"]["found"]


async def test_an_address_where_nobody_listens_is_a_problem_and_nothing_is_bought(
    safelight: Safelight, environment: dict[str, str]
) -> None:
    environment["SAFELIGHT_PROVIDERS__GEMINI__KIND"] = "gemini"
    environment["SAFELIGHT_PROVIDERS__GEMINI__API_KEY"] = KEY
    environment["SAFELIGHT_PROVIDERS__GEMINI__MODEL"] = MODELS["gemini"]
    environment["SAFELIGHT_PROVIDERS__GEMINI__BASE_URL"] = f"http://127.0.0.1:{free_port()}"

    said = await safelight("providers", "check", "gemini", "--paid", "--yes", "--json")

    assert said.code == 1
    assert checked(said)["gemini address"]["verdict"] == "problem"
    assert "gemini key" not in checked(said)
    assert "gemini picture" not in checked(said)


@pytest.mark.parametrize(
    ("model", "why"),
    [("gemini-99", "not in the model data"), ("gemini-2.5-flash-image", "switched `gemini-2.5-flash-image` off")],
)
async def test_a_model_that_cannot_be_bought_is_a_problem_and_is_not_tried(
    model: str, why: str, safelight: Safelight, configured: RunningSandbox
) -> None:
    said = await safelight("providers", "check", "gemini", "--model", model, "--paid", "--yes", "--json")

    assert said.code == 1
    assert why in checked(said)["gemini model"]["found"]
    assert configured.vendor.calls == []


# check --paid


@pytest.mark.parametrize("kind", MODELS)
async def test_a_paid_check_buys_one_picture_and_says_what_it_cost(
    kind: str, safelight: Safelight, configured: RunningSandbox
) -> None:
    said = await safelight("providers", "check", kind, "--paid", "--yes", "--json")

    assert said.code == 0, said
    probe = json.loads(said.out)["probe"]
    [call] = configured.vendor.bill.calls_of(kind)
    assert call["outcome"] == "ok"
    assert microusd(Decimal(probe["cost_usd"])) == call["cost_microusd"] > 0
    assert (probe["model"], probe["billed"]) == (MODELS[kind], "yes")
    assert min(probe["width"], probe["height"]) >= 512
    found = checked(said)[f"{kind} picture"]["found"]
    assert f"{probe['width']} × {probe['height']} {probe['mime']}" in found
    assert f"it cost ${probe['cost_usd']}" in found


@pytest.mark.parametrize(("answer", "bought"), [("y\n", 1), ("\n", 0), ("", 0)])
async def test_the_price_is_shown_first_and_only_a_yes_spends_it(
    answer: str, bought: int, configured: RunningSandbox, environment: dict[str, str], tmp_path: Path
) -> None:
    process = await start(
        *("providers", "check", "gemini", "--paid"),
        cwd=tmp_path,
        env=environment,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = (said.decode() for said in await process.communicate(answer.encode()))

    assert err.startswith("One picture by gemini-3.1-flash-lite-image costs at most $0.03")
    assert len(configured.vendor.calls) == bought
    assert process.returncode == (0 if bought else 1)
    assert ("it cost $0.03" in " ".join(out.split())) is bool(bought)
    assert ("nothing was bought" in err) is not bought


@pytest.mark.parametrize(
    ("scenario", "found", "meaning"),
    [
        ("refuse", "the vendor refused a harmless prompt: IMAGE_SAFETY", "It cost $0.0000"),
        ("429=5", "RATE_LIMIT RESOURCE_EXHAUSTED", "It cost nothing."),
        ("cut", "TEMPORARY CONNECTION_LOST", "Whether it was charged is not known"),
        ("not-an-image", "what came is no picture: ", "It cost $0.03"),
    ],
)
async def test_a_purchase_without_a_picture_is_a_problem_that_says_what_it_cost(
    scenario: str,
    found: str,
    meaning: str,
    safelight: Safelight,
    sandbox: RunningSandbox,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    configure(tmp_path, sandbox, environment, "gemini", scenario=scenario)

    said = await safelight("providers", "check", "gemini", "--paid", "--yes", "--json")

    assert said.code == 1
    check = checked(said)["gemini picture"]
    assert check["verdict"] == "problem"
    assert check["found"].startswith(found)
    assert check["meaning"].startswith(meaning)
    assert len(sandbox.vendor.calls) == 1


async def test_a_free_picture_is_made_without_a_question(safelight: Safelight) -> None:
    said = await safelight("providers", "check", "placeholder", "--paid")

    assert (said.code, said.err) == (0, "")
    assert "1024 × 1024 image/png" in said.out


# What cannot be meant


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--paid",), "--paid and --model are for one provider: name it"),
        (("nobody",), "no provider `nobody` is configured; there are `gemini`, `placeholder`"),
        (("gemini", "--paid"), "provider `gemini` has no default model: --paid needs --model"),
    ],
)
async def test_what_cannot_be_meant_is_one_line(
    words: tuple[str, ...], complaint: str, safelight: Safelight, environment: dict[str, str]
) -> None:
    environment["SAFELIGHT_PROVIDERS__GEMINI__KIND"] = "gemini"
    environment["SAFELIGHT_PROVIDERS__GEMINI__API_KEY"] = KEY

    said = await safelight("providers", "check", *words)

    assert (said.code, said.out, said.err) == (1, "", f"safelight: {complaint}\n")


async def test_every_command_explains_itself(safelight: Safelight) -> None:
    for words in (["list"], ["check"]):
        said = await safelight("providers", *words, "--help")
        assert said.code == 0
        assert "--json" in said.out
