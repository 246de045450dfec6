"""Webhooks' secrets: how they sign, and how they are kept."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from safelight.delivery.webhooks.signing import new_secret, signed_headers
from safelight.delivery.webhooks.vault import CannotOpen, InvalidKey, Vault, new_key, vault_at


def test_the_signature_is_that_of_the_specification():
    """Computed with OpenSSL for this id, time, body and secret."""
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
        at_unix=1614265330,
        secrets=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_secret_is_32_random_bytes_that_the_library_takes():
    first, second = new_secret(), new_secret()
    assert first != second
    assert first.startswith("whsec_")
    assert len(base64.b64decode(first.removeprefix("whsec_"), validate=True)) == 32
    Webhook(first)


def test_what_is_sealed_shows_nothing_and_is_opened_by_its_own_key_alone():
    key, secret = new_key(), new_secret()
    sealed = Vault([key]).seal(secret)
    assert secret.removeprefix("whsec_").encode() not in sealed
    assert sealed != Vault([key]).seal(secret)
    assert Vault([key]).open(sealed) == secret
    with pytest.raises(CannotOpen, match="SAFELIGHT_SECRET_KEY"):
        Vault([new_key()]).open(sealed)
    with pytest.raises(CannotOpen):
        Vault([key]).open(sealed[:-1] + b"A")


def test_a_key_is_changed_by_putting_the_new_one_before_the_old_one(tmp_path: Path):
    old, new, secret = new_key(), new_key(), new_secret()
    sealed = vault_at(tmp_path, old).seal(secret)
    both = vault_at(tmp_path, f"{new}, {old}")
    assert both.open(sealed) == secret
    assert Vault([new]).open(both.seal(secret)) == secret
    assert not (tmp_path / "secret.key").exists()


@pytest.mark.parametrize("key", ["short", "x" * 44, "é" * 44, "A" * 43])
def test_what_is_no_key_is_refused_without_being_quoted(tmp_path: Path, key: str):
    with pytest.raises(InvalidKey) as refused:
        vault_at(tmp_path, key)
    assert key not in str(refused.value)


def test_the_installations_key_is_made_once_and_is_nobody_elses_to_read(tmp_path: Path):
    home = tmp_path / "deep" / "home"
    sealed = vault_at(home, None).seal("a")
    file = home / "secret.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert vault_at(home, None).open(sealed) == "a"
    assert vault_at(tmp_path, file.read_text()).open(sealed) == "a", "its text is what SAFELIGHT_SECRET_KEY takes"
    assert [each.name for each in home.iterdir()] == ["secret.key"]


def test_processes_that_start_together_have_one_key(tmp_path: Path):
    seal = (
        "import sys; from pathlib import Path; from safelight.delivery.webhooks.vault import vault_at;"
        "sys.stdin.readline(); sys.stdout.buffer.write(vault_at(Path(sys.argv[1]), None).seal('a'))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", seal, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False
        )
        for _ in range(3)
    ]
    for each in started:
        assert each.stdin is not None
        each.stdin.write(b"\n")
        each.stdin.flush()
    sealed = [each.communicate(timeout=60)[0] for each in started]
    assert [vault_at(tmp_path, None).open(each) for each in sealed] == ["a"] * 3
