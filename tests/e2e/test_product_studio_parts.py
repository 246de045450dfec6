"""What the studio decides by itself, without a service behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from examples.product_studio.problems import is_refusal, passed_on
from examples.product_studio.standings import in_words, shown, tokens_of
from examples.product_studio.store import Generation, Store, User, new_generation
from examples.product_studio.wishes import Wish, job_of
from safelight.client import ApiProblem, Forbidden, Unauthenticated

USER = User(id="studio-1", name="Ada", webhook_secret="whsec_AAAA")
PRODUCT, PERSON = "upl_" + "1" * 26, "upl_" + "2" * 26


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "data")) as store:
        yield store


def test_a_wish_becomes_a_picture_of_the_product_for_each_scene() -> None:
    wish = Wish(product=PRODUCT, person=PERSON, scenes=["  on marble ", "in snow"], model="replicate/some/model")
    body = job_of(wish, account="studio-1", generation_id="gen_1", hook_url="http://studio/hooks")
    assert [each["id"] for each in body["images"]] == ["scene-1", "scene-2"]
    assert body["images"][0]["prompt"].endswith("The scene: on marble")
    assert [each["upload"] for each in body["images"][1]["references"]] == [PRODUCT, PERSON]
    assert body["defaults"] == {"provider": "replicate", "model": "some/model"}
    assert body["account"] == "studio-1"


def test_tokens_are_what_the_ledger_says() -> None:
    moves = [("hold", 3), ("hold", 3), ("hold", 3), ("hold", 3), ("capture", 3), ("capture", 3), ("release", 3)]
    tokens = tokens_of({"kind": kind, "credits": amount} for kind, amount in moves)
    assert (tokens.held, tokens.spent, tokens.returned, tokens.are_settled) == (12, 6, 3, False)
    assert in_words({"held": 12, "spent": 9, "returned": 3}) == "12 tokens held, 9 spent, 3 returned"
    assert in_words({"held": 1, "spent": 0, "returned": 0}) == "1 token held"


def test_faults_are_told_once_and_at_the_fields_of_the_form() -> None:
    at = [
        ("/images/0/references/0/upload", "/product"),
        ("/images/1/references/0/upload", "/product"),
        ("/images/0/references/1", "/person"),
        ("/images/4/prompt", "/scenes/4"),
        ("/defaults/quality", "/quality"),
        ("/defaults/model", "/model"),
        ("/style", "/style"),
        ("/webhook/url", ""),
    ]
    problem = passed_on(_problem(422, errors=[{"pointer": pointer, "detail": "No."} for pointer, _ in at]))
    assert problem.status == 422
    told = [each["pointer"] for each in problem.body["errors"]]
    assert told == list(dict.fromkeys(field for _, field in at))


def test_what_the_user_cannot_help_is_not_told_as_their_fault() -> None:
    for error in (_problem(401, kind=Unauthenticated), _problem(403, kind=Forbidden), _problem(500), _problem(503)):
        assert not is_refusal(error)
        assert passed_on(error).status == 503
    short = _problem(402, remaining_credits=5, request_id="req_1", instance="/v1/jobs")
    assert is_refusal(short)
    assert passed_on(short).body["remaining_credits"] == 5
    assert not {"request_id", "instance"} & passed_on(short).body.keys()


async def test_an_older_look_does_not_undo_a_newer_one(store: Store) -> None:
    order = await _kept(store)
    await store.sent(order.id, "job_1")
    newer: dict[str, Any] = {"status": "completed", "seq": 9, "standing": {"progress": 100}, "is_settled": True}
    await store.looked(order.id, **newer)
    await store.looked(order.id, status="processing", seq=4, standing={"progress": 40}, is_settled=False)
    seen = await _seen(store, order)
    assert (seen.status, seen.seq, seen.standing, seen.is_stale) == ("completed", 9, {"progress": 100}, False)
    await store.told(order.id, 10)
    await store.told(order.id, 3)
    assert (await _seen(store, order)).is_stale
    assert [each.id for each in await store.unfinished(only_told=True)] == [order.id]


async def test_what_safelight_has_is_neither_forgotten_nor_refused(store: Store) -> None:
    order = await _kept(store)
    await store.sent(order.id, "job_1")
    await store.forget(order.id)
    await store.refused(order.id, {"detail": "No."})
    await store.sent(order.id, "job_2")
    seen = await _seen(store, order)
    assert (seen.status, seen.job_id, seen.problem) == ("pending", "job_1", None)


async def test_an_order_that_safelight_did_not_take_says_why_and_can_be_sent_again(store: Store) -> None:
    order = await _kept(store)
    await store.refused(order.id, {"detail": "Too few tokens."})
    told = shown(await _seen(store, order), is_fresh=True)
    assert (told["status"], told["current_step"], told["can_retry"]) == ("failed", "Too few tokens.", True)
    assert await store.unfinished(only_told=False) == []
    await store.reopen(order.id)
    assert [each.status for each in await store.unfinished(only_told=False)] == ["pending"]


async def _kept(store: Store) -> Generation:
    await store.add_user(USER, token_sha256="0" * 64)
    wish = Wish(product=PRODUCT, scenes=["on marble"]).model_dump()
    order = new_generation(USER.id, "once", wish, body_of=lambda its_id: {"metadata": {"generation": its_id}})
    await store.add_generation(order)
    return order


async def _seen(store: Store, order: Generation) -> Generation:
    found = await store.generation(order.id)
    assert found is not None
    return found


def _problem(status: int, *, kind: type[ApiProblem] = ApiProblem, **members: Any) -> ApiProblem:
    document = {"type": "/problems/some-kind", "detail": "No.", **members}
    return kind(status=status, slug="some-kind", detail="No.", document=document)
