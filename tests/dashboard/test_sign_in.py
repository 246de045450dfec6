"""Who sees the dashboard, and that nobody else's page can make them do something there."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.openapi import Application
from safelight.api.edge.session import SESSION_COOKIE, SESSION_SECONDS, Sessions
from safelight.delivery.webhooks.vault import Vault, new_key
from safelight.domain.access import KeyScope
from safelight.engine.accounts.keys import revoke_key
from safelight.settings import Settings
from safelight.wiring.api import api_of
from tests.api.conftest import listening
from tests.api.doors import as_caller, key_for
from tests.api.stored import stored_job
from tests.api.wire import exchange, request
from tests.dashboard.conftest import Browser, looking


async def signed_in(browser: Browser, key: str, **fields: Any) -> httpx2.Response:
    return await browser.send("/sign-in", on="/sign-in", key=key, **fields)


async def test_who_has_a_key_signs_in_and_comes_to_the_page_that_was_asked_for(
    deps: ApiDependencies, pool: asyncpg.Pool
):
    key, _ = await key_for(pool, "default", KeyScope.ADMIN)
    async with looking(replace(deps, may_run_open=False)) as browser:
        assert "API key" in await browser.look("/keys")
        response = await signed_in(browser, key, next="/keys")
        assert response.url.path == "/dashboard/keys"
        cookie = next(each for each in browser.client.cookies.jar if each.name == SESSION_COOKIE)
        assert key not in cookie.value  # pyright: ignore[reportOperatorIssue]
        kept = {name.lower(): value for name, value in cookie._rest.items()}  # pyright: ignore[reportAttributeAccessIssue]
        assert kept["samesite"] == "strict"
        assert "httponly" in kept


@pytest.mark.parametrize("key", ["", "sl_x", "nonsense", "é", "x" * 1000])
async def test_what_is_no_key_does_not_sign_in(deps: ApiDependencies, key: str):
    async with looking(replace(deps, may_run_open=False)) as browser:
        response = await browser.send("/sign-in", on="/sign-in", status=401, key=key)
        assert "You are not signed in" in response.text
        assert SESSION_COOKIE not in browser.client.cookies


@pytest.mark.parametrize("escape", [r"\"", r"\1", "\\"])
@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/problems/not-found", "/dashboard/", "/dashboard/sign-in"])
async def test_a_strangers_cookies_cost_no_time(deps: ApiDependencies, path: str, escape: str):
    cookies = f'a="{escape * (60_000 // len(escape))}"'
    async with looking(replace(deps, may_run_open=False)) as browser:
        began_at = time.process_time()
        answer = await exchange(browser.client, request("GET", path, [("Cookie", cookies)]))
        assert answer.status_code in (200, 303, 401)
        assert time.process_time() - began_at < 2.0


async def test_beside_others_cookies_somebody_is_signed_in(deps: ApiDependencies, pool: asyncpg.Pool):
    key, _ = await key_for(pool, "default")
    async with looking(replace(deps, may_run_open=False)) as browser:
        ours = f'{SESSION_COOKIE}="{Sessions(deps.vault).issue(key)}"'
        for cookies in (ours, f'a="\\"x\\""; {ours}', f'{ours};b=\\;c="d;e"', f"a=b; {ours}; a=\\1"):
            answer = await exchange(browser.client, request("GET", "/v1/jobs", [("Cookie", cookies)]))
            assert answer.status_code == 200, cookies


async def test_a_stranger_sends_no_large_form(deps: ApiDependencies, pool: asyncpg.Pool):
    key, _ = await key_for(pool, "default", KeyScope.ADMIN)
    async with looking(replace(deps, may_run_open=False)) as browser:
        for padding in ("x" * 20_000, "x" * 7_000_000):
            refused = await browser.send("/sign-in", on="/sign-in", status=403, key=key, next=padding)
            assert "larger than 16 kB" in refused.text
        assert SESSION_COOKIE not in browser.client.cookies
        response = await signed_in(browser, key, next=f"/new?as={'x' * 8000}")
        assert response.url.path == "/dashboard/new"
        await browser.send("/new", on="/new", text="A " * 15_000)


async def test_a_session_ends_with_its_key_with_its_time_and_at_sign_out(deps: ApiDependencies, pool: asyncpg.Pool):
    key, key_id = await key_for(pool, "default", KeyScope.ADMIN)
    async with looking(replace(deps, may_run_open=False)) as browser:
        await signed_in(browser, key)
        assert "API key" not in await browser.look("/keys")
        response = await browser.send("/sign-out", on="/keys")
        assert response.url.path == "/dashboard/sign-in"
        assert "API key" in await browser.look("/keys")
        await revoke_key(pool, key_id)
    async with looking(replace(deps, may_run_open=False)) as browser:
        browser.client.cookies.set(SESSION_COOKIE, Sessions(deps.vault).issue(key))
        assert "API key" in await browser.look("/keys")


async def test_a_form_of_somebody_whose_session_has_ended_can_be_sent_once_more(
    deps: ApiDependencies, pool: asyncpg.Pool
):
    key, _ = await key_for(pool, "default", KeyScope.ADMIN)
    async with looking(replace(deps, may_run_open=False)) as browser:
        await signed_in(browser, key)
        await browser.look("/new")
        form = {"form_token": browser.client.cookies.get("safelight_form"), "text": "A brass key", "do": "submit"}
        browser.client.cookies.delete(SESSION_COOKIE)
        answer = await browser.client.post("/dashboard/new", data=form)
        assert answer.status_code == 401
        assert "Nothing was done" in answer.text
        assert await pool.fetchval("SELECT count(*) FROM jobs") == 0
        await signed_in(browser, key)
        again = await browser.client.post("/dashboard/new", data=form)
        assert again.url.path.startswith("/dashboard/jobs/")


async def test_a_page_that_asks_for_itself_anew_leads_back_from_signing_in(deps: ApiDependencies):
    async with looking(replace(deps, may_run_open=False)) as browser:
        for page, address in (
            (f"{browser.client.base_url}/dashboard/queue", "/sign-in?next=%2Fqueue"),
            ("https://dashboard.example/dashboard/queue?a=b", "/sign-in?next=%2Fqueue%3Fa%3Db"),
            (f"{browser.client.base_url}/dashboard/", "/sign-in"),
            (f"{browser.client.base_url}/dashboard", "/sign-in"),
            ("http://[", "/sign-in"),
        ):
            headers = {"HX-Request": "true", "HX-Current-URL": page}
            answer = await browser.client.get("/dashboard/queue/live", headers=headers)
            assert (answer.status_code, answer.headers["hx-redirect"]) == (401, f"/dashboard{address}")


def test_a_session_is_good_for_its_time_under_its_own_keys_and_is_nothing_else():
    now = 1_000_000.0
    vault = Vault([new_key()])
    sessions = Sessions(vault, clock=lambda: now)
    cookie = sessions.issue("sl_key")
    assert sessions.key_in(cookie) == "sl_key"
    assert Sessions(vault, clock=lambda: now + SESSION_SECONDS).key_in(cookie) is None
    assert Sessions(Vault([new_key()]), clock=lambda: now).key_in(cookie) is None
    assert sessions.key_in(vault.seal("whsec_secret").decode()) is None
    assert sessions.key_in("") is sessions.key_in("é") is None


async def test_the_cookie_reads_the_api_and_changes_nothing_there(deps: ApiDependencies, pool: asyncpg.Pool):
    key, _ = await key_for(pool, "default", KeyScope.ADMIN)
    async with looking(replace(deps, may_run_open=False)) as browser:
        await signed_in(browser, key)
        assert (await browser.client.get("/v1/jobs")).status_code == 200
        assert (await browser.client.post("/v1/queue/pause", json={})).status_code == 401
        wrong = {"Authorization": "Bearer sl_nobody"}
        assert (await browser.client.get("/v1/jobs", headers=wrong)).status_code == 401


async def test_a_link_that_is_followed_counts_more_than_who_is_signed_in(deps: ApiDependencies, pool: asyncpg.Pool):
    owner, _ = await key_for(pool, "owner")
    guest, _ = await key_for(pool, "guest")
    async with looking(replace(deps, may_run_open=False)) as browser:
        async with as_caller(browser.client, owner) as client:
            link = (await stored_job(client, pool, deps.blobs))["images"][0]["url"]
        await signed_in(browser, guest)
        assert (await browser.client.get(link)).status_code == 200
        assert (await browser.client.get(link.partition("?")[0])).status_code == 404


async def test_who_follows_a_link_of_another_site_goes_on_from_a_page_that_touches_no_cookies(browser: Browser):
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    answer = await browser.client.get("/dashboard/history", params={"status": "live"}, headers=elsewhere)
    assert (answer.status_code, answer.headers.get("set-cookie")) == (200, None)
    address = "/dashboard/sign-in?next=%2Fhistory%3Fstatus%3Dlive"
    assert f'<meta http-equiv="refresh" content="0; url={address}">' in answer.text
    assert f'href="{address}"' in answer.text
    shown = await browser.client.get(address, headers={"Sec-Fetch-Site": "same-origin"})
    assert (shown.url.path, shown.url.params["status"]) == ("/dashboard/history", "live")
    own_port = await browser.client.get("/dashboard/history", headers={"Sec-Fetch-Site": "same-site"})
    assert "<h1>History</h1>" in own_port.text, "cookies come with it"


async def test_a_link_of_another_site_to_the_page_to_sign_in_leads_on_whoever_is_signed_in(browser: Browser):
    link, elsewhere = "/dashboard/sign-in?next=%2Fhistory", {"Sec-Fetch-Site": "cross-site"}
    answer = await browser.client.get(link, headers=elsewhere)
    assert (answer.status_code, answer.headers.get("set-cookie")) == (200, None)
    [address] = re.findall(r'href="([^"]+)">go on to it', answer.text)
    shown = await browser.client.get(address, headers={"Sec-Fetch-Site": "same-origin"})
    assert shown.url.path == "/dashboard/history"


async def test_a_form_of_another_page_leaves_those_in_other_tabs_good(deps: ApiDependencies):
    """A browser keeps our cookies back, and takes those that come."""
    async with looking(replace(deps, may_run_open=False)) as browser:
        for page, status in (("/new", 401), ("/sign-in", 403)):
            headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
            answer = await browser.client.post(f"/dashboard{page}", data={"text": "A key"}, headers=headers)
            assert (answer.status_code, answer.headers.get("set-cookie")) == (status, None)


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Origin": "https://evil.example"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, False),
        ({}, False),
    ],
)
async def test_a_form_of_another_page_is_not_taken(browser: Browser, headers: dict[str, str], token: bool):
    await browser.look("/keys")
    kept = browser.client.cookies.get("safelight_form")
    data = {"form_token": kept if token else "x" * 43, "key": "sl_x"}
    response = await browser.client.post("/dashboard/sign-in", data=data, headers=headers)
    assert response.status_code == 403
    assert "This form was not taken" in response.text


@pytest.mark.parametrize("following", ["//evil.example", "https://evil.example", "/\\evil.example", "", "x"])
async def test_nobody_is_sent_elsewhere(browser: Browser, following: str):
    response = await browser.client.get("/dashboard/sign-in", params={"next": following}, follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (303, "/dashboard/")


async def test_pages_say_what_a_browser_may_do_with_them(browser: Browser):
    response = await browser.client.get("/dashboard/keys")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["cache-control"] == "no-store"
    assert "<script>" not in response.text
    assert "style=" not in response.text
    for address in ("/", "/dashboard"):
        response = await browser.client.get(address, follow_redirects=False)
        assert response.headers["location"] == "/dashboard/"


@pytest.mark.parametrize("redirects", [True, False])
async def test_pictures_that_a_bucket_hands_out_itself_may_be_shown(
    tmp_path: Path, database: str, s3: str, redirects: bool
):
    place = {"storage_url": "s3://pictures", "storage": {"endpoint": s3, "region": "us-east-1"}}
    settings = Settings.model_validate(
        {"home": tmp_path, "database_url": database, "redirect_downloads": redirects, **place}
    )
    async with api_of(settings, database) as app:
        assert isinstance(app, Application)
        async with listening(app) as url, httpx2.AsyncClient(base_url=url, timeout=30) as client:
            policy = (await client.get("/dashboard/queue")).headers["content-security-policy"]
    pictures = next(each for each in policy.split("; ") if each.startswith("img-src "))
    assert (s3 in pictures.split()) is redirects


async def test_files_are_kept_for_ever_under_addresses_that_change_with_them(browser: Browser):
    page = await browser.look("/keys")
    start = page.index("/dashboard/static/app.css?v=")
    response = await browser.client.get(page[start : page.index('"', start)])
    assert response.status_code == 200
    assert "immutable" in response.headers["cache-control"]
    assert response.headers["content-type"].startswith("text/css")
    for name in ("../app.py", "", "folder/app.css", "a%2Fb"):
        assert (await browser.client.get(f"/dashboard/static/{name}")).status_code == 404


async def test_a_form_without_end_is_not_read_to_its_end(browser: Browser):
    await browser.look("/sign-in")
    token = browser.client.cookies.get("safelight_form")
    data = {"form_token": token, **{f"f{n}": "x" * 1_500_000 for n in range(6)}}
    response = await browser.client.post("/dashboard/sign-in", data=data)
    assert response.status_code == 403
    assert "larger than" in response.text


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nnonsense"),
        (
            "multipart/form-data; boundary=b; charset=utf-7",
            b'--b\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n+2AA-\r\n--b--\r\n',
        ),
        ("application/json", b"{}"),
        ("application/x-www-form-urlencoded", b"&".join(b"a=1" for _ in range(2000))),
        ("application/x-www-form-urlencoded", b"form_token=%ED%A0%80&=&%"),
    ],
)
async def test_a_form_that_cannot_be_read_is_told_so(browser: Browser, kind: str, body: bytes):
    await browser.look("/sign-in")
    response = await browser.client.post("/dashboard/sign-in", content=body, headers={"Content-Type": kind})
    assert response.status_code == 403, response.text
    assert "This form was not taken" in response.text


@pytest.mark.parametrize(("origin", "is_secure"), [("https", True), ("http", False)])
async def test_before_a_proxy_the_session_is_kept_for_encrypted_connections(
    deps: ApiDependencies, pool: asyncpg.Pool, origin: str, is_secure: bool
):
    key, _ = await key_for(pool, "default")
    async with looking(replace(deps, may_run_open=False)) as browser:
        await browser.look("/sign-in")
        data = {"form_token": browser.client.cookies.get("safelight_form"), "key": key}
        headers = {"Origin": f"{origin}://{browser.client.base_url.netloc.decode()}"}
        response = await browser.client.post("/dashboard/sign-in", data=data, headers=headers, follow_redirects=False)
        sent = next(each for each in response.headers.get_list("set-cookie") if each.startswith(SESSION_COOKIE))
        assert ("; Secure" in sent) is is_secure


async def test_the_dashboards_address_without_its_last_slash_leads_there_too(deps: ApiDependencies):
    async with looking(replace(deps, may_run_open=False)) as browser:
        response = await browser.client.get("/dashboard")
        assert (response.status_code, response.url.path) == (200, "/dashboard/sign-in")
