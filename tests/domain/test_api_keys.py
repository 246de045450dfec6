from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.domain.ids import new_key_id
from safelight.domain.keys import digest_of, has_key, id_in, new_key


def test_a_key_names_its_id_and_is_like_no_other():
    key_id = new_key_id()
    first, second = new_key(key_id), new_key(key_id)
    assert first.startswith(f"sl_{key_id.removeprefix('key_')}_")
    assert id_in(first) == id_in(second) == key_id
    assert first != second
    assert digest_of(first) != digest_of(second)


@given(position=st.integers(0, 78), letter=st.sampled_from("09AZaz"))
def test_a_key_with_one_letter_changed_is_none(position: int, letter: str):
    key = new_key(new_key_id())
    changed = key[:position] + letter + key[position + 1 :]
    assert changed == key or id_in(changed) is None


@pytest.mark.parametrize("text", ["", "sl_", "sl__", "sk-123", "sl_" + "0" * 26 + "_" + "0" * 49, "sl_ключ_секрет"])
def test_what_is_no_key_is_refused_by_its_looks(text: str):
    assert id_in(text) is None


@given(st.text())
def test_any_text_can_be_looked_at(text: str):
    assert id_in(text) is None
    has_key(text)


def test_a_key_is_found_inside_of_other_text():
    key = new_key(new_key_id())
    assert has_key(f"api_key={key}&limit=3")
    assert has_key(key[:40])
    assert not has_key("limit=3&name=sl_something")
