"""Who references whom in a job, and what a retry of some of its images brings along."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import asyncpg

from safelight.db.statements import load
from safelight.domain.errors import ErrorKind
from safelight.domain.ids import ImageRowId, JobId
from safelight.domain.lifecycle import RETRYABLE_IMAGE_STATUSES, ImageStatus
from safelight.domain.order import identity_of

_SQL = load("references")


class Family:
    """The images of a locked job with what they reference; `images` are its rows of `lock_images`."""

    def __init__(self, images: Iterable[asyncpg.Record], references: Iterable[asyncpg.Record]) -> None:
        self._images: Mapping[ImageRowId, asyncpg.Record] = {image["row_id"]: image for image in images}
        self._parents: dict[ImageRowId, list[ImageRowId]] = defaultdict(list)
        self._children: dict[ImageRowId, list[ImageRowId]] = defaultdict(list)
        self._inputs: dict[ImageRowId, list[str]] = defaultdict(list)
        for row in references:
            self._inputs[row["child_row_id"]].append(
                identity_of(
                    image_id=row["parent_id"], upload_id=row["upload_id"], url=row["url"], is_mask=row["is_mask"]
                )
            )
            if row["parent_row_id"] is None:
                continue
            self._parents[row["child_row_id"]].append(row["parent_row_id"])
            self._children[row["parent_row_id"]].append(row["child_row_id"])

    @staticmethod
    async def of(conn: asyncpg.Connection, job_id: JobId, images: Iterable[asyncpg.Record]) -> Family:
        return Family(images, await conn.fetch(_SQL.references_of_job, job_id))

    def inputs_of(self, row_id: ImageRowId) -> list[str]:
        """The identities of the pictures that this image is made from, in order."""
        return self._inputs[row_id]

    def with_company(self, wanted: Iterable[ImageRowId]) -> set[ImageRowId]:
        """The wanted images, those that ended only because these had no picture, and all without a picture that any of
        them needs.

        An image that ended for want of a picture comes along when all that it lacks is wanted, and not when it would
        bring in another parent that nobody asked for.
        """
        again = set(wanted)
        self._add_bereft(again)
        self._add_parents(again)
        return again

    def _add_bereft(self, again: set[ImageRowId]) -> None:
        to_see = list(again)
        while to_see:
            for child in self._children[to_see.pop()]:
                if child not in again and self._is_bereft(child) and self._lacks(child) <= again:
                    again.add(child)
                    to_see.append(child)

    def _add_parents(self, again: set[ImageRowId]) -> None:
        to_see = list(again)
        while to_see:
            for parent in self._lacks(to_see.pop()) - again:
                again.add(parent)
                to_see.append(parent)

    def _is_bereft(self, row_id: ImageRowId) -> bool:
        image = self._images[row_id]
        return image["status"] == ImageStatus.FAILED and image["error_kind"] == ErrorKind.DEPENDENCY

    def _lacks(self, row_id: ImageRowId) -> set[ImageRowId]:
        """Its parents that have ended without a picture."""
        return {each for each in self._parents[row_id] if self._images[each]["status"] in RETRYABLE_IMAGE_STATUSES}
