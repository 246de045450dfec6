"""An image among good ones that cannot be made as it is ordered: what it says, the problem, and where."""

from __future__ import annotations

from typing import Any

from tests.api.bad_request import INVALID, MODEL, OPTION, PICKY, SIZE, TOO_LONG, UNKNOWN_FIELD
from tests.api.bad_urls import BAD_URLS

BAD_IMAGES: dict[str, tuple[Any, ...]] = {
    "a misspelt field": ({"promt": "x"}, UNKNOWN_FIELD, "promt"),
    "a field that does not work yet": ({"strength": 0.5}, UNKNOWN_FIELD, "strength"),
    "a mask that is no upload's id": ({"mask": {"upload": "upl_1"}}, INVALID, "mask/upload"),
    "a mask without a reference": ({"mask": {"upload": "upl_" + "0" * 26}}, INVALID, "mask/upload", "mask", "mask"),
    "a reference to an image that the job does not have": (
        {"references": [{"image": "nobody"}]},
        INVALID,
        "references/0/image",
    ),
    "a reference to itself": ({"references": [{"image": "fine"}, {"image": "bad"}]}, INVALID, "references/1/image"),
    "the same reference twice": (
        {"references": [{"image": "good"}, {"image": "good", "role": "style"}]},
        INVALID,
        "references/1/image",
    ),
    "a reference to one of its own count": (
        {"count": 2, "references": [{"image": "bad-1"}]},
        INVALID,
        "references/0/image",
    ),
    "references for a model that takes none": (
        {"references": [{"image": "good"}], **PICKY},
        OPTION,
        "references",
    ),
    "references for a fallback that takes none": (
        {"references": [{"image": "good"}], "fallback": ["picky/picky-1"]},
        OPTION,
        "references",
    ),
    "17 references": ({"references": [{"image": f"i{n}"} for n in range(17)]}, INVALID, "references"),
    "references that are null": ({"references": None}, INVALID, "references"),
    "a reference that is a text": ({"references": ["good"]}, INVALID, "references/0"),
    "a reference to two things": (
        {"references": [{"image": "good", "url": "https://hooks.example/a.png"}]},
        INVALID,
        "references/0",
    ),
    "a reference to nothing": ({"references": [{"role": "style"}]}, INVALID, "references/0"),
    "a reference to what is no upload's id": ({"references": [{"upload": "upl_1"}]}, INVALID, "references/0/upload"),
    "a reference to an upload that there is not": (
        {"references": [{"upload": "upl_" + "0" * 26}]},
        INVALID,
        "references/0/upload",
    ),
    "the same address twice": (
        {"references": [{"url": "https://hooks.example/a.png"}] * 2},
        INVALID,
        "references/1/url",
    ),
    "data in the place of an address": (
        {"references": [{"url": "data:image/png;base64,iVBORw0KGgo="}]},
        "url-not-allowed",
        "references/0/url",
    ),
    **{
        f"a reference at {name}": ({"references": [{"url": url}]}, slug, "references/0/url")
        for name, (url, slug) in BAD_URLS.items()
    },
    "no id": ({"id": None}, INVALID, "id"),
    "no prompt": ({"prompt": None}, INVALID, "prompt"),
    "an empty prompt": ({"prompt": ""}, INVALID, "prompt"),
    "a prompt of white space": ({"prompt": " \n\t\u3000"}, INVALID, "prompt"),
    "a prompt of what shows nothing": ({"prompt": "\u200b\ufeff\u2060 \u3164"}, INVALID, "prompt"),
    "a prompt that is a number": ({"prompt": 7}, INVALID, "prompt"),
    "a prompt longer than any": ({"prompt": "x" * 32_001}, TOO_LONG, "prompt"),
    "a prompt longer than its model takes": ({"prompt": "x" * 101, **PICKY}, TOO_LONG, "prompt"),
    **{f"a count of {bad!r}": ({"count": bad}, INVALID, "count") for bad in (0, -1, 11, 1.5, "1", True, None)},
    "an id too long with its number": ({"id": "a" * 63, "count": 2}, INVALID, "id"),
    "a size and an aspect ratio": ({"size": "1024x1024", "aspect_ratio": "1:1"}, SIZE, "size"),
    "a size that the model does not make": ({"size": "3x3"}, SIZE, "size"),
    "a size for a model without sizes": ({"size": "64x64", **PICKY}, SIZE, "size"),
    "an aspect ratio that the model does not make": ({"aspect_ratio": "17:1"}, SIZE, "aspect_ratio"),
    **{f"a seed of {bad!r}": ({"seed": bad}, INVALID, "seed") for bad in (-1, 2**63, 10**30, 1.0, "1", True)},
    "an unknown model": ({"model": "dall-e-9"}, MODEL, "model"),
    "a provider that is not configured": ({"provider": "nobody"}, MODEL, "provider"),
    "another provider's model": ({"provider": "picky", "model": "placeholder-1"}, MODEL, "model"),
    "a seed for a model without": ({"seed": 1, **PICKY}, OPTION, "seed"),
    "a negative prompt for a model without": ({"negative_prompt": "blur"}, OPTION, "negative_prompt"),
    "a blank negative prompt": ({"negative_prompt": "\u200b"}, INVALID, "negative_prompt"),
    **{
        f"the id {str(bad)[:9]!r}": ({"id": bad}, INVALID, "id")
        for bad in ("", "../x", "a/b", "a b", "-a", "a.", "a" * 65, "x" * 10_000, "é", "a\n", 1)
    },
    "a group that climbs": ({"group": "../x"}, INVALID, "group"),
    **{f"a timeout of {bad!r}": ({"timeout_seconds": bad}, INVALID, "timeout_seconds") for bad in (0, -1, 3601, "60")},
    **{f"{bad!r} attempts": ({"max_attempts": bad}, INVALID, "max_attempts") for bad in (0, 11, 1.5)},
    "minus one rebuy": ({"max_rebuys": -1}, INVALID, "max_rebuys"),
    "an unknown rule for the uncertain": ({"on_uncertain": "ask"}, INVALID, "on_uncertain"),
    "the id of another image": ({"id": "good"}, INVALID, "id"),
    "an image of a style that nobody has": ({"style": "nior"}, INVALID, "style"),
    "a style that is a number": ({"style": 7}, INVALID, "style"),
    "a style for a model of short prompts": ({"style": "noir", **PICKY}, TOO_LONG, "prompt"),
}
