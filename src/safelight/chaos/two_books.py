"""Our book of attempts and the vendor's bill, call by call: which line of theirs was which attempt of ours."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest

from safelight.chaos.evidence import Attempt, Call, Image

NOT_SENT = frozenset({"NOT_SENT", "CONNECT_FAILED"})
"""What an attempt ends with that has sent nothing."""

_OPEN = ("unknown", "sent", "submitted")
_WITH_A_PICTURE = ("received", "settled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One attempt of an image. `call` is what the vendor saw of it, if it saw anything."""

    image: Image
    attempt: Attempt
    call: Call | None

    @property
    def is_known(self) -> bool:
        """Whether we say what it cost."""
        status = self.attempt.status
        return status == "unbilled" or (status not in _OPEN and self.attempt.cost_microusd is not None)

    @property
    def billed_microusd(self) -> int:
        return self.call.cost_microusd if self.call else 0

    @property
    def most_microusd(self) -> int | None:
        """What we say that it cost, or may have cost at most; None: we name no bound."""
        return self.attempt.cost_microusd or 0 if self.is_known else self.attempt.estimate_microusd

    @property
    def has_picture(self) -> bool:
        return self.attempt.status in _WITH_A_PICTURE

    def __str__(self) -> str:
        attempt = self.attempt
        ours = f"{attempt.status} {attempt.error_code or ''} {attempt.cost_microusd}"
        theirs = f"{self.call.outcome} {self.call.cost_microusd} (call {self.call.call})" if self.call else "not seen"
        return f"{self.image.job_id} {self.image.id} #{attempt.number}: {ours}; vendor: {theirs}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoBooks:
    """`strays` are calls that no attempt accounts for; `fragments` are requests that their sender did not live to
    finish, so that the vendor never knew what was asked."""

    pairs: Sequence[Pair]
    strays: Sequence[Call]
    fragments: Sequence[Call]

    @property
    def known(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.is_known]

    @property
    def unknown(self) -> list[Pair]:
        return [pair for pair in self.pairs if not pair.is_known]

    @property
    def rebuys(self) -> int:
        """Calls beyond the first of each image in each run."""
        called = Counter((pair.image.row_id, pair.attempt.run) for pair in self.pairs if pair.call is not None)
        return sum(calls - 1 for calls in called.values())

    @property
    def known_microusd(self) -> int:
        return sum(pair.most_microusd or 0 for pair in self.known)

    @property
    def uncertain_microusd(self) -> int | None:
        """The most that calls of unknown outcome may have cost, as we say; None: there is one without a bound."""
        bounds = [pair.most_microusd for pair in self.unknown]
        return None if None in bounds else sum(bound or 0 for bound in bounds)

    def beyond_bounds(self) -> list[Pair]:
        """Attempts of unknown outcome that the vendor charged more for than we say that they may have cost."""
        return [p for p in self.unknown if p.most_microusd is not None and p.billed_microusd > p.most_microusd]

    @property
    def billed_for_unknown_microusd(self) -> int:
        return sum(pair.billed_microusd for pair in self.unknown)

    def disagreements(self) -> list[Pair]:
        """Attempts of known outcome whose cost is not what the vendor charged for exactly that call."""
        return [pair for pair in self.known if pair.most_microusd != pair.billed_microusd]

    def swapped(self) -> list[Pair]:
        """Attempts that brought another picture than the vendor says that it made for exactly that call."""
        return [
            pair
            for pair in self.pairs
            if pair.has_picture
            and pair.attempt.sha256 is not None
            and pair.call is not None
            and pair.call.outcome == "ok"
            and pair.call.pictures_sha256
            and pair.attempt.sha256 not in pair.call.pictures_sha256
        ]

    def unnoted(self) -> list[Pair]:
        """Attempts that brought their image's picture, and we or the vendor did not note which, as for others."""
        pictured = [pair for pair in self.pairs if pair.attempt.status == "settled" and pair.call is not None]
        ours = any(pair.attempt.sha256 is not None for pair in pictured)
        theirs = any(pair.call is not None and pair.call.pictures_sha256 for pair in pictured)
        return [
            pair
            for pair in pictured
            if (ours and pair.attempt.sha256 is None)
            or (theirs and pair.call is not None and pair.call.outcome == "ok" and not pair.call.pictures_sha256)
        ]

    def unmade(self) -> list[Pair]:
        """Attempts that brought their image's picture by a call that made none, or that the vendor did not have yet."""
        return [
            pair
            for pair in self.pairs
            if pair.attempt.status == "settled"
            and pair.call is not None
            and (
                (pair.call.outcome != "ok" and not pair.call.pictures_sha256)
                or (pair.attempt.ended_at is not None and pair.call.started_at > pair.attempt.ended_at)
            )
        ]

    def unseen(self) -> list[Pair]:
        """Attempts that we say were answered, and that the vendor has never seen."""
        return [pair for pair in self.known if pair.call is None and pair.attempt.error_code not in NOT_SENT]

    def runs(self) -> list[list[Pair]]:
        """What was tried for each image in each run, in order."""
        grouped: dict[tuple[int, int], list[Pair]] = defaultdict(list)
        for pair in self.pairs:
            grouped[pair.image.row_id, pair.attempt.run].append(pair)
        return list(grouped.values())

    def by_image(self) -> list[list[Pair]]:
        """What was tried for each image in all its runs, in order."""
        grouped: dict[int, list[Pair]] = defaultdict(list)
        for pair in self.pairs:
            grouped[pair.image.row_id].append(pair)
        return list(grouped.values())


def compare(images: Iterable[Image], attempts: Iterable[Attempt], calls: Iterable[Call]) -> TwoBooks:
    """Every prompt has to be one image's, and the clocks of the vendor and the database one machine's.

    An attempt's call is the one that arrived while it was the latest of its image: the next attempt begins when this
    one is answered, or can be answered no more. A call that came later still, from a process that lay still on the way,
    is taken for the earliest attempt of its image that nobody knows the outcome of.
    """
    unmatched: dict[str, list[Call]] = defaultdict(list)
    fragments = []
    for call in sorted(calls, key=lambda call: (call.started_at, call.call)):
        if call.prompt_sha256 is None:
            fragments.append(call)
        else:
            unmatched[call.prompt_sha256].append(call)
    tried: dict[int, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        tried[attempt.image_row_id].append(attempt)
    pairs: list[Pair] = []
    strays: list[Call] = []
    for image in images:
        mine = sorted(tried.pop(image.row_id, []), key=lambda attempt: attempt.number)
        theirs = [call for prompt in dict.fromkeys(image.prompts_sha256) for call in unmatched.pop(prompt, [])]
        found, left = _matched(mine, sorted(theirs, key=lambda call: call.started_at))
        pairs += (Pair(image=image, attempt=attempt, call=found.get(attempt.number)) for attempt in mine)
        strays += left
    return TwoBooks(
        pairs=pairs, strays=[*strays, *(call for left in unmatched.values() for call in left)], fragments=fragments
    )


def allowed_calls(run: Sequence[Pair]) -> int:
    """How many calls the re-send rule allows for one image in one run, after what became of them: the first, those
    after answers that cost nothing, and as many more as the caller lets be paid for."""
    image, statuses = run[0].image, Counter(_status_when_it_mattered(pair, run) for pair in run)
    unbilled = sum(pair.attempt.status == "unbilled" and pair.call is not None for pair in run)
    refused = sum(pair.attempt.status == "refused" and bool(pair.attempt.cost_microusd) for pair in run)
    in_vain = min(statuses["no_image"] + refused, image.max_attempts - 1)
    rebuys = image.max_rebuys if image.on_uncertain == "retry_once" else 0
    free_refusals = statuses["refused"] - refused if image.on_refusal != "stop" else 0
    return 1 + unbilled + free_refusals + in_vain + min(statuses["unknown"], rebuys)


def why_not(earlier: Sequence[Pair], pair: Pair) -> str | None:
    """What forbids this attempt after those before it in its run, as they stood when it began; None: nothing does."""
    image, begun = pair.image, pair.attempt.sent_at
    statuses = Counter(_status_at(begun, each.attempt) for each in earlier)
    charged = sum(_status_at(begun, each.attempt) == "refused" and bool(each.attempt.cost_microusd) for each in earlier)
    if statuses["unknown"] > (image.max_rebuys if image.on_uncertain == "retry_once" else 0):
        return f"{statuses['unknown']} of unknown outcome"
    if statuses["no_image"] + charged >= image.max_attempts:
        return f"{statuses['no_image'] + charged} billed in vain"
    if statuses["refused"] and image.on_refusal == "stop":
        return "a refusal"
    return None


def _status_at(moment: datetime, attempt: Attempt) -> str:
    """As what it counted then; what it has become since does not matter."""
    is_late = attempt.ended_at is not None and attempt.ended_at > moment
    return "unknown" if is_late or attempt.status in _OPEN else attempt.status


def _status_when_it_mattered(pair: Pair, run: Sequence[Pair]) -> str:
    """How it had ended when the next one began; its answer may have come later still."""
    ended_at, number = pair.attempt.ended_at, pair.attempt.number
    after = [other.attempt.sent_at for other in run if other.attempt.number > number]
    return "unknown" if after and ended_at is not None and ended_at > min(after) else pair.attempt.status


def _matched(attempts: Sequence[Attempt], calls: Sequence[Call]) -> tuple[dict[int, Call], list[Call]]:
    """The calls by their attempts' numbers, and those that belong to none."""
    found: dict[int, Call] = {}
    left = list(calls)
    for attempt, following in zip_longest(attempts, attempts[1:]):
        end = following.sent_at if following is not None else None
        seen = [call for call in left if attempt.sent_at <= call.started_at and (end is None or call.started_at < end)]
        if seen:
            found[attempt.number] = seen[0]
            left.remove(seen[0])
    for attempt in attempts:
        late = [call for call in left if attempt.sent_at <= call.started_at]
        if attempt.number not in found and attempt.status == "unknown" and late:
            found[attempt.number] = late[0]
            left.remove(late[0])
    return found, left
