"""What can happen to the files of a job, at every vendor that has jobs."""

from __future__ import annotations

import httpx2
import pytest
from job_shop import PICTURE_MICROUSD, Shop, decoded
from PIL import UnidentifiedImageError

pytestmark = pytest.mark.slow  # as in test_sandbox_jobs.py


@pytest.mark.parametrize(("script", "status"), [("404", 404), ("500", 500), ("503", 503), ("forbidden", 403)])
async def test_the_first_downloads_of_each_file_can_fail(shop: Shop, script: str, status: int) -> None:
    addresses = await shop.made(await shop.buy(f"a pier [[sandbox: file {script} x1]]", count=2))

    for address in addresses:
        assert (await shop.http.get(address)).status_code == status
        assert decoded((await shop.http.get(address)).content).size == (512, 512)
    assert await shop.bill() == [("ok", 2 * PICTURE_MICROUSD)]


@pytest.mark.parametrize("script", ["cut", "reset", "short-body", "cut-chunk"])
async def test_a_download_can_break_off(shop: Shop, script: str) -> None:
    [address] = await shop.made(await shop.buy(f"a pier [[sandbox: file {script}]]"))

    with pytest.raises(httpx2.TransportError):
        await shop.http.get(address)


async def test_a_download_can_be_a_page(shop: Shop) -> None:
    [address] = await shop.made(await shop.buy("a pier [[sandbox: file html]]"))

    answer = await shop.http.get(address)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert b"<html>" in answer.content


async def test_a_download_can_drip(shop: Shop) -> None:
    [address] = await shop.made(await shop.buy("a pier [[sandbox: file drip-body 0.01]]"))

    async with shop.http.stream("GET", address) as answer:
        arrived = answer.aiter_raw()
        pieces = [await anext(arrived) for _ in range(3)]
    assert int(answer.headers["content-length"]) > 10_000
    assert len(b"".join(pieces)) < 100


async def test_a_download_can_lead_into_the_vendors_own_network(shop: Shop) -> None:
    [address] = await shop.made(await shop.buy("a pier [[sandbox: file redirect]]"))

    answer = await shop.http.get(address)
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("http://169.254.169.254/")


async def test_an_address_can_be_in_the_vendors_own_network(shop: Shop) -> None:
    [address] = await shop.made(await shop.buy("a pier [[sandbox: internal-url]]"))

    assert address.startswith("http://169.254.169.254/")
    assert await shop.bill() == [("internal-url", PICTURE_MICROUSD)]


async def test_a_file_is_sent_without_a_key_and_tells_when_there_was_one(shop: Shop) -> None:
    [address] = await shop.made(await shop.buy("a pier"))
    await shop.http.get(address)
    await shop.http.get(address, headers=shop.headers)

    seen = await shop.requests()
    assert [(fetch["status"], fetch["had_key"]) for fetch in seen["fetches"]] == [(200, False), (200, True)]
    assert all(visit["had_key"] for visit in seen["visits"])
    assert "canary" not in str(seen)


async def test_a_file_is_gone_after_its_time(brief_shop: Shop) -> None:
    shop = brief_shop
    await shop.buy("a pier [[sandbox: file 503]]")
    await shop.bill("wait_charged=1")
    [name] = shop.sandbox.vendor.files._answers

    assert (await shop.http.get(f"/files/{name}")).status_code == 404


async def test_what_comes_for_a_picture_may_be_none(shop: Shop) -> None:
    [garbage] = await shop.made(await shop.buy("a pier [[sandbox: garbage]]"))
    [half] = await shop.made(await shop.buy("a pier [[sandbox: truncated]]"))

    with pytest.raises(UnidentifiedImageError):
        decoded((await shop.http.get(garbage)).content)
    with pytest.raises(OSError, match="truncated"):
        decoded((await shop.http.get(half)).content)
    assert await shop.bill() == [("garbage", PICTURE_MICROUSD), ("truncated", PICTURE_MICROUSD)]


async def test_a_padded_file_is_as_long_as_asked(shop: Shop) -> None:
    [address] = await shop.made(await shop.buy("a pier [[sandbox: padded 3]]"))

    data = (await shop.http.get(address)).content
    assert len(data) == 3_000_000
    assert decoded(data).size == (512, 512)


async def test_more_pictures_than_asked_are_charged_and_the_same_one_twice_is_not(shop: Shop) -> None:
    extra = await shop.made(await shop.buy("a pier [[sandbox: extra-picture]]"))
    twice = await shop.made(await shop.buy("a pier [[sandbox: same-twice]]"))

    assert len(set(extra)) == 2
    assert len(twice) == 2 > len(set(twice))
    assert await shop.bill() == [("extra-picture", 2 * PICTURE_MICROUSD), ("same-twice", PICTURE_MICROUSD)]


async def test_a_picture_can_come_in_its_address(shop: Shop) -> None:
    [address] = await shop.made(await shop.buy("a pier [[sandbox: data-uri]]"))

    assert address.startswith("data:image/png;base64,")
    assert (await shop.requests())["fetches"] == []
