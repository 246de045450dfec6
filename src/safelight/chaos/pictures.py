"""What is said to be stored and served, against the bytes."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

from safelight.chaos.evidence import Evidence, Rendition
from safelight.storage.keys import row_id_of

_ORPHANS_MAY_STAY = timedelta(days=2)
"""A stored picture that nothing names goes within about a day."""


def unserved(evidence: Evidence) -> list[str]:
    """Completed images without their picture, and stored ones that are not what the books say."""
    return [*_not_stored(evidence), *_not_served(evidence), *_left_behind(evidence)]


def orphans(evidence: Evidence) -> list[str]:
    """Keys of objects that nothing names."""
    named = {each.key for each in evidence.renditions or ()}
    if evidence.renditions is None:
        return []
    return sorted(each.key for each in evidence.objects or () if each.key not in named)


def _not_stored(evidence: Evidence) -> list[str]:
    if evidence.renditions is None or evidence.objects is None:
        return []
    by_image = _by_image(evidence)
    objects = {each.key: each for each in evidence.objects}
    removed = {job.id for job in evidence.jobs if job.is_removed}
    outputs = {job.id: job.outputs for job in evidence.jobs}
    found = [
        f"{image.job_id} {image.id} is completed and has no rendition"
        for image in evidence.images
        if image.status == "completed"
        and image.job_id not in removed
        and all(each.is_internal for each in by_image[image.row_id])
    ]
    found += [
        f"{image.job_id} {image.id} is completed and has no rendition `{name}`"
        for image in evidence.images
        if image.status == "completed" and image.job_id not in removed and image.job_id in outputs
        for name in outputs[image.job_id]
        if name not in {each.name for each in by_image[image.row_id] if not each.is_internal}
    ]
    found += [
        f"`{each.key}` was made for image {owner}, and is said to be of {each.row_id}"
        for each in evidence.renditions
        if each.row_id is not None and (owner := row_id_of(each.key)) is not None and owner != each.row_id
    ]
    for each in evidence.renditions:
        there = objects.get(each.key)
        if there is None:
            found.append(f"`{each.key}` is not in the store")
        elif (there.length, there.sha256) != (each.length, each.sha256):
            found.append(
                f"`{each.key}` has {there.length} bytes, {there.sha256[:12]}…, not {each.length}, {each.sha256[:12]}…"
            )
        elif there.mime is None:
            found.append(f"`{each.key}` does not decode")
        elif there.mime != each.mime:
            found.append(f"`{each.key}` is {there.mime}, not {each.mime}")
    return found


def _not_served(evidence: Evidence) -> list[str]:
    if evidence.renditions is None or evidence.served is None:
        return []
    by_image = _by_image(evidence)
    rows = {(image.job_id, image.id): image for image in evidence.images}
    removed = {job.id for job in evidence.jobs if job.is_removed}
    fetched = {(each.job_id, each.image_id) for each in evidence.served}
    found = [
        f"{image.job_id} {image.id} is completed, and nobody fetched it"
        for image in evidence.images
        if image.status == "completed" and image.job_id not in removed and (image.job_id, image.id) not in fetched
    ]
    for each in evidence.served:
        image = rows.get((each.job_id, each.image_id))
        known = [] if image is None else by_image[image.row_id]
        fits = [(r.length, r.sha256, r.mime) for r in known if not r.is_internal]
        if each.status != 200:
            found.append(f"{each.job_id} {each.image_id} was answered with {each.status}")
        elif (each.length, each.sha256, each.content_type) not in fits:
            found.append(
                f"{each.job_id} {each.image_id} was served as {each.length} bytes of {each.content_type}, and is not"
            )
    return found


def _left_behind(evidence: Evidence) -> list[str]:
    newest = max((event.at for event in evidence.events), default=None)
    if newest is None:
        return []
    nobodys = set(orphans(evidence))
    return [
        f"`{each.key}` is named by nothing and was put on {each.put_at:%Y-%m-%d}"
        for each in evidence.objects or ()
        if each.key in nobodys and each.put_at is not None and each.put_at < newest - _ORPHANS_MAY_STAY
    ]


def _by_image(evidence: Evidence) -> dict[int, list[Rendition]]:
    found: dict[int, list[Rendition]] = defaultdict(list)
    for each in evidence.renditions or ():
        if each.row_id is not None:
            found[each.row_id].append(each)
    return found
