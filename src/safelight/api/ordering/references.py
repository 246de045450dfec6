"""Which images of a request are made from which others: every reference leads to one of them, and none leads back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from safelight.api.edge.problems import RequestFault
from safelight.api.ordering.wishes import Wish
from safelight.api.schemas import NewImage
from safelight.domain.errors import Fault

_NAMES_SHOWN = 8


def reference_faults(
    wishes: Sequence[Wish], images: Sequence[NewImage], *, other_ids: Collection[str], is_complete: bool
) -> list[Fault]:
    """What is wrong with the references of these wishes; `images` are those of the request.

    `other_ids` belong to images that have faults of their own. Unless the wishes `is_complete` with them, an id that
    nobody has is passed over: its image may be among those that could not be read.
    """
    wishes_by_id: dict[str, Wish] = {}
    for wish in wishes:
        wishes_by_id.setdefault(wish.id, wish)
    numbered = {image.id: image.count for image in images if image.count > 1}
    known = {*wishes_by_id, *other_ids}
    faults: list[Fault] = []
    for wish in wishes:
        times = Counter[str]()
        for n, reference in enumerate(wish.references):
            times[reference.identity] += 1
            why = None
            if reference.image_id is not None:
                why = _trouble(wish, reference.image_id, known, numbered, is_complete=is_complete)
            if times[reference.identity] == 2:
                what = f"`{reference.image_id}`" if reference.image_id is not None else "The same picture"
                why = f"{what} is referenced already."
            if why is not None:
                faults.append(RequestFault(_pointer(wish, n), why))
        if wish.mask is not None and not wish.references:
            faults.append(RequestFault(f"{wish.pointer}/mask", "A mask needs the reference that it belongs to."))
    faults += _circles(wishes_by_id)
    return list(dict.fromkeys(faults))


def ids_in(image: object) -> Iterator[str]:
    """The ids that an image of a request would have, as far as they can be read of one that has faults."""
    fields = image if isinstance(image, Mapping) else {}
    image_id, count = fields.get("id"), fields.get("count")
    if isinstance(image_id, str):
        yield image_id
        if isinstance(count, int) and 1 < count <= 10:
            yield from (f"{image_id}-{n}" for n in range(1, count + 1))


def _trouble(
    wish: Wish, image_id: str, known: Collection[str], numbered: Mapping[str, int], *, is_complete: bool
) -> str | None:
    if image_id == wish.id:
        return "An image cannot be made from itself."
    if image_id in known:
        return None
    if count := numbered.get(image_id):
        return f"`{image_id}` stands for several images; there are `{image_id}-1` to `{image_id}-{count}`."
    return f"The job has no image `{image_id}`." if is_complete else None


def _circles(wishes: Mapping[str, Wish]) -> Iterator[RequestFault]:
    """Each reference that closes a circle of at least two images, found by walking from image to image."""
    seen: set[str] = set()
    for start in wishes:
        if start in seen:
            continue
        seen.add(start)
        way = [start]
        branches = [_steps(wishes, start)]
        while branches:
            step = next(branches[-1], None)
            if step is None:
                branches.pop()
                way.pop()
                continue
            n, parent = step
            if parent in way:
                yield RequestFault(_pointer(wishes[way[-1]], n), _named([*way[way.index(parent) :], parent]))
            elif parent not in seen:
                seen.add(parent)
                way.append(parent)
                branches.append(_steps(wishes, parent))


def _steps(wishes: Mapping[str, Wish], image_id: str) -> Iterator[tuple[int, str]]:
    """The references that lead to another image, each with its place."""
    for n, reference in enumerate(wishes[image_id].references):
        parent = reference.image_id
        if parent is not None and parent in wishes and parent != image_id:
            yield n, parent


def _named(circle: Sequence[str]) -> str:
    shown = [f"`{each}`" for each in circle]
    if len(shown) > _NAMES_SHOWN:
        shown = [*shown[: _NAMES_SHOWN - 1], f"… ({len(circle) - _NAMES_SHOWN} more)", shown[-1]]
    return f"The references lead in a circle: {' → '.join(shown)}."


def _pointer(wish: Wish, n: int) -> str:
    reference = wish.references[n]
    kind = "image" if reference.image_id is not None else "upload" if reference.upload_id is not None else "url"
    return f"{wish.pointer}/references/{n}/{kind}"
