"""What the client was answered, against the jobs that there are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from safelight.chaos.evidence import Evidence, Image, Submission


def lost(evidence: Evidence) -> list[str]:
    """Jobs that were answered with a 2xx and do not exist, or under another key, or that lack an image, or have one of
    another prompt."""
    images = _images_by_job(evidence)
    jobs = {job.id: job for job in evidence.jobs}
    found = []
    for job_id, submission in _accepted(evidence).items():
        if job_id not in jobs:
            found.append(f"{job_id} (key {submission.key}) was answered with {submission.status} and does not exist")
            continue
        if submission.key != (key := jobs[job_id].idempotency_key):
            found.append(f"{job_id} was accepted under key {submission.key} and is kept under {key}")
        there = images.get(job_id, {})
        prompts = dict(zip(submission.images, submission.prompts_sha256, strict=False))
        for image_id in submission.images:
            if image_id not in there:
                found.append(f"{job_id} was accepted with image {image_id} and does not have it")
            elif prompts and prompts.get(image_id) not in there[image_id].prompts_sha256:
                found.append(f"{job_id} {image_id} has another prompt than was accepted")
    return found


def invented(evidence: Evidence) -> list[str]:
    """Jobs under no id and no key of the client's, and images that were not asked for.

    A submit without a key whose answer was lost may have made a job that nobody can name: so many are allowed.
    """
    if evidence.submissions is None:
        return []
    accepted = _accepted(evidence)
    by_key = {each.key: each for each in evidence.submissions if each.key is not None}
    unnamed = sum(each.key is None and each.status is None for each in evidence.submissions)
    images = _images_by_job(evidence)
    found = []
    for job in evidence.jobs:
        asked = accepted.get(job.id) or (by_key.get(job.idempotency_key) if job.idempotency_key else None)
        if asked is None:
            if job.idempotency_key is None and unnamed:
                unnamed -= 1
            else:
                found.append(f"{job.id} (key {job.idempotency_key}) was made, and nobody asked for it")
            continue
        if asked.images:
            more = set(images.get(job.id, {})) - set(asked.images)
            found += [f"{job.id} has image {image_id}, and nobody asked for it" for image_id in sorted(more)]
    return found


def duplicated(evidence: Evidence) -> list[str]:
    """Keys that more than one job was made or named for; jobs and images that are there twice."""
    by_key: dict[tuple[str, str], set[str]] = defaultdict(set)
    for job in evidence.jobs:
        if job.idempotency_key is not None:
            by_key[job.account, job.idempotency_key].add(job.id)
    found = [
        f"key {key} of {account} has {len(ids)} jobs: {_some(ids)}"
        for (account, key), ids in by_key.items()
        if len(ids) > 1
    ]
    named: dict[str, set[str]] = defaultdict(set)
    for each in evidence.submissions or ():
        if each.is_accepted and each.key is not None and each.job_id is not None:
            named[each.key].add(each.job_id)
    twice = Counter([job.id for job in evidence.jobs] + [f"{each.job_id} {each.id}" for each in evidence.images])
    found += [f"{what} is there {times} times" for what, times in twice.items() if times > 1]
    return found + [
        f"key {key} was answered with {len(ids)} jobs: {_some(ids)}" for key, ids in named.items() if len(ids) > 1
    ]


def repeats(evidence: Evidence) -> int:
    """Submits that were answered with a job for the second time or later."""
    accepted = [each for each in evidence.submissions or () if each.is_accepted]
    return len(accepted) - len({each.job_id for each in accepted})


def _accepted(evidence: Evidence) -> dict[str, Submission]:
    """The first 2xx of each job."""
    found: dict[str, Submission] = {}
    for each in evidence.submissions or ():
        if each.is_accepted and each.job_id is not None:
            found.setdefault(each.job_id, each)
    return found


def _images_by_job(evidence: Evidence) -> dict[str, dict[str, Image]]:
    found: dict[str, dict[str, Image]] = defaultdict(dict)
    for image in evidence.images:
        found[image.job_id][image.id] = image
    return found


def _some(ids: set[str]) -> str:
    shown: Sequence[str] = sorted(ids)[:3]
    return ", ".join(shown) + (" …" if len(ids) > len(shown) else "")
