"""Which of the images that wait begin next, when several accounts want the same places.

A place at a provider goes to the account whose turn it is there. Every account has a clock of its own that goes on by
one over its weight with each image that is begun, and the one that is furthest behind is next. An account that has its
share of the places already, rounded up, lets those pass that have not; so it may fall behind, but no further than `LAG`
behind the last that was served, which is also where those begin that have not waited for a while. When the workers'
slots are fewer than what providers have room for, they are shared by the same rule, and first.

Between images of one account the more urgent goes first; between accounts urgency only decides whose turn it is when
they are level.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heapreplace
from itertools import islice

Urgency = tuple[int, datetime, str, int]
"""Priority, since when it is due, job, place in the job: what is smaller goes first."""

SLOTS = ""
"""In place of a provider's name: the slots of all workers together."""

LAG = 2.0
"""How far a clock may be behind. Chosen: accounts whose shares are no whole places have them in the long run, and who
comes back is no more than two images ahead."""

_LOOK_AHEAD = 8
"""Accounts that are looked into besides, once one had nothing after all; four times as many with each further look."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """What waits of one account for one model; nothing in it is more urgent than `urgency`. There is one of each, and
    it equals nothing but itself."""

    provider: str
    model: str
    account: str
    urgency: Urgency


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An image that can begin."""

    row_id: int
    urgency: Urgency


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What an account is owed. `headroom` is how many more of its images may be made at once; None: any number."""

    weight: int = 1
    headroom: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """For how many images there is room, at a provider or in the slots; `running` is how many of each account are there
    already, `turns` how far each account's clock is, and `turn` how far the last that was served had been."""

    free: int
    running: Mapping[str, int] = field(default_factory=dict[str, int])
    turns: Mapping[str, float] = field(default_factory=dict[str, float])
    turn: float = 0.0

    def clock(self, account: str) -> float:
        behind = self.turn - LAG
        return max(self.turns.get(account, behind), behind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    row_id: int
    line: Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """How far a clock is now: of an account, or, where `account` is empty, of the last that was served."""

    provider: str
    account: str
    at: float


_Standing = tuple[bool, float, float]
"""Whether the account has its share already, how far its clock is, and what it has there over its weight."""

_Entry = tuple[tuple[_Standing, ...], Urgency, str]
"""Whose turn it is: how the account stands, its image, its name."""

_Offer = tuple[_Entry, Line, Found]


class FairShare:
    """Shares out what there is, in rounds: `wanted` says which lines have to be looked into, `found` what was there.

    Nothing is wanted any more once it is settled who begins: `picks` then says so, in order, and `turns` how far clocks
    have gone on. `models` are those that take fewer than their provider.
    """

    def __init__(
        self,
        lines: Collection[Line],
        *,
        shares: Mapping[str, Share],
        rooms: Mapping[str, Room],
        models: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        self.lines: dict[tuple[str, str], list[Line]] = defaultdict(list)
        for line in lines:
            self.lines[line.provider, line.account].append(line)
        self.shares = {account: shares[account] for account in {line.account for line in lines}}
        self.models = models or {}
        self.desks = self._desks(rooms)
        room_at_providers = sum(desk.room.free for name, desk in self.desks.items() if name != SLOTS)
        self.has_few_slots = SLOTS in self.desks and self.desks[SLOTS].room.free < room_at_providers
        self.entries = self._entries()
        self.picks: Sequence[Pick] = ()
        self.turns: Sequence[Turn] = ()
        self._found: dict[Line, Sequence[Found]] = {}
        self._asked: dict[Line, int] = {}
        self._rounds = 0

    def wanted(self) -> Mapping[Line, int]:
        """How many images to look for in which lines, from their first on; empty when it is settled."""
        run = _Run(self)
        run.share_out()
        missing = {
            line: max(count, 2 * self._asked.get(line, 0))
            for line, count in run.looked_for.items()
            if count > len(self._found.get(line, ())) and not self._is_whole(line)
        }
        if not missing:
            self.picks, self.turns = run.picks, run.turns()
            return {}
        if self._rounds:
            besides = (line for line in run.left_in_order() if line not in self._asked and line not in missing)
            missing |= dict.fromkeys(islice(besides, _LOOK_AHEAD * 4 ** (self._rounds - 1)), 1)
        self._rounds += 1
        return missing

    def found(self, line: Line, images: Sequence[Found], *, asked: int) -> None:
        """What is in a line that was wanted, the most urgent first: as many as were `asked` for, or all there are."""
        self._found[line] = images
        self._asked[line] = asked

    def image(self, line: Line, place: int) -> Found | None:
        """The image at this place of the line; one that was not looked for yet is taken to be there, and urgent."""
        images = self._found.get(line, ())
        if place < len(images):
            return images[place]
        if self._is_whole(line):
            return None
        return Found(row_id=0, urgency=images[-1].urgency if images else line.urgency)

    def _is_whole(self, line: Line) -> bool:
        return line in self._asked and len(self._found[line]) < self._asked[line]

    def _desks(self, rooms: Mapping[str, Room]) -> Mapping[str, _Desk]:
        weights: dict[str, dict[str, int]] = defaultdict(dict)
        for provider, account in self.lines:
            weights[provider][account] = weights[SLOTS][account] = self.shares[account].weight
        return {name: _Desk(rooms[name], of_whom) for name, of_whom in weights.items()}

    def _entries(self) -> Mapping[str, Sequence[_Entry]]:
        """By provider, by whose turn it is, as far as one can tell before any line was looked into."""
        entries: dict[str, list[_Entry]] = defaultdict(list)
        for (provider, account), lines in self.lines.items():
            urgency = min(line.urgency for line in lines)
            desks = (self.desks[name] for name in ((SLOTS, provider) if self.has_few_slots else (provider,)))
            entries[provider].append((tuple(desk.standing(account, 0) for desk in desks), urgency, account))
        for each in entries.values():
            each.sort()
        return entries


class _Run:
    """One pass over all that is known: pick by pick, always the one whose turn it is."""

    def __init__(self, share: FairShare) -> None:
        self.picks: list[Pick] = []
        self.looked_for: dict[Line, int] = {}
        self._taken_from: dict[Line, int] = defaultdict(int)
        self._share = share
        self._taken: dict[str, dict[str, int]] = {name: defaultdict(int) for name in share.desks}
        self._left = {name: desk.room.free for name, desk in share.desks.items()}
        self._left_at_model = dict(share.models)
        self._served = {name: desk.room.turn for name, desk in share.desks.items()}
        # Sorted, a list is a heap.
        self._heaps = {provider: list(entries) for provider, entries in share.entries.items()}

    def share_out(self) -> None:
        while self._left.get(SLOTS, 0) > 0:
            offers = [offer for provider in self._heaps if (offer := self._offer(provider)) is not None]
            if not offers:
                return
            for _, line, _ in offers:
                self.looked_for[line] = self._taken_from[line] + 1
            self._take(offers[0] if len(offers) == 1 else min(offers, key=self._among_providers))

    def turns(self) -> Sequence[Turn]:
        """Of the slots only while they are few: else nobody waits for them."""
        turns: list[Turn] = []
        for name, accounts in self._taken.items():
            if accounts and (name != SLOTS or self._share.has_few_slots):
                desk = self._share.desks[name]
                turns += (
                    Turn(provider=name, account=each, at=desk.standing(each, n)[1]) for each, n in accounts.items()
                )
                turns.append(Turn(provider=name, account="", at=self._served[name]))
        return turns

    def left_in_order(self) -> Iterator[Line]:
        """All lines of those who may still have something, by whose turn it is."""
        left = [(entry, provider) for provider, heap in self._heaps.items() for entry in heap]
        for (_, _, account), provider in sorted(left):
            yield from self._share.lines[provider, account]

    def _offer(self, provider: str) -> _Offer | None:
        """Whose turn it is there, with which image. What the heap says of an account may be old, and then it is too
        favourable: clocks only go on, and what is left is less urgent."""
        heap = self._heaps[provider]
        while heap and self._left[provider] > 0:
            account = heap[0][2]
            best = self._best(provider, account)
            if best is None:
                heappop(heap)
                continue
            line, image = best
            entry = (self._standings(provider, account), image.urgency, account)
            if entry <= heap[0]:
                return entry, line, image
            heapreplace(heap, entry)
        return None

    def _best(self, provider: str, account: str) -> tuple[Line, Found] | None:
        """The account's most urgent image there that may begin."""
        headroom = self._share.shares[account].headroom
        if headroom is not None and self._taken[SLOTS].get(account, 0) >= headroom:
            return None
        offers = [
            (line, image)
            for line in self._share.lines[provider, account]
            if self._left_at_model.get((provider, line.model), 1) > 0
            and (image := self._share.image(line, self._taken_from[line])) is not None
        ]
        return min(offers, key=lambda each: each[1].urgency, default=None)

    def _take(self, offer: _Offer) -> None:
        (_, _, account), line, image = offer
        for name in (line.provider, SLOTS):
            self._served[name] = max(self._served[name], self._standing(name, account)[1])
            self._taken[name][account] += 1
            self._left[name] -= 1
        if (at := (line.provider, line.model)) in self._left_at_model:
            self._left_at_model[at] -= 1
        self._taken_from[line] += 1
        self.picks.append(Pick(row_id=image.row_id, line=line))

    def _among_providers(self, offer: _Offer) -> tuple[_Standing, Urgency, str]:
        (_, urgency, account), line, _ = offer
        return self._standing(SLOTS, account), urgency, line.provider

    def _standings(self, provider: str, account: str) -> tuple[_Standing, ...]:
        at_provider = self._standing(provider, account)
        return (self._standing(SLOTS, account), at_provider) if self._share.has_few_slots else (at_provider,)

    def _standing(self, name: str, account: str) -> _Standing:
        return self._share.desks[name].standing(account, self._taken[name].get(account, 0))


class _Desk:
    """Where one kind of room is shared, by those who wait for it."""

    def __init__(self, room: Room, weights: Mapping[str, int]) -> None:
        self.room = room
        self._weights = weights
        self._weight = sum(weights.values())
        self._places = room.free + sum(room.running.get(account, 0) for account in weights)

    def standing(self, account: str, taken: int) -> _Standing:
        """Once it has taken so many."""
        weight = self._weights[account]
        has = self.room.running.get(account, 0) + taken
        return has * self._weight >= weight * self._places, self.room.clock(account) + taken / weight, has / weight
