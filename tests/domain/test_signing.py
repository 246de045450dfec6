"""Signatures stand for one path of one account, for some time, under a key that is known."""

from __future__ import annotations

import os
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from safelight.domain.signing import MAX_EXPIRY_SECONDS, Claim, Signer, is_link, link_token, signing_key

OLD, NEW = os.urandom(32), os.urandom(32)
PATH = "/v1/jobs/job_1/images/one"


class Clock:
    def __init__(self, at: float) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


def claim_in(query: str) -> Claim:
    parts = dict(parse_qsl(query, strict_parsing=True))
    return Claim(expires_at=parts["expires"], key_id=parts["key"], signature=parts["signature"])


def test_a_signature_is_good_for_its_path_and_account_and_nothing_else():
    signer = Signer([NEW], expiry_seconds=3600)
    claim = claim_in(signer.sign(PATH, account="a"))

    assert signer.is_good(claim, PATH, account="a")
    assert not signer.is_good(claim, PATH, account="b")
    assert not signer.is_good(claim, f"{PATH}/card", account="a")
    assert not Signer([OLD], expiry_seconds=3600).is_good(claim, PATH, account="a")


@pytest.mark.parametrize("expires_at", ["", "0", "-1", "1e9", "9" * 13, "٩٩٩٩٩٩٩٩٩٩", " 99999999999"])
def test_an_expiry_that_was_made_up_is_good_for_nothing(expires_at: str):
    signer = Signer([NEW], expiry_seconds=3600)
    claim = claim_in(signer.sign(PATH, account="a"))
    made_up = Claim(expires_at=expires_at, key_id=claim.key_id, signature=claim.signature)

    assert not signer.is_good(made_up, PATH, account="a")


def test_a_link_is_the_same_for_a_sixth_of_its_time_and_good_for_the_rest_at_least():
    clock = Clock(1_800_000_000.0)
    signer = Signer([NEW], expiry_seconds=3600, clock=clock)
    first = signer.sign(PATH, account="a")
    clock.at += 599.5
    assert signer.sign(PATH, account="a") == first
    clock.at += 1
    assert signer.sign(PATH, account="a") != first
    assert signer.seconds_left(claim_in(first)) == 3000
    clock.at += 2999.0
    assert signer.is_good(claim_in(first), PATH, account="a")
    clock.at += 1.0
    assert not signer.is_good(claim_in(first), PATH, account="a")


def test_what_an_older_key_has_signed_is_good_while_it_is_listed():
    before = Signer([OLD], expiry_seconds=3600)
    during = Signer([NEW, OLD], expiry_seconds=3600)
    after = Signer([NEW], expiry_seconds=3600)
    claim = claim_in(before.sign(PATH, account="a"))

    assert [each.is_good(claim, PATH, account="a") for each in (before, during, after)] == [True, True, False]
    assert claim_in(during.sign(PATH, account="a")).key_id != claim.key_id


@pytest.mark.parametrize(("keys", "expiry_seconds"), [([], 1), ([NEW], 0), ([NEW], MAX_EXPIRY_SECONDS + 1)])
def test_a_signer_without_keys_or_for_longer_than_a_week_is_none(keys: list[bytes], expiry_seconds: int):
    with pytest.raises(ValueError, match="a signer has keys"):
        Signer(keys, expiry_seconds=expiry_seconds)


def test_the_key_of_links_is_derived_as_the_standard_says():
    reference = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"safelight signed links").derive(NEW)

    assert signing_key(NEW) == reference


def test_a_lasting_link_is_good_for_its_path_under_its_jobs_key():
    token = link_token(OLD, PATH)

    assert len(token) == 24
    assert is_link(token, OLD, PATH)
    assert not is_link(token, NEW, PATH)
    assert not is_link(token, OLD, f"{PATH}/card")
    assert not is_link("ü", OLD, PATH)
