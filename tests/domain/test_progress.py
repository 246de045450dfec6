"""A job in numbers and words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.domain.lifecycle import LIVE_IMAGE_STATUSES, TERMINAL_IMAGE_STATUSES, ImageStatus, JobStatus
from safelight.domain.progress import count, current_step, percent, report

images_by_status = st.dictionaries(st.sampled_from(ImageStatus), st.integers(0, 500))


@given(images=images_by_status)
def test_every_image_is_counted_once(images: dict[ImageStatus, int]):
    counts = count(images)
    parts = (
        counts.queued,
        counts.active,
        counts.completed,
        counts.failed,
        counts.refused,
        counts.canceled,
        counts.uncertain,
    )
    assert sum(parts) == counts.total == sum(images.values())
    assert counts.active == sum(images.get(status, 0) for status in LIVE_IMAGE_STATUSES)
    assert counts.ended == sum(images.get(status, 0) for status in TERMINAL_IMAGE_STATUSES)


@given(images=images_by_status)
def test_progress_is_a_hundred_only_when_every_image_has_ended(images: dict[ImageStatus, int]):
    counts = count(images)
    assert 0 <= percent(counts) <= 100
    assert (percent(counts) == 100) == (counts.ended == counts.total)


def test_progress_is_rounded_down():
    assert percent(count({ImageStatus.COMPLETED: 8, ImageStatus.QUEUED: 6})) == 57


@pytest.mark.parametrize("status", JobStatus)
@given(images=images_by_status)
def test_every_job_says_what_it_is_doing(status: JobStatus, images: dict[ImageStatus, int]):
    assert current_step(status, count(images))


def test_a_running_job_counts_the_images_that_have_ended():
    counts = count({ImageStatus.COMPLETED: 7, ImageStatus.REFUSED: 1, ImageStatus.GENERATING: 6})
    assert current_step(JobStatus.GENERATING, counts) == "Generating images… 8/14"
    assert current_step(JobStatus.PARTIAL, counts) == "Partly completed: 7/14 images"


def test_what_keeps_a_live_job_from_going_on_is_said_and_of_an_ended_one_nothing_is():
    counts = count({ImageStatus.COMPLETED: 7, ImageStatus.QUEUED: 7})
    why = "waiting for 12 other images"
    assert current_step(JobStatus.PENDING, counts, waits=why) == "Waiting for 12 other images"
    assert (
        current_step(JobStatus.GENERATING, counts, waits=why) == "Generating images… 7/14, waiting for 12 other images"
    )
    assert current_step(JobStatus.PARTIAL, counts, waits=why) == "Partly completed: 7/14 images"


def test_a_report_is_the_same_for_everybody_who_watches():
    counts = count({ImageStatus.COMPLETED: 7, ImageStatus.REFUSED: 1, ImageStatus.GENERATING: 6})
    assert report(JobStatus.GENERATING, counts) == {
        "status": "generating",
        "progress": 57,
        "current_step": "Generating images… 8/14",
        "counts": {
            "total": 14,
            "queued": 0,
            "active": 6,
            "completed": 7,
            "failed": 0,
            "refused": 1,
            "canceled": 0,
            "uncertain": 0,
        },
    }
