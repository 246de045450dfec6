"""Who begins next: by weight between accounts, by urgency between images of one."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from safelight.domain.fair_share import SLOTS, FairShare, Found, Line, Room, Share, Urgency

_DAY = datetime(2026, 11, 21, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Image:
    row_id: int
    provider: str
    model: str
    account: str
    urgency: Urgency


@dataclass(kw_only=True)
class World:
    """What waits and runs, and what may. `is_due` leaves images out that are in line and cannot begin."""

    images: list[Image]
    free: dict[str, int]
    shares: dict[str, Share] = field(default_factory=dict)
    models: dict[tuple[str, str], int] = field(default_factory=dict)
    running: dict[str, Counter[str]] = field(default_factory=dict)
    turns: dict[str, dict[str, float]] = field(default_factory=dict)
    turn: dict[str, float] = field(default_factory=dict)
    not_due: set[int] = field(default_factory=set)

    def admit(self) -> list[Image]:
        """One round; what begins runs from then on."""
        picked = self.share_out()
        for each in picked:
            self.images.remove(each)
            for name in (each.provider, SLOTS):
                self.free[name] -= 1
                self.running.setdefault(name, Counter())[each.account] += 1
        return picked

    def share_out(self) -> list[Image]:
        lines = self.lines()
        share = FairShare(
            list(lines),
            shares={each: self.share(each) for each in self.accounts},
            rooms=self.rooms(),
            models=self.models,
        )
        asked: Counter[Line] = Counter()
        while wanted := share.wanted():
            for line, count in wanted.items():
                assert count > asked[line], "what is known already is not asked for again"
                asked[line] = count
                ready = [each for each in lines[line] if each.row_id not in self.not_due]
                found = [Found(row_id=each.row_id, urgency=each.urgency) for each in ready[:count]]
                share.found(line, found, asked=count)
        for turn in share.turns:
            if turn.account:
                self.turns.setdefault(turn.provider, {})[turn.account] = turn.at
            else:
                self.turn[turn.provider] = turn.at
        by_id = {each.row_id: each for each in self.images}
        return [by_id[pick.row_id] for pick in share.picks]

    @property
    def accounts(self) -> list[str]:
        return sorted({each.account for each in self.images})

    def share(self, account: str) -> Share:
        share = self.shares.get(account, Share())
        if share.headroom is None:
            return share
        return Share(weight=share.weight, headroom=share.headroom - self.running.get(SLOTS, Counter())[account])

    def rooms(self) -> Mapping[str, Room]:
        return {
            name: Room(
                free=free,
                running=dict(self.running.get(name, Counter())),
                turns=self.turns.get(name, {}),
                turn=self.turn.get(name, 0.0),
            )
            for name, free in self.free.items()
        }

    def lines(self) -> dict[Line, list[Image]]:
        grouped: dict[tuple[str, str, str], list[Image]] = {}
        for each in sorted(self.images, key=lambda each: each.urgency):
            grouped.setdefault((each.provider, each.model, each.account), []).append(each)
        return {
            Line(provider=provider, model=model, account=account, urgency=those[0].urgency): those
            for (provider, model, account), those in grouped.items()
        }


def waiting(account: str, images: int, *, provider: str = "p", model: str = "m", priority: int = 1) -> list[Image]:
    """Later ones of all that were made are less urgent."""
    return [
        Image(
            row_id=(row_id := next(_ROW_IDS)),
            provider=provider,
            model=model,
            account=account,
            urgency=(priority, _DAY + timedelta(seconds=row_id), f"job-{account}", n),
        )
        for n in range(images)
    ]


_ROW_IDS = iter(range(1, 1_000_000))


def served(world: World, *, rounds: int, chance: random.Random | None = None) -> Counter[str]:
    """Whose images began in so many rounds; between them one that runs ends, any of them."""
    chance = chance or random.Random(1)
    begun: Counter[str] = Counter()
    for _ in range(rounds):
        begun.update(each.account for each in world.admit())
        [account] = chance.sample(list(world.running["p"].elements()), 1)
        for name in ("p", SLOTS):
            world.running[name][account] -= 1
            world.free[name] += 1
    return begun


@pytest.mark.parametrize("places", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("weights", [(1, 3), (1, 1, 2), (5, 1), (3, 1, 1, 1)])
def test_accounts_that_wait_are_served_by_their_weights_however_few_places_there_are(
    places: int, weights: tuple[int, ...]
) -> None:
    world = World(
        images=[image for n in range(len(weights)) for image in waiting(f"account-{n}", 500)],
        free={"p": places, SLOTS: 100},
        shares={f"account-{n}": Share(weight=weight) for n, weight in enumerate(weights)},
    )
    begun = served(world, rounds=300)
    for n, weight in enumerate(weights):
        owed = begun.total() * weight / sum(weights)
        assert abs(begun[f"account-{n}"] - owed) <= 0.1 * owed + places, begun


def test_one_with_slow_images_has_no_more_places_than_its_share_while_another_waits() -> None:
    world = World(images=[*waiting("slow", 500), *waiting("quick", 500)], free={"p": 10, SLOTS: 100})
    for _ in range(100):
        world.admit()
        assert world.running["p"] == {"slow": 5, "quick": 5}
        for name in ("p", SLOTS):  # only those of one ever end
            world.running[name]["quick"] -= 1
            world.free[name] += 1


@pytest.mark.parametrize("weight", [1, 100])
def test_a_single_image_is_next_behind_a_flood_whatever_has_been_served_before(weight: int) -> None:
    world = World(
        images=waiting("flood", 1000, priority=0),
        free={"p": 4, SLOTS: 100},
        shares={"flood": Share(weight=weight)},
    )
    served(world, rounds=200)
    world.images += waiting("single", 1, priority=2)
    [next_one] = world.admit()
    assert next_one.account == "single"


def test_who_comes_back_is_not_owed_what_others_had_meanwhile_and_owes_nothing_either() -> None:
    world = World(images=[*waiting("stays", 1000), *waiting("leaves", 5)], free={"p": 1, SLOTS: 100})
    served(world, rounds=200)
    world.images += waiting("leaves", 100)
    assert abs(served(world, rounds=20)["leaves"] - 10) <= 1


def test_urgency_orders_the_images_of_one_account_and_breaks_ties_between_accounts() -> None:
    low, high = waiting("first", 2, priority=2), waiting("first", 2, priority=0)
    other = waiting("second", 2, priority=1)
    world = World(images=[*low, *high, *other], free={"p": 6, SLOTS: 100})
    assert world.admit() == [high[0], other[0], high[1], other[1], *low]


def test_slots_that_are_fewer_than_what_providers_take_are_shared_over_all_providers() -> None:
    world = World(
        images=[*waiting("flood", 100), *waiting("flood", 100, provider="q"), *waiting("few", 3, provider="q")],
        free={"p": 50, "q": 50, SLOTS: 6},
    )
    assert Counter(each.account for each in world.admit()) == {"flood": 3, "few": 3}


def test_a_cap_holds_over_all_providers_and_leaves_its_places_to_others() -> None:
    world = World(
        images=[*waiting("capped", 9), *waiting("capped", 9, provider="q"), *waiting("other", 9)],
        free={"p": 4, "q": 4, SLOTS: 100},
        shares={"capped": Share(weight=50, headroom=3)},
    )
    assert Counter(each.account for each in world.admit()) == {"capped": 3, "other": 4 - world.running["p"]["capped"]}


def test_a_model_that_takes_one_image_gives_it_to_whose_turn_it_is() -> None:
    world = World(
        images=[*waiting("first", 3, model="ill"), *waiting("second", 3, model="ill"), *waiting("first", 3)],
        free={"p": 4, SLOTS: 100},
        models={("p", "ill"): 1},
    )
    picked = world.admit()
    assert [(each.account, each.model) for each in picked].count(("second", "ill")) == 0
    assert Counter(each.model for each in picked) == {"ill": 1, "m": 3}


def reference(world: World) -> list[Image]:
    """The same by trying every image for every place."""
    left = [each for each in world.images if each.row_id not in world.not_due]
    free, models = dict(world.free), dict(world.models)
    shares = {account: world.share(account) for account in world.accounts}
    taken: dict[str, Counter[str]] = {name: Counter() for name in free}
    picked: list[Image] = []

    def standing(name: str, account: str) -> tuple[bool, float, float]:
        room = world.rooms()[name]
        weight = shares[account].weight
        crowd = {each.account for each in world.images if name in (SLOTS, each.provider)}
        places = room.free + sum(room.running.get(each, 0) for each in crowd)
        owed = math.ceil(places * weight / sum(shares[each].weight for each in crowd) - 1e-9)
        has = room.running.get(account, 0) + taken[name][account]
        return has >= owed, room.clock(account) + taken[name][account] / weight, has / weight

    few_slots = free[SLOTS] < sum(free[name] for name in {each.provider for each in world.images})

    def standings(image: Image) -> tuple[tuple[bool, float, float], ...]:
        names = (SLOTS, image.provider) if few_slots else (image.provider,)
        return tuple(standing(name, image.account) for name in names)

    while free[SLOTS] > 0:
        may = [
            each
            for each in left
            if free[each.provider] > 0
            and models.get((each.provider, each.model), 1) > 0
            and ((headroom := shares[each.account].headroom) is None or taken[SLOTS][each.account] < headroom)
        ]
        if not may:
            break
        at_providers = [
            min(
                (each for each in may if each.provider == provider),
                key=lambda each: (standings(each), each.urgency, each.account),
            )
            for provider in {each.provider for each in may}
        ]
        best = min(at_providers, key=lambda each: (standing(SLOTS, each.account), each.urgency, each.provider))
        left.remove(best)
        picked.append(best)
        for name in (best.provider, SLOTS):
            free[name] -= 1
            taken[name][best.account] += 1
        if (best.provider, best.model) in models:
            models[best.provider, best.model] -= 1
    return picked


def arbitrary(chance: random.Random) -> World:
    accounts = [f"a{n}" for n in range(chance.randint(1, 6))]
    images: list[Image] = []
    for account in accounts:
        for _ in range(chance.randint(0, 3)):
            images += waiting(
                account,
                chance.randint(1, 8),
                provider=chance.choice(["p", "q"]),
                model=chance.choice(["m", "n"]),
                priority=chance.randint(0, 3),
            )
    return World(
        images=images,
        free={"p": chance.randint(0, 6), "q": chance.randint(1, 6), SLOTS: chance.randint(1, 8)},
        shares={
            account: Share(weight=chance.randint(1, 4), headroom=chance.choice([None, None, 2, 5]))
            for account in accounts
        },
        models={("p", "n"): 1} if chance.random() < 0.2 else {},
        not_due={each.row_id for each in images if chance.random() < 0.3},
    )


def follows_the_reference(seed: int) -> None:
    chance = random.Random(seed)
    world = arbitrary(chance)
    for _ in range(6):
        expected = reference(world)
        assert world.admit() == expected, seed
        for name in ("p", "q"):
            for account in [each for each in world.running.get(name, Counter()).elements() if chance.random() < 0.5]:
                for there in (name, SLOTS):
                    world.running[there][account] -= 1
                    world.free[there] += 1
        world.not_due = {each for each in world.not_due if chance.random() < 0.7}
        if chance.random() < 0.5:
            world.images += waiting(chance.choice("xyz"), chance.randint(1, 5), priority=chance.randint(0, 3))


def test_what_begins_is_what_trying_every_image_for_every_place_finds() -> None:
    for seed in range(60):
        follows_the_reference(seed)


@pytest.mark.slow
def test_what_begins_is_what_trying_finds_in_thousands_of_cases() -> None:
    for seed in range(1000, 4000):
        follows_the_reference(seed)


def test_lines_in_which_nothing_can_begin_are_found_in_a_few_rounds() -> None:
    images: Sequence[Image] = [image for n in range(200) for image in waiting(f"a{n:03}", 2)]
    world = World(images=list(images), free={"p": 1, SLOTS: 100}, not_due={each.row_id for each in images[:-2]})
    lines = world.lines()
    share = FairShare(list(lines), shares={each: Share() for each in world.accounts}, rooms=world.rooms())
    rounds = 0
    while wanted := share.wanted():
        rounds += 1
        for line, count in wanted.items():
            ready = [each for each in lines[line] if each.row_id not in world.not_due]
            found = [Found(row_id=each.row_id, urgency=each.urgency) for each in ready[:count]]
            share.found(line, found, asked=count)
    assert [pick.row_id for pick in share.picks] == [images[-2].row_id]
    assert rounds <= 6
