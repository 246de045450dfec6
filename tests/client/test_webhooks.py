"""What `verify` believes is what any library for Standard Webhooks believes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from safelight.client.webhooks import MissingHeader, NotVerified, WrongSignature, WrongTime, verify
from safelight.delivery.webhooks.signing import new_secret, signed_headers

OLD, NEW, STRANGER = new_secret(), new_secret(), new_secret()
BODY = '{"type": "job.completed", "data": {"job_id": "job_1", "title": "Zoë’s key"}}'.encode()


@dataclass(frozen=True, kw_only=True)
class Message:
    headers: Mapping[str, str]
    body: bytes = BODY

    def but(self, **headers: str | None) -> Message:
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={k: v for k, v in (dict(self.headers) | changed).items() if v is not None})


def message(*secrets: str, age_seconds: int = 0) -> Message:
    at_unix = int(time.time()) - age_seconds
    return Message(headers=signed_headers("msg_1", BODY, at_unix=at_unix, secrets=secrets))


def believed_elsewhere(sent: Message) -> bool:
    try:
        Webhook(NEW).verify(sent.body, dict(sent.headers))
    except (WebhookVerificationError, ValueError):
        return False
    return True


def signature(sent: Message) -> str:
    return sent.headers["webhook-signature"]


BELIEVED: dict[str, Callable[[], Message]] = {
    "as it was sent": lambda: message(NEW),
    "while a secret is replaced": lambda: message(NEW, OLD),
    "signed by another before": lambda: message(STRANGER, NEW),
    "four minutes old": lambda: message(NEW, age_seconds=240),
    "by a clock that is ahead": lambda: message(NEW, age_seconds=-240),
    "headers in capitals": lambda: Message(headers={k.title(): v for k, v in message(NEW).headers.items()}),
    "beside a version of later": lambda: message(NEW).but(
        webhook_signature=f"v2,abcd {signature(message(NEW))}",
    ),
}
REFUSED: dict[str, tuple[Callable[[], Message], type[NotVerified]]] = {
    "signed by another": (lambda: message(STRANGER), WrongSignature),
    "another body": (lambda: replace(message(NEW), body=BODY + b" "), WrongSignature),
    "another id": (lambda: message(NEW).but(webhook_id="msg_2"), WrongSignature),
    "another time": (lambda: message(NEW).but(webhook_timestamp=str(int(time.time()) - 9)), WrongSignature),
    "only another version": (
        lambda: message(NEW).but(webhook_signature=signature(message(NEW)).replace("v1,", "v2,")),
        WrongSignature,
    ),
    "half a signature": (lambda: message(NEW).but(webhook_signature=signature(message(NEW))[:20]), WrongSignature),
    "a signature without a version": (lambda: message(NEW).but(webhook_signature="abcd"), WrongSignature),
    "six minutes old": (lambda: message(NEW, age_seconds=360), WrongTime),
    "six minutes ahead": (lambda: message(NEW, age_seconds=-360), WrongTime),
    "no time": (lambda: message(NEW).but(webhook_timestamp="now"), MissingHeader),
    "a time beyond all": (lambda: message(NEW).but(webhook_timestamp="9" * 400), MissingHeader),
    "without an id": (lambda: message(NEW).but(webhook_id=None), MissingHeader),
    "without a time": (lambda: message(NEW).but(webhook_timestamp=None), MissingHeader),
    "without a signature": (lambda: message(NEW).but(webhook_signature=""), MissingHeader),
    "no headers": (lambda: Message(headers={}), MissingHeader),
}


@pytest.mark.parametrize("made", BELIEVED.values(), ids=BELIEVED)
def test_what_was_signed_is_believed_here_and_elsewhere(made: Callable[[], Message]) -> None:
    sent = made()
    assert verify(sent.headers, sent.body, [NEW])["data"]["title"] == "Zoë’s key"
    assert verify(sent.headers, sent.body.decode(), NEW)["type"] == "job.completed"
    assert believed_elsewhere(sent)


@pytest.mark.parametrize(("made", "why"), REFUSED.values(), ids=REFUSED)
def test_anything_else_is_refused_here_and_elsewhere(made: Callable[[], Message], why: type[NotVerified]) -> None:
    sent = made()
    with pytest.raises(NotVerified) as raised:
        verify(sent.headers, sent.body, [NEW])
    assert type(raised.value) is why
    assert not believed_elsewhere(sent)


def test_a_message_that_the_other_library_signs_is_believed() -> None:
    at_unix = int(time.time())
    signed = Webhook(NEW).sign("msg_1", datetime.fromtimestamp(at_unix, tz=UTC), BODY.decode())
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(at_unix), "webhook-signature": signed}
    assert verify(headers, BODY, NEW)["data"]["job_id"] == "job_1"


def test_each_of_several_secrets_is_good_for_a_message() -> None:
    for sender in (OLD, NEW):
        sent = message(sender)
        assert verify(sent.headers, sent.body, [NEW, OLD])
    with pytest.raises(WrongSignature):
        verify(message(STRANGER).headers, BODY, [NEW, OLD])


def test_the_tolerance_is_counted_from_the_time_that_is_given() -> None:
    headers = signed_headers("msg_1", BODY, at_unix=1000, secrets=[NEW])
    assert verify(headers, BODY, NEW, now=1010.0, tolerance_seconds=10)
    with pytest.raises(WrongTime, match="11 s behind"):
        verify(headers, BODY, NEW, now=1011.0, tolerance_seconds=10)


@pytest.mark.parametrize("body", [b"no json", b"[]", b"\xff\xfe"])
def test_a_signed_message_that_is_no_event_is_refused(body: bytes) -> None:
    headers = signed_headers("msg_1", body, at_unix=1000, secrets=[NEW])
    with pytest.raises(NotVerified, match="is signed"):
        verify(headers, body, NEW, now=1000)


@pytest.mark.parametrize("secrets", [[], "", "whsec_", ["whsec_ä"]])
def test_a_receiver_without_a_secret_is_told_so(secrets: str | list[str]) -> None:
    with pytest.raises(ValueError, match="secret"):
        verify(message(NEW).headers, BODY, secrets)
