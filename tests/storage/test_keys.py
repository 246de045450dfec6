from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.storage.keys import InvalidKey, blob_key, row_id_of, split_key

SHA256 = "9f86d081" + "0" * 56


def _key(**fields: Any) -> str:
    good: dict[str, Any] = {
        "account": None,
        "prefix": "job_01JD",
        "group": "evidence",
        "image_id": "ev-1",
        "output": "card",
        "row_id": 4711,
        "sha256": SHA256,
        "extension": "jpg",
    }
    return blob_key(**{**good, **fields})


def test_a_key_spells_account_prefix_group_image_and_content() -> None:
    assert (
        _key(account="user_42", prefix="project_1/branch_2/shot_4")
        == "user_42/project_1/branch_2/shot_4/evidence/ev-1.card-000012679f86d081.jpg"
    )


def test_no_account_and_no_group_leave_their_segments_out() -> None:
    assert _key(group="") == "job_01JD/ev-1.card-000012679f86d081.jpg"


def test_a_row_id_beyond_eight_digits_is_never_cut() -> None:
    assert _key(row_id=0x1_2345_6789) == "job_01JD/evidence/ev-1.card-1234567899f86d081.jpg"


def test_a_row_id_may_come_as_its_hexadecimal_digits() -> None:
    assert _key(row_id="1267") == _key(row_id=0x1267)


@pytest.mark.parametrize("field", ["account", "prefix", "group", "image_id", "output", "extension", "sha256"])
@pytest.mark.parametrize("bad", ["..", ".", "a b", "a\0b", "a\nb", "é", "a\\b", "x" * 256, "a~b", "C:"])
def test_a_segment_outside_of_the_rule_is_refused(field: str, bad: str) -> None:
    with pytest.raises(InvalidKey):
        _key(**{field: bad})


@pytest.mark.parametrize("field", ["account", "group", "image_id", "output", "extension", "sha256"])
@pytest.mark.parametrize("bad", ["a/b", "/a", "../a"])
def test_only_a_prefix_may_hold_several_segments(field: str, bad: str) -> None:
    with pytest.raises(InvalidKey):
        _key(**{field: bad})


@pytest.mark.parametrize("prefix", ["", "/", "/etc", "a//b", "a/", "a/../b", "./a"])
def test_a_prefix_with_an_empty_or_a_dot_segment_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidKey):
        _key(prefix=prefix)


def test_an_empty_account_is_not_the_same_as_none() -> None:
    with pytest.raises(InvalidKey):
        _key(account="")


def test_a_key_longer_than_any_store_holds_is_refused() -> None:
    with pytest.raises(InvalidKey):
        _key(prefix="/".join(["x" * 200] * 6))


@given(st.text(alphabet="ab./\\~\0 é-_", max_size=12))
def test_an_accepted_key_never_leads_upwards_or_to_a_root(key: str) -> None:
    try:
        segments = split_key(key)
    except InvalidKey:
        return
    assert "/".join(segments) == key
    assert not {"", ".", ".."} & set(segments)


@pytest.mark.parametrize("row_id", [1, 0xABCDEF, 2**32, 2**63 - 1])
def test_a_key_tells_the_image_that_it_was_made_for(row_id: int) -> None:
    named = {"group": "g.x-0", "image_id": "ev-1.card-0000000012345678", "output": "a.b-c", "extension": "jpg"}
    key = blob_key(account=None, prefix="p/q", row_id=row_id, sha256="0123456789abcdef", **named)
    assert row_id_of(key) == row_id


@pytest.mark.parametrize(
    "key",
    [
        "README.txt",
        "a/b.jpg",
        "a/ev.card-12345678.jpg",
        "a/ev.card-00000001ABCDEF01.jpg",
        "a/ev.card-0000000112345678",
        "a/ev.card-0000000012345678.jpg",
        f"a/ev.card-{'f' * 24}.jpg",
        f"a/ev.card-{'1' * 40}.jpg",
    ],
)
def test_another_file_tells_of_no_image(key: str) -> None:
    assert row_id_of(key) is None
