"""Who was told what, in which order: each job's log by itself, and webhooks as their receiver had them."""

from __future__ import annotations

from collections import Counter, defaultdict

from safelight.chaos.evidence import Event, Evidence, Reception
from safelight.domain.events import JOB_ENDS, EventType, image_ended
from safelight.domain.lifecycle import TERMINAL_IMAGE_STATUSES, TERMINAL_JOB_STATUSES

_ENDS = frozenset(each.value for each in JOB_ENDS)
_IMAGE_ENDS = frozenset(image_ended(status).value for status in TERMINAL_IMAGE_STATUSES)
_TERMINAL_IMAGES = frozenset(status.value for status in TERMINAL_IMAGE_STATUSES)
_TERMINAL_JOBS = frozenset(status.value for status in TERMINAL_JOB_STATUSES)


def disordered_log(evidence: Evidence) -> list[str]:
    """Logs with a gap or a duplicate, runs that did not end once, images that ended more often than they ran, or were
    opened again by a late picture."""
    by_job: dict[str, list[Event]] = defaultdict(list)
    for event in evidence.events:
        by_job[event.job_id].append(event)
    runs = {(image.job_id, image.id): image for image in evidence.images}
    found = []
    for job in evidence.jobs:
        log = sorted(by_job.pop(job.id, []), key=lambda event: event.seq)
        if [event.seq for event in log] != list(range(1, job.seq + 1)):
            found.append(f"the log of {job.id} is not 1..{job.seq} but {_ranges([event.seq for event in log])}")
        ends = sum(event.type in _ENDS for event in log)
        wanted = job.run if job.status in _TERMINAL_JOBS else job.run - 1
        if ends != wanted:
            found.append(f"{job.id} is `{job.status}` in run {job.run} and has {ends} terminal events")
        ended = Counter((event.image_id, event.type) for event in log if event.type in _IMAGE_ENDS)
        total = Counter(event.image_id for event in log if event.type in _IMAGE_ENDS)
        opened = Counter(event.image_id for event in log if event.is_late)
        for image_id, times in total.items():
            image = runs.get((job.id, image_id or ""))
            if image is not None and times > image.run + opened[image_id]:
                found.append(f"{job.id} {image_id} ended {times} times in {image.run} runs")
        found += [
            f"{job.id} {image_id} was completed {times} times"
            for (image_id, kind), times in ended.items()
            if kind == EventType.IMAGE_COMPLETED and times > 1
        ]
    return found + [f"there is a log of {job_id}, which does not exist" for job_id in sorted(by_job)]


def untold_ends(evidence: Evidence) -> list[str]:
    """Ends that the log tells otherwise, or not at all: whoever only listens believes something else."""
    last: dict[tuple[str, str | None], str] = {}
    for event in sorted(evidence.events, key=lambda event: event.seq):
        if event.type in _ENDS or event.type in _IMAGE_ENDS:
            last[event.job_id, event.image_id] = event.type
    ends = [(job.id, None, "job", job.status) for job in evidence.jobs if job.status in _TERMINAL_JOBS]
    ends += [
        (each.job_id, each.id, "image", each.status) for each in evidence.images if each.status in _TERMINAL_IMAGES
    ]
    return [
        f"{' '.join(filter(None, (job_id, image_id)))} is `{status}`, and was last told as {told}"
        for job_id, image_id, kind, status in ends
        if (told := last.get((job_id, image_id), "nothing")) != f"{kind}.{status}"
    ]


def disordered_messages(evidence: Evidence) -> list[str]:
    """One event under several ids, one id for several events, and events that came before an earlier one was taken."""
    ids: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    about: dict[str, set[tuple[str | None, int | None, str]]] = defaultdict(set)
    for each in _verified(evidence):
        about[each.message_id].add((each.job_id, each.seq, each.type))
        if each.job_id is not None and each.seq is not None:
            ids[each.endpoint, each.job_id, each.seq].add(each.message_id)
    found = [f"{job} event {seq} came under {len(under)} ids" for (_, job, seq), under in ids.items() if len(under) > 1]
    found += [f"{message} stood for {len(events)} events" for message, events in about.items() if len(events) > 1]
    return found + _overtaken(evidence)


def never_received(evidence: Evidence) -> list[str]:
    """Messages that our books call delivered and nobody took; events that their job's address has never heard of; and
    events that were told and are in no log, or there of another type or image."""
    if evidence.receptions is None:
        return []
    taken = {each.message_id for each in evidence.receptions if _is_taken(each)}
    logged = {(event.job_id, event.seq): event for event in evidence.events}
    found = [
        f"{each.message_id} ({each.type} of {each.job_id}) is `delivered`, and nobody took it"
        for each in evidence.messages or ()
        if each.status == "delivered" and each.message_id not in taken
    ]
    heard_of = {(each.job_id or "", each.seq, each.type, each.image_id) for each in evidence.receptions if each.seq}
    for job_id, seq, kind, image_id in sorted(heard_of, key=str):
        event = logged.get((job_id, seq))
        if event is None or event.type != kind:
            found.append(f"{job_id} event {seq} was told as {kind}, and the log does not have it")
        elif image_id is not None and image_id != event.image_id:
            found.append(f"{job_id} event {seq} was told of image {image_id}, and is of {event.image_id}")
    told = {each.job_id for each in evidence.submissions or () if each.is_accepted and each.is_told}
    heard = {(each.job_id, each.seq) for each in evidence.receptions if _is_taken(each)}
    # What is on its way, or was given up, is said elsewhere.
    other = {(each.job_id, each.seq) for each in evidence.messages or () if each.status in ("pending", "dead")}
    return found + [
        f"{event.job_id} event {event.seq} ({event.type}) was never told"
        for event in evidence.events
        if event.job_id in told and (event.job_id, event.seq) not in heard | other
    ]


def unwritten(evidence: Evidence) -> list[str]:
    """Messages that came and are in no book of ours, or there about something else."""
    if evidence.messages is None:
        return []
    written = {each.message_id: (each.job_id, each.seq, each.type) for each in evidence.messages}
    came = {each.message_id: (each.job_id, each.seq, each.type) for each in _verified(evidence)}
    return [
        f"{message} ({about[2]} of {about[0]}) came, and our book "
        + (
            "does not have it"
            if message not in written
            else f"has it as {written[message][2]} of {written[message][0]}"
        )
        for message, about in came.items()
        if written.get(message) != about
    ]


def not_verified(evidence: Evidence) -> list[str]:
    """Messages that came without the signature of whoever knows the secret."""
    return [
        f"{each.message_id} came to {each.endpoint} without a good signature"
        for each in evidence.receptions or ()
        if not each.is_verified
    ]


def undelivered(evidence: Evidence) -> list[str]:
    return [
        f"{each.message_id} ({each.type} of {each.job_id}) is still on its way after {each.attempt_count} attempts"
        for each in evidence.messages or ()
        if each.status not in ("delivered", "dead")
    ]


def repeats(evidence: Evidence) -> int:
    """How often a message came again under its own id."""
    receptions = _verified(evidence)
    return len(receptions) - len({each.message_id for each in receptions})


def _overtaken(evidence: Evidence) -> list[str]:
    """Of a job, an endpoint hears of an event only when it has taken, or was spared, every earlier one."""
    given_up = {each.message_id for each in evidence.messages or () if each.status == "dead"}
    wanted: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for each in evidence.receptions or ():
        if each.job_id is not None and each.seq is not None:
            wanted[each.endpoint, each.job_id][each.seq] = each.message_id
    taken: dict[tuple[str, str], set[int]] = defaultdict(set)
    seen: set[str] = set()
    found = []
    for each in evidence.receptions or ():
        if each.job_id is None or each.seq is None:
            continue
        lane = (each.endpoint, each.job_id)
        if each.message_id not in seen:
            before = [seq for seq, message in wanted[lane].items() if seq < each.seq and message not in given_up]
            missing = sorted(set(before) - taken[lane])
            if missing:
                found.append(f"{each.job_id} event {each.seq} came before event {missing[0]} was taken")
        seen.add(each.message_id)
        if _is_taken(each):
            taken[lane].add(each.seq)
    return found


def _verified(evidence: Evidence) -> list[Reception]:
    return [each for each in evidence.receptions or () if each.is_verified]


def _is_taken(each: Reception) -> bool:
    return each.answered is not None and 200 <= each.answered < 300


def _ranges(numbers: list[int]) -> str:
    """`1..3, 5`; a number that stands twice is named twice."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in parts) or "empty"
