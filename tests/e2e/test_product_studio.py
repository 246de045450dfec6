"""The studio, Safelight and the vendor, each as a process of its own: what users get, and what it costs them."""

from __future__ import annotations

import hashlib
import io
import sqlite3
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from PIL import Image

from tests.e2e.conftest import StartApp
from tests.e2e.service import Program, Service, eventually, running_service

PRICE = 3
"""Tokens for a picture."""
WELCOME = 100
ENDED = ("completed", "failed", "cancelled")


@pytest.fixture(scope="module")
def service(postgres: str, tmp_path_factory: pytest.TempPathFactory, programs: list[Program]) -> Iterator[Service]:
    """With keys, as a studio's would be, and a price."""
    folder = tmp_path_factory.mktemp("service")
    with running_service(postgres, folder, credits__default=str(PRICE)) as service:
        programs.append(service)
        key = service.http.post("/v1/keys", json={"name": "studio", "scopes": ["read", "submit", "admin"]}).json()
        service.http.headers["authorization"] = f"Bearer {key['key']}"
        yield service


@pytest.fixture(scope="module")
def app(service: Service, start_app: StartApp) -> Program:
    """It sweeps when it starts and never again: what it learns, webhooks tell it, or whoever asks."""
    key = service.http.headers["authorization"].removeprefix("Bearer ")
    return start_app("product_studio", SAFELIGHT_API_KEY=key, SWEEP_SECONDS="3600", WELCOME_TOKENS=str(WELCOME))


@pytest.fixture
def ada(app: Program) -> Iterator[User]:
    with signed_up(app, "Ada") as user:
        yield user


@pytest.fixture
def held(service: Service) -> Iterator[None]:
    """No vendor answers for as long as the test runs, unless it says `release`."""
    _control(service, "hold")
    yield
    _control(service, "release")


@pytest.fixture
def paused(service: Service) -> Iterator[None]:
    """Nothing is bought for as long as the test runs, unless it resumes."""
    service.http.post("/v1/queue/pause", json={}).raise_for_status()
    yield
    service.http.post("/v1/queue/resume").raise_for_status()


def test_pictures_of_a_product_cost_exactly_their_price(service: Service, ada: User) -> None:
    person = ada.uploaded("person", colour="tan")
    wish = ada.wish("On marble", "In snow", person=person, aspect_ratio="3:4", style="product-studio")
    quote = ada.http.post("/api/quotes", json=wish).json()
    assert (quote["tokens"], quote["balance_after"], quote["is_affordable"]) == (6, WELCOME - 6, True)

    order = ada.ended(ada.ordered(wish))
    assert (order["status"], order["is_partial"], order["progress"]) == ("completed", False, 100)
    assert order["tokens_in_words"] == "6 tokens held, 6 spent"
    assert ada.tokens() == {"available": WELCOME - 6, "held": 0, "spent": 6}
    for picture in order["pictures"]:
        seen = Image.open(io.BytesIO(ada.http.get(picture["full"]).raise_for_status().content))
        assert seen.width / seen.height == pytest.approx(3 / 4, abs=0.05)

    calls = [call for call in service.sandbox.vendor.calls if len(call.references_sha256) == 2]
    assert len(calls) == 2
    [product_kept, person_kept] = [ada.kept(wish["product"]), ada.kept(person)]
    assert calls[0].references_sha256 == calls[1].references_sha256 == (product_kept, person_kept)


def test_tokens_of_pictures_that_were_refused_or_failed_come_back_and_a_retry_holds_them_anew(ada: User) -> None:
    order = ada.ordered(
        ada.wish(
            "A first one",
            "Knives [[sandbox: refuse IMAGE_SAFETY x1]]",
            "Fire [[sandbox: refuse-prompt PROHIBITED_CONTENT x1]]",
            "Fog [[sandbox: no-image x3]]",
            "Words [[sandbox: text-only x1]]",
            *(f"A plain one, {n}" for n in range(8)),
            "A last one",
        )
    )
    order = ada.ended(order)
    assert (order["status"], order["is_partial"], order["delivered"]) == ("completed", True, 10)
    assert order["tokens_in_words"] == "42 tokens held, 30 spent, 12 returned"
    assert ada.tokens() == {"available": WELCOME - 30, "held": 0, "spent": 30}
    assert [each["status"] for each in order["pictures"]] == [
        *("completed", "refused", "refused", "failed", "refused"),
        *["completed"] * 9,
    ]
    assert all(each["why"] for each in order["pictures"] if each["status"] != "completed")

    assert order["can_retry"]
    again = ada.did("retry", order)
    assert (again.status_code, again.json()["status"]) == (202, "processing")
    order = ada.ended(order)
    assert (order["is_partial"], order["can_retry"]) == (False, False)
    assert order["tokens_in_words"] == "54 tokens held, 42 spent, 12 returned"
    assert ada.tokens()["available"] == WELCOME - 42
    assert ada.did("retry", order).status_code == 409


@pytest.mark.slow
def test_all_tokens_come_back_when_nothing_can_be_made(ada: User) -> None:
    order = ada.ended(ada.ordered(ada.wish("On marble", "In snow", model="locked-out")))
    assert (order["status"], order["delivered"]) == ("failed", 0)
    assert order["tokens_in_words"] == "6 tokens held, 6 returned"
    assert ada.tokens() == {"available": WELCOME, "held": 0, "spent": 0}
    kinds = [each["kind"] for each in ada.http.get("/api/ledger").json()["entries"]]
    assert kinds == ["release", "release", "hold", "hold", "top_up"]


def test_what_the_balance_does_not_cover_is_refused_and_nothing_is_kept(service: Service, ada: User) -> None:
    taken = {"kind": "adjustment", "credits": 5 - WELCOME, "reason": "for this test"}
    service.http.post(f"/v1/accounts/{ada.id}/credits", json=taken).raise_for_status()
    wish = ada.wish("On marble", "In snow")
    refused = ada.http.post("/api/generations", json=wish, headers={"idempotency-key": "two"})
    assert refused.status_code == 402
    assert refused.headers["content-type"] == "application/problem+json"
    assert (refused.json()["type"], refused.json()["remaining_credits"]) == ("budget-exceeded", 5)
    assert ada.http.post("/api/quotes", json=wish).json()["is_affordable"] is False
    assert ada.http.get("/api/generations").json()["generations"] == []
    assert ada.tokens() == {"available": 5, "held": 0, "spent": 0}

    for _ in range(2):
        ada.http.post("/api/tokens", json={"tokens": 50}, headers={"idempotency-key": "paid"}).raise_for_status()
    assert ada.tokens()["available"] == 5 + 50, "paid once, sent twice"
    assert ada.ended(ada.ordered(wish, key="two"))["status"] == "completed", "a key that was refused is not used up"
    assert ada.tokens() == {"available": 49, "held": 0, "spent": 6}


def test_what_a_model_cannot_do_is_told_at_the_field_of_the_form(ada: User) -> None:
    wish = ada.wish("On marble", "In snow", quality="high", aspect_ratio="7:1", style="no-such-style")
    refused = ada.http.post("/api/generations", json=wish)
    assert refused.status_code == 422
    assert {each["pointer"] for each in refused.json()["errors"]} == {"/quality", "/aspect_ratio", "/style"}

    foreign = {**ada.wish("On marble"), "product": "upl_" + "0" * 26}
    refused = ada.http.post("/api/generations", json=foreign)
    assert refused.status_code == 422
    assert [each["pointer"] for each in refused.json()["errors"]] == ["/product"]
    assert ada.http.get("/api/generations").json()["generations"] == []

    refused = ada.http.post("/api/uploads?kind=product", files={"file": ("note.txt", b"no picture")})
    assert (refused.status_code, refused.json()["type"]) == (415, "unsupported-image")


def test_the_same_order_sent_twice_is_one_order(ada: User) -> None:
    wish = ada.wish("On marble")
    with ThreadPoolExecutor(4) as pool:
        orders = list(pool.map(lambda _: ada.ordered(wish, key="once"), range(4)))
    assert len({each["id"] for each in orders}) == 1
    ada.ended(orders[0])
    assert ada.tokens() == {"available": WELCOME - PRICE, "held": 0, "spent": PRICE}

    other = ada.http.post("/api/generations", json=ada.wish("In snow"), headers={"idempotency-key": "once"})
    assert (other.status_code, other.json()["type"]) == (422, "idempotency-key-reused")


@pytest.mark.slow
def test_ten_orders_at_once_by_three_users_are_each_paid_for_by_whoever_ordered(app: Program) -> None:
    with signed_up(app, "Ada") as ada, signed_up(app, "Ben") as ben, signed_up(app, "Cyd") as cyd:
        users = [ada, ben, cyd, ada, ben, cyd, ada, ben, cyd, ada]
        with ThreadPoolExecutor(10) as pool:
            orders = list(pool.map(lambda n: users[n].ordered(users[n].wish(f"Scene {n}")), range(10)))
        assert len({each["id"] for each in orders}) == 10
        for user, order in zip(users, orders, strict=True):
            assert user.ended(order)["status"] == "completed"
        assert [user.tokens()["spent"] for user in (ada, ben, cyd)] == [4 * PRICE, 3 * PRICE, 3 * PRICE]
        assert [user.tokens()["available"] for user in (ada, ben, cyd)] == [88, 91, 91]

        for path in ("", "/pictures/scene-1/full"):
            assert ben.http.get(f"/api/generations/{orders[0]['id']}{path}").status_code == 404
        assert ben.did("cancel", orders[0]).status_code == 404


def test_an_order_that_is_canceled_costs_nothing_and_may_be_tried_again(
    service: Service, ada: User, paused: None
) -> None:
    order = ada.ordered(ada.wish("On marble", "In snow"))
    assert (order["status"], order["tokens_in_words"]) == ("pending", "6 tokens held")
    assert ada.tokens() == {"available": WELCOME - 6, "held": 6, "spent": 0}

    canceled = ada.did("cancel", order).json()
    assert (canceled["status"], canceled["can_cancel"], canceled["can_retry"]) == ("cancelled", False, True)
    assert canceled["tokens_in_words"] == "6 tokens held, 6 returned"
    assert ada.tokens() == {"available": WELCOME, "held": 0, "spent": 0}

    service.http.post("/v1/queue/resume").raise_for_status()
    assert ada.did("retry", order).status_code == 202
    assert ada.ended(order)["tokens_in_words"] == "12 tokens held, 6 spent, 6 returned"


def test_who_waits_sees_their_place_in_line_and_how_long_it_may_take(service: Service, ada: User, held: None) -> None:
    service.http.patch(f"/v1/accounts/{ada.id}", json={"max_concurrency": 1}).raise_for_status()
    order = ada.ordered(ada.wish("On marble", "In snow", "In rain"))

    def in_line() -> dict[str, Any] | None:
        now = ada.seen(order)
        has_begun = now["status"] == "processing" and now["estimated_seconds"] is not None
        return now if has_begun and now["queue_position"] is not None else None

    now = eventually(in_line, what="a place in line")
    assert now["queue_position"] == 1
    assert sorted(each["status"] for each in now["pictures"]) == ["pending", "pending", "processing"]
    assert f'id="{order["id"]}" data-status="processing" data-open' in ada.http.get("/parts/orders").text
    assert "place 1 in line" in ada.http.get("/parts/orders").text

    _control(service, "release")
    assert ada.ended(order)["status"] == "completed"
    assert ada.seen(order)["queue_position"] is None


def test_webhooks_tell_what_nobody_asks_for(app: Program, ada: User) -> None:
    order = ada.ordered(ada.wish("On marble"))
    eventually(lambda: _remembered(app, order)["is_settled"], what="news by webhook")
    assert _remembered(app, order)["status"] == "completed"

    hook = f"/hooks/safelight/{order['id']}"
    forged = {"type": "job.failed", "data": {"job_id": "job_0", "seq": 99}}
    heads = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    assert app.http.post(hook, json=forged, headers=heads).status_code == 401
    assert app.http.post("/hooks/safelight/gen_0", json=forged, headers=heads).status_code == 401
    assert _remembered(app, order)["told_seq"] < 99


@pytest.mark.slow
def test_what_happened_while_the_studio_was_down_is_learnt_and_its_messages_are_taken_later(
    app: Program, service: Service, ada: User, held: None
) -> None:
    order = ada.ordered(ada.wish("On marble"))
    eventually(lambda: ada.seen(order)["status"] == "processing", what="a call")
    job_id = _remembered(app, order)["job_id"]
    failing = f"/v1/webhooks/deliveries?account={ada.id}&job_id={job_id}&status=pending"
    app.kill()
    _control(service, "release")
    eventually(
        lambda: any(each["attempt_count"] for each in service.http.get(failing).json()["deliveries"]),
        what="a message that nobody took",
    )

    app.start()
    eventually(lambda: _remembered(app, order)["is_settled"], what="the end of the order")
    eventually(lambda: not service.http.get(failing).json()["deliveries"], what="the messages again")
    assert ada.seen(order)["tokens_in_words"] == "3 tokens held, 3 spent"


def test_orders_that_were_kept_and_not_sent_when_the_studio_died_are_paid_for_once(
    app: Program, service: Service, ada: User
) -> None:
    on_marble, in_snow = ada.wish("On marble"), ada.wish("In snow")
    with _frozen(service), ThreadPoolExecutor(1) as pool:  # its kernel takes what is sent to it, and it says nothing
        promised = ada.ordered(on_marble)
        assert (promised["status"], promised["tokens_in_words"]) == ("pending", "0 tokens held")

        asked = pool.submit(ada.http.post, "/api/generations", json=in_snow, headers={"idempotency-key": "once"})
        kept = eventually(lambda: _of_key(app, ada, "once"), what="the order in the studio's store")
        assert (kept["job_id"], kept["status"]) == (None, "pending")
        app.kill()
        assert isinstance(asked.exception(), httpx2.TransportError), "nobody was told of it"

    app.start()
    again = ada.ordered(in_snow, key="once")
    assert again["id"] == kept["id"]
    for order in (promised, again):
        assert ada.ended(order)["tokens_in_words"] == "3 tokens held, 3 spent"
        query = {"account": ada.id, "metadata.generation": order["id"]}
        assert len(service.http.get("/v1/jobs", params=query).json()["jobs"]) == 1
    assert ada.tokens() == {"available": WELCOME - 2 * PRICE, "held": 0, "spent": 2 * PRICE}


@pytest.mark.slow
def test_page_does_not_wait_long_for_a_safelight_that_says_nothing(service: Service, ada: User, paused: None) -> None:
    order = ada.ordered(ada.wish("On marble"))
    with _frozen(service):
        page = ada.http.get("/", timeout=20).text
    assert "service does not answer just now" in page
    assert "Your balance cannot be read just now" in page
    assert order["id"] in page
    assert "as last seen" in page


@pytest.mark.slow
def test_history_comes_in_pages_and_figures_are_the_users_own(ada: User) -> None:
    plain = [ada.ended(ada.ordered(ada.wish(f"Scene {n}")))["id"] for n in range(2)]
    noir = ada.ended(ada.ordered(ada.wish("At night", style="noir")))["id"]
    failed = ada.ended(ada.ordered(ada.wish("In vain", model="locked-out")))["id"]

    def listed(**query: str) -> list[str]:
        page = ada.http.get("/api/generations", params=query).raise_for_status().json()
        more = listed(**query | {"cursor": page["next_cursor"]}) if page["next_cursor"] else []
        return [each["id"] for each in page["generations"]] + more

    assert listed(limit="1") == listed() == [failed, noir, *reversed(plain)]
    assert listed(status="failed") == listed(model="locked-out") == [failed]
    assert listed(style="noir") == [noir]
    assert listed(status="completed", style="noir") == [noir]
    assert ada.http.get("/api/generations?status=lost").status_code == 422

    figures = ada.http.get("/api/statistics").json()
    assert (figures["orders"]["total"], figures["pictures"]["completed"], figures["tokens_spent"]) == (4, 3, 9)
    assert figures["success_rate"] == 0.75
    assert figures["popular_models"][0]["images"] == 3
    assert [each["name"] for each in figures["popular_styles"]] == ["noir"]


def test_the_page_is_for_whoever_has_signed_in(app: Program) -> None:
    with httpx2.Client(base_url=app.url, trust_env=False, follow_redirects=True) as browser:
        assert "Your token" in browser.get("/").text
        assert "Nobody has this token" in browser.post("/sign-in", data={"token": "studio_none"}).text
        assert "<b>Ada" not in browser.post("/sign-up", data={"name": "<b>Ada"}).text
        page = browser.get("/")
        assert "&lt;b&gt;Ada" in page.text
        assert "<strong>100</strong> tokens available" in page.text
        assert "<option>gemini/gemini-3.1-flash-lite-image</option>" in page.text
        assert "Nothing ordered yet" in page.text
        assert "default-src 'self'" in page.headers["content-security-policy"]

        stranger = {"origin": "https://elsewhere.example"}
        assert browser.post("/api/tokens", json={"tokens": 5}, headers=stranger).status_code == 403
        browser.post("/sign-out")
        assert browser.get("/api/me").status_code == 401


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who has signed up, as a program that calls the studio for them."""

    id: str
    app: Program
    http: httpx2.Client

    def uploaded(self, kind: str, *, colour: str) -> str:
        file = io.BytesIO()
        Image.new("RGB", (64, 64), colour).save(file, "PNG")
        answer = self.http.post(f"/api/uploads?kind={kind}", files={"file": (f"{kind}.png", file.getvalue())})
        return answer.raise_for_status().json()["id"]

    def wish(self, *scenes: str, **more: str) -> dict[str, Any]:
        photos = self.http.get("/api/uploads").json()["uploads"]
        known = next((each["id"] for each in photos if each["kind"] == "product"), None)
        return {"product": known or self.uploaded("product", colour="teal"), "scenes": list(scenes), **more}

    def ordered(self, wish: Mapping[str, Any], *, key: str | None = None) -> dict[str, Any]:
        headers = {"idempotency-key": key} if key is not None else {}
        answer = self.http.post("/api/generations", json=wish, headers=headers)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def seen(self, order: Mapping[str, Any]) -> dict[str, Any]:
        return self.http.get(f"/api/generations/{order['id']}").raise_for_status().json()

    def ended(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """The order as its user sees it once it has, and the studio was told so."""
        eventually(lambda: _remembered(self.app, order)["status"] in ENDED, what="its end")
        return self.seen(order)

    def did(self, what: str, order: Mapping[str, Any]) -> httpx2.Response:
        return self.http.post(f"/api/generations/{order['id']}/{what}")

    def tokens(self) -> dict[str, int]:
        return self.http.get("/api/me").raise_for_status().json()["tokens"]

    def kept(self, upload_id: str) -> str:
        """The SHA-256 of the photo as it is kept."""
        content = self.http.get(f"/api/uploads/{upload_id}/content").raise_for_status().content
        return hashlib.sha256(content).hexdigest()


@contextmanager
def signed_up(app: Program, name: str) -> Iterator[User]:
    created = app.http.post("/api/users", json={"name": name})
    assert created.status_code == 201, created.text
    headers = {"authorization": f"Bearer {created.json()['token']}"}
    with httpx2.Client(base_url=app.url, headers=headers, timeout=30, trust_env=False) as http:
        yield User(id=created.json()["id"], app=app, http=http)


def _remembered(app: Program, order: Mapping[str, Any]) -> dict[str, Any]:
    """What the studio's own store says, without asking the studio, which would ask Safelight."""
    [row] = _rows(app, "SELECT * FROM generations WHERE id = ?", order["id"])
    return row


def _of_key(app: Program, user: User, key: str) -> dict[str, Any] | None:
    rows = _rows(app, "SELECT * FROM generations WHERE user_id = ? AND request_key = ?", user.id, key)
    return rows[0] if rows else None


def _rows(app: Program, sql: str, *values: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(Path(app.environment["DATA_DIR"]) / "studio.sqlite3")) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(sql, values)]


def _control(service: Service, word: str) -> None:
    httpx2.post(f"{service.sandbox.base_url}/control/{word}", trust_env=False).raise_for_status()


@contextmanager
def _frozen(service: Service) -> Iterator[None]:
    assert service.process is not None
    processes = psutil.Process(service.process.pid).children(recursive=True)
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()
