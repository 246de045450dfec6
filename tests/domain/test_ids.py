"""Names of things."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.domain.ids import IMAGE_ID_PATTERN, is_job_id, new_attempt_id, new_job_id


def test_ids_are_valid_different_and_sort_by_the_time_they_were_made():
    ids = [new_job_id() for _ in range(1000)]
    assert all(is_job_id(job_id) for job_id in ids)
    assert len(set(ids)) == 1000
    assert sorted(ids) == ids


def test_attempts_are_no_jobs():
    assert new_attempt_id().startswith("att_")
    assert not is_job_id(new_attempt_id())


@given(text=st.text())
def test_a_stray_text_is_no_job_id(text: str):
    assert not is_job_id(text)
    assert not is_job_id(new_job_id() + (text or "\n"))


@pytest.mark.parametrize("name", ["a", "ev-1", "loc.north_2", "A" * 64])
def test_short_tame_names_may_name_an_image(name: str):
    assert re.fullmatch(IMAGE_ID_PATTERN, name)


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a-", "a/b", "a\\b", "a b", "é", "a\n", "A" * 65])
def test_names_that_would_trouble_a_file_system_may_not(name: str):
    assert not re.fullmatch(IMAGE_ID_PATTERN, name)
