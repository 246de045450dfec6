"""What a request is when the very same one has been made before: every case, by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safelight.api.openai.repeats import Earlier, Way, key_after, way_of

ENDED = Earlier(
    job_id="job_1",
    is_live=False,
    has_pictures=True,
    is_handed_over=True,
    has_just_ended=True,
    is_kept_ready=True,
    can_run_again=True,
)


@pytest.mark.parametrize("is_repeat", [False, True])
def test_what_still_runs_is_shared(is_repeat: bool):
    live = replace(ENDED, is_live=True, has_pictures=False, is_handed_over=False, has_just_ended=False)
    assert way_of(live, is_repeat=is_repeat) is Way.JOIN


def test_the_same_wish_after_its_answer_is_a_new_one():
    assert way_of(ENDED, is_repeat=False) is Way.NEW


def test_a_repeat_just_after_the_end_is_given_the_same_answer_pictures_or_not():
    assert way_of(ENDED, is_repeat=True) is Way.JOIN
    assert way_of(replace(ENDED, has_pictures=False, is_handed_over=False), is_repeat=True) is Way.JOIN


def test_a_repeat_of_something_long_ago_is_a_new_wish_whose_first_try_never_arrived():
    assert way_of(replace(ENDED, has_just_ended=False), is_repeat=True) is Way.NEW


@pytest.mark.parametrize("is_repeat", [False, True])
def test_pictures_that_nobody_was_given_go_to_whoever_asks_next_within_a_day(is_repeat: bool):
    waiting = replace(ENDED, is_handed_over=False, has_just_ended=False)
    assert way_of(waiting, is_repeat=is_repeat) is Way.JOIN
    assert way_of(replace(waiting, is_kept_ready=False), is_repeat=is_repeat) is Way.NEW


def test_what_ended_without_a_picture_is_tried_again_in_the_same_job():
    failed = replace(ENDED, has_pictures=False, is_handed_over=False)
    assert way_of(failed, is_repeat=False) is Way.RUN_AGAIN
    assert way_of(replace(failed, is_kept_ready=False), is_repeat=False) is Way.NEW


def test_no_caller_can_send_a_key_of_ours():
    assert " " in key_after(None, "f")
    assert key_after(None, "f") != key_after(ENDED, "f")
