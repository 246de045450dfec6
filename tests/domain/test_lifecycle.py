"""The lifecycle tables: what is final, what can be left, and that every state has a way in and a way out."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.domain.events import image_ended, job_ended
from safelight.domain.lifecycle import (
    IMAGE_TRANSITIONS,
    JOB_TRANSITIONS,
    LIVE_IMAGE_STATUSES,
    RETRYABLE_IMAGE_STATUSES,
    TERMINAL_IMAGE_STATUSES,
    TERMINAL_JOB_STATUSES,
    ImageStatus,
    JobStatus,
    Transition,
    ended_job_status,
    may_follow,
)

S = ImageStatus


def reachable(start: str, transitions: Iterable[Transition]) -> set[str]:
    found, ahead = {start}, [start]
    while ahead:
        source = ahead.pop()
        for target in {t.target for t in transitions if t.source == source} - found:
            found.add(target)
            ahead.append(target)
    return found


def test_the_sets_of_states_are_these():
    assert {S.PROCESSING, S.GENERATING, S.UPLOADING} == LIVE_IMAGE_STATUSES
    assert {S.COMPLETED, S.FAILED, S.REFUSED, S.CANCELED, S.UNCERTAIN} == TERMINAL_IMAGE_STATUSES
    assert TERMINAL_IMAGE_STATUSES - {S.COMPLETED} == RETRYABLE_IMAGE_STATUSES
    assert {
        JobStatus.COMPLETED,
        JobStatus.PARTIAL,
        JobStatus.FAILED,
        JobStatus.CANCELED,
    } == TERMINAL_JOB_STATUSES


def test_a_completed_image_is_completed_for_ever():
    assert [target for target in S if may_follow(S.COMPLETED, target)] == []


def test_a_state_is_left_and_entered_only_as_the_tables_say():
    edges = {(t.source, t.target) for t in IMAGE_TRANSITIONS}
    assert {(a, b) for a in S for b in S if may_follow(a, b)} == edges
    assert may_follow(S.UPLOADING, S.COMPLETED)
    assert not may_follow(S.UPLOADING, S.REFUSED)
    assert not may_follow(S.QUEUED, S.GENERATING)


def test_only_a_claim_leads_from_the_queue_to_work():
    assert {t.target for t in IMAGE_TRANSITIONS if t.source is S.QUEUED} & LIVE_IMAGE_STATUSES == {S.PROCESSING}


def test_an_image_is_completed_only_from_bytes_that_are_staged():
    assert {t.source for t in IMAGE_TRANSITIONS if t.target is S.COMPLETED} == {S.UPLOADING}


def test_every_state_is_reached_from_the_first_and_reaches_an_end():
    assert reachable(S.QUEUED, IMAGE_TRANSITIONS) == set(S)
    assert reachable(JobStatus.PENDING, JOB_TRANSITIONS) == set(JobStatus)
    for status in S:
        assert reachable(status, IMAGE_TRANSITIONS) & TERMINAL_IMAGE_STATUSES
    for status in JobStatus:
        assert reachable(status, JOB_TRANSITIONS) & TERMINAL_JOB_STATUSES


@pytest.mark.parametrize("transitions", [IMAGE_TRANSITIONS, JOB_TRANSITIONS])
def test_no_edge_is_listed_twice_with_the_same_reason(transitions: tuple[Transition, ...]):
    assert len(set(transitions)) == len(transitions)
    assert all(t.reason for t in transitions)


@given(completed=st.integers(0, 500), canceled=st.integers(0, 500), other=st.integers(0, 500))
def test_a_job_ends_as_its_images_did(completed: int, canceled: int, other: int):
    total = completed + canceled + other
    ended = ended_job_status(total=total, completed=completed, canceled=canceled)
    assert ended in TERMINAL_JOB_STATUSES
    assert (ended is JobStatus.CANCELED) == (canceled > 0)
    assert (ended is JobStatus.COMPLETED) == (completed == total)
    assert (ended is JobStatus.PARTIAL) == (not canceled and 0 < completed < total)


def test_every_end_has_its_event():
    assert [image_ended(status) for status in TERMINAL_IMAGE_STATUSES]
    assert [job_ended(status) for status in TERMINAL_JOB_STATUSES]
