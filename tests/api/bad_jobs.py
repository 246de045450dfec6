"""A job that cannot be made as it is ordered: what it says, the problem, and where."""

from __future__ import annotations

from typing import Any

from tests.api.bad_request import BAD_TEXT, CARD, FORMAT, INVALID, MODEL, OPTION, SIZE, UNKNOWN_FIELD
from tests.api.conftest import image

BAD_JOBS: dict[str, tuple[Any, ...]] = {
    **{f"an account called {bad!r}": ({"account": bad}, INVALID, "/account") for bad in ("", "a b", "-a", "a" * 65, 1)},
    **{f"a priority of {bad!r}": ({"priority": bad}, INVALID, "/priority") for bad in ("urgent", "", 1, None)},
    **{
        f"a beginning at {bad!r}": ({"not_before": bad}, INVALID, "/not_before")
        for bad in (
            "2026-11-20T10:00:00",
            "2026-11-20",
            "tomorrow",
            "2999-01-01T00:00:00Z",
            "0001-01-01T00:00:00+23:59",
            "1700000000",
            1_700_000_000,
            True,
        )
    },
    "a circle of references": (
        {
            "images": [
                image("a", references=[{"image": "c"}]),
                image("b", references=[{"image": "a"}]),
                image("c", references=[{"image": "b"}]),
            ]
        },
        INVALID,
        "/images/1/references/0/image",
    ),
    "a reference to an image of several": (
        {"images": [image("cover", count=3), image("back", references=[{"image": "cover"}])]},
        INVALID,
        "/images/1/references/0/image",
    ),
    "a reference to an image that has a fault of its own": (
        {"images": [image("cover", prompt=""), image("back", references=[{"image": "cover"}])]},
        INVALID,
        "/images/0/prompt",
    ),
    "an unknown default": ({"defaults": {"qualty": "high"}}, UNKNOWN_FIELD, "/defaults/qualty"),
    "no images": ({"images": []}, INVALID, ""),
    "images that are null": ({"images": None}, INVALID, "/images"),
    "images that are an object": ({"images": {}}, INVALID, "/images"),
    "an image that is a text": ({"images": ["x"]}, INVALID, "/images/0"),
    "an image without a prompt": ({"images": [{"id": "a"}]}, INVALID, "/images/0/prompt"),
    "two images of one id": ({"images": [image("a"), image("a")]}, INVALID, "/images/1/id"),
    "an id that another's count makes": ({"images": [image("a-1"), image("a", count=3)]}, INVALID, "/images/1/id"),
    "501 images": ({"images": [image(f"i{n}") for n in range(501)]}, INVALID, "/images"),
    "510 images by their count": ({"images": [image(f"i{n}", count=10) for n in range(51)]}, INVALID, "/images"),
    "an unknown style": ({"style": "nior"}, INVALID, "/style"),
    "a style that is a list": ({"style": ["noir"]}, INVALID, "/style"),
    "a style among the defaults": ({"defaults": {"style": "noir"}}, UNKNOWN_FIELD, "/defaults/style"),
    "an unknown recipe": ({"recipe": "no-such-recipe"}, INVALID, "/recipe"),
    "subjects without a recipe": ({"subjects": {"evidence": []}}, INVALID, "/subjects"),
    "a subject that is a number": (
        {"recipe": "mystery-case", "subjects": {"evidence": [7]}},
        INVALID,
        "/subjects/evidence/0",
    ),
    "a subject without what its prompt needs": (
        {"recipe": "mystery-case", "subjects": {"evidence": [{"id": "e", "name": "A key"}]}},
        INVALID,
        "/subjects/evidence/0/description",
    ),
    "a retired model": ({"defaults": {"model": "picky-0", "provider": "picky"}}, MODEL, "/defaults/model"),
    "a provider without a model": ({"defaults": {"provider": "picky"}}, MODEL, "/defaults/model"),
    "a default aspect ratio that nobody makes": (
        {"defaults": {"aspect_ratio": "17:1"}},
        SIZE,
        "/defaults/aspect_ratio",
    ),
    "a default option that the model lacks": (
        {"defaults": {"negative_prompt": "blur"}},
        OPTION,
        "/defaults/negative_prompt",
    ),
    **{
        f"a {side} of {bad}": ({"outputs": [{**CARD, side: bad}]}, SIZE, f"/outputs/0/{side}")
        for side in ("width", "height")
        for bad in (0, -1, 99_999)
    },
    "a width that is a text": ({"outputs": [{**CARD, "width": "64"}]}, INVALID, "/outputs/0/width"),
    "too many pixels": ({"outputs": [{**CARD, "width": 8000, "height": 8000}]}, SIZE, "/outputs"),
    "an unknown fit": ({"outputs": [{**CARD, "fit": "stretch"}]}, SIZE, "/outputs/0/fit"),
    **{
        f"the format {bad}": ({"outputs": [{**CARD, "format": bad}]}, FORMAT, "/outputs/0/format")
        for bad in ("svg", "gif", "exe")
    },
    "a quality of 101": ({"outputs": [{**CARD, "quality": 101}]}, INVALID, "/outputs/0/quality"),
    "two outputs of one name": ({"outputs": [CARD, CARD]}, INVALID, "/outputs/1/name"),
    "an output without a height": ({"outputs": [{"name": "card", "width": 64}]}, INVALID, "/outputs/0/height"),
    "a quality of PNG": ({"outputs": [{**CARD, "format": "png", "quality": 80}]}, INVALID, "/outputs/0/quality"),
    "too many pixels of AVIF": (
        {"outputs": [{**CARD, "format": "avif", "width": 4000, "height": 4000}]},
        SIZE,
        "/outputs",
    ),
    **{
        f"an original with a {field}": (
            {"outputs": [{"name": "original", "format": "original", field: value}]},
            INVALID,
            f"/outputs/0/{field}",
        )
        for field, value in (("width", 64), ("height", 64), ("fit", "cover"), ("quality", 80))
    },
    "nine outputs": ({"outputs": [{**CARD, "name": f"o{n}"} for n in range(9)]}, INVALID, "/outputs"),
    **{
        f"the storage prefix {str(bad)[:9]!r}": ({"storage_prefix": bad}, INVALID, "/storage_prefix")
        for bad in ("", "/a", "a/", "a//b", "../a", "a/../b", "a b", "é", "x" * 601, 7)
    },
    **{
        f"the storage prefix {ours}, which is ours": ({"storage_prefix": ours}, INVALID, "/storage_prefix")
        for ours in (".safelight-parts/x", "_staging/x", "_uploads")
    },
    **{
        f"a deadline of {bad!r}": ({"deadline_seconds": bad}, INVALID, "/deadline_seconds")
        for bad in (0, -1, 86_401, "60", None, True)
    },
    **{
        f"a cost of at most {bad!r}": ({"max_cost_usd": bad}, INVALID, "/max_cost_usd")
        for bad in (0.6, -1, "-1", "", "1e3", "NaN", ".5", "0.1234567", "1,50", "$1", True)
    },
    "a webhook that is a text": ({"webhook": "https://hooks.example/"}, INVALID, "/webhook"),
    "a webhook whose address has a line end of Windows": (
        {"webhook": {"url": "https://hooks.example/\r\nHost: 127.0.0.1"}},
        BAD_TEXT,
        "/webhook/url",
    ),
    "a webhook without an address": ({"webhook": {}}, INVALID, "/webhook/url"),
    "a webhook whose address is a number": ({"webhook": {"url": 7}}, INVALID, "/webhook/url"),
    "a webhook with a field of the account's": (
        {"webhook": {"url": "https://hooks.example/", "description": "mine"}},
        UNKNOWN_FIELD,
        "/webhook/description",
    ),
    **{
        f"a job's webhook for {str(bad)!r}": (
            {"webhook": {"url": "https://hooks.example/", "events": bad}},
            INVALID,
            f"/webhook/events{at}",
        )
        for bad, at in (([], ""), ("job.completed", ""), (["job.done"], "/0"), (["provider.paused"], "/0"), ([7], "/0"))
    },
    "an unknown rule for the deadline": ({"on_deadline": "panic"}, INVALID, "/on_deadline"),
    "a visibility that does not exist": ({"visibility": "public"}, INVALID, "/visibility"),
    "17 metadata entries": ({"metadata": {f"k{n}": "v" for n in range(17)}}, INVALID, "/metadata"),
    "a metadata value of 513 characters": ({"metadata": {"a": "v" * 513}}, INVALID, "/metadata/a"),
    "metadata called __proto__": ({"metadata": {"__proto__": "v"}}, INVALID, "/metadata/__proto__"),
    "metadata inside of metadata": ({"metadata": {"a": {"b": "c"}}}, INVALID, "/metadata/a"),
    "a number in metadata": ({"metadata": {"a": 1}}, INVALID, "/metadata/a"),
}
