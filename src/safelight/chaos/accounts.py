"""The customer's book by itself: transfers, holds and balances."""

from __future__ import annotations

from collections import Counter, defaultdict

from safelight.chaos.evidence import Entry, Evidence

_OUTSIDE = "outside"
_WAYS = {
    "top_up": {("outside", "available")},
    "adjustment": {("outside", "available"), ("available", "outside")},
    "hold": {("available", "held")},
    "capture": {("held", "captured")},
    "release": {("held", "available")},
}
"""From which book into which each kind of entry moves money."""


def unbalanced(evidence: Evidence) -> list[str]:
    return [
        *_transfers(evidence),
        *_payments(evidence),
        *_balances(evidence),
        *_holds(evidence),
        *_owners(evidence),
        *_outcomes(evidence),
    ]


def open_holds(evidence: Evidence) -> list[str]:
    """Holds of images that have ended otherwise than with an unknown outcome, which keeps its own for a while."""
    images = {image.row_id: image for image in evidence.images}
    found = []
    for hold in evidence.holds or ():
        image = images.get(hold.image_row_id)
        status = image.status if image else "gone"
        if hold.status == "held" and not (image and status == "uncertain" and hold.run == image.run):
            found.append(f"hold {hold.id} of {hold.job_id}, run {hold.run}, is open, and its image is `{status}`")
    return found


def is_paid_into(evidence: Evidence) -> bool:
    """Whether the ledger says that money came from outside, or left for it."""
    return any(_OUTSIDE in (entry.debit, entry.credit) for entry in evidence.ledger or ())


def _payments(evidence: Evidence) -> list[str]:
    """Money that came from outside, or left for it, and that nobody paid or was paid; and payments that never came."""
    if evidence.payments is None or evidence.ledger is None:
        return []
    entered = Counter(
        (entry.account, entry.currency, entry.amount if entry.debit == _OUTSIDE else -entry.amount)
        for entry in evidence.ledger
        if _OUTSIDE in (entry.debit, entry.credit)
    )
    paid = Counter((each.account, each.currency, each.amount) for each in evidence.payments)
    found = [
        f"{amount} {currency} came to {account} and nobody paid it"
        for account, currency, amount in sorted((entered - paid).elements())
    ]
    return found + [
        f"{amount} {currency} were paid to {account} and are not in its book"
        for account, currency, amount in sorted((paid - entered).elements())
    ]


def _transfers(evidence: Evidence) -> list[str]:
    """Entries that do not move something from where to where their kind does. What does is taken out of one book and
    put into another, so that all books sum to zero."""
    return [
        f"entry {entry.id} is no `{entry.kind}`: {entry.amount} from {entry.debit} to {entry.credit}"
        for entry in evidence.ledger or ()
        if (entry.debit, entry.credit) not in _WAYS.get(entry.kind, ()) or entry.amount <= 0
    ]


def _balances(evidence: Evidence) -> list[str]:
    """Balances that are not the sum of their entries, at the end and after each of them."""
    folded: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    found = []
    for entry in sorted(evidence.ledger or (), key=lambda entry: entry.id):
        books = folded[entry.account, entry.currency]
        books[entry.debit] -= entry.amount
        books[entry.credit] += entry.amount
        if (books["available"], books["held"]) != (entry.available_after, entry.held_after):
            found.append(
                f"entry {entry.id} of {entry.account} says {entry.available_after} available, {entry.held_after} held;"
                f" its entries sum to {books['available']} and {books['held']}"
            )
    cached = {(each.account, each.currency): each for each in evidence.balances or ()}
    if evidence.balances is None or evidence.ledger is None:
        return found
    for account, currency in sorted(cached.keys() | folded.keys()):
        balance, books = cached.get((account, currency)), folded[account, currency]
        said = (balance.available, balance.held, balance.captured) if balance else (0, 0, 0)
        summed = (books["available"], books["held"], books["captured"])
        if said != summed:
            found.append(f"the balance of {account} in {currency} says {said}, and its entries sum to {summed}")
    return found


def _holds(evidence: Evidence) -> list[str]:
    """Holds that were not taken once for their amount, or not resolved exactly as they say."""
    if evidence.holds is None or evidence.ledger is None:
        return []
    entries: dict[int, list[Entry]] = defaultdict(list)
    for entry in evidence.ledger:
        if entry.hold_id is not None:
            entries[entry.hold_id].append(entry)
    found = []
    for hold in evidence.holds:
        kinds = Counter(entry.kind for entry in entries[hold.id])
        ends = {"held": (0, 0), "captured": (1, 0), "released": (0, 1)}.get(hold.status)
        if kinds["hold"] != 1 or (kinds["capture"], kinds["release"]) != ends:
            found.append(f"hold {hold.id} of {hold.job_id} is `{hold.status}`, and its entries are {dict(kinds)}")
        if any((entry.account, entry.currency) != (hold.account, hold.currency) for entry in entries[hold.id]):
            found.append(f"hold {hold.id} is of {hold.account} in {hold.currency}, and an entry of it is of another")
        if any(entry.amount != hold.amount for entry in entries[hold.id]):
            found.append(f"hold {hold.id} of {hold.job_id} is of {hold.amount}, and an entry of it is not")
    known = {hold.id for hold in evidence.holds}
    return found + [f"entries name hold {each}, which does not exist" for each in sorted(entries.keys() - known)]


def _owners(evidence: Evidence) -> list[str]:
    """Holds of another account or job than their image is of, of a run that it did not have, or a second one for it."""
    images = {image.row_id: image for image in evidence.images}
    accounts = {job.id: job.account for job in evidence.jobs}
    found = []
    for hold in evidence.holds or ():
        image = images.get(hold.image_row_id)
        if image is None or image.job_id != hold.job_id:
            found.append(f"hold {hold.id} is of {hold.job_id}, and its image is not")
        elif not 1 <= hold.run <= image.run:
            found.append(f"hold {hold.id} is of run {hold.run}, and {image.job_id} {image.id} had {image.run}")
        if accounts.get(hold.job_id, hold.account) != hold.account:
            found.append(f"hold {hold.id} is of {hold.account}, and {hold.job_id} is of {accounts[hold.job_id]}")
    taken = Counter((hold.image_row_id, hold.run) for hold in evidence.holds or ())
    return found + [f"image {row} has {times} holds in run {run}" for (row, run), times in taken.items() if times > 1]


def _outcomes(evidence: Evidence) -> list[str]:
    """Pictures that were delivered and not charged for, or charged for and not delivered. A job is paid for in all of
    its images or in none."""
    completed = {image.row_id for image in evidence.images if image.status == "completed"}
    paying = {hold.job_id for hold in evidence.holds or ()}
    owed = {image.row_id for image in evidence.images if image.job_id in paying} & completed
    charged = Counter(hold.image_row_id for hold in evidence.holds or () if hold.status == "captured")
    found = [f"image {row} was charged {times} times" for row, times in charged.items() if times > 1]
    found += [f"image {row} was charged and has no picture" for row in sorted(charged.keys() - completed)]
    return found + [f"image {row} has its picture and was not charged" for row in sorted(owed - charged.keys())]
