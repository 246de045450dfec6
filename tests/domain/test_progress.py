"""A job in numbers and words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.domain.lifecycle import LIVE_IMAGE_STATUSES, TERMINAL_IMAGE_STATUSES, ImageStatus, JobStatus
from safelight.domain.progress import count, current_step, percent

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
