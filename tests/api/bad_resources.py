"""Styles, schedules and webhooks that cannot be, and changes of a job that cannot be made."""

from __future__ import annotations

from typing import Any

from tests.api.bad_request import BAD_TEXT, INVALID, MODEL, TOO_LONG, UNKNOWN_FIELD
from tests.api.conftest import job

SCHEDULE = {"name": "daily", "cron": "@daily", "timezone": "Europe/Berlin", "job": job()}

_BADLY_NAMED = ("a%20b", "-a", "a.", "a" * 65, "%00", "%ff", "%C3%A9")

BAD_STYLES: dict[str, tuple[Any, ...]] = {
    **{f"a style called {bad[:9]}": (bad, {}, INVALID) for bad in _BADLY_NAMED},
    "a style that says nothing": ("ink", {"prefix": None, "description": "x"}, INVALID, ""),
    "a style with a misspelt field": ("ink", {"prefx": "x"}, UNKNOWN_FIELD, "/prefx"),
    "a style with references": ("ink", {"references": []}, UNKNOWN_FIELD, "/references"),
    "a style with a name in its body": ("ink", {"name": "ink"}, UNKNOWN_FIELD, "/name"),
    **{
        f"a style with a {part} of {kind}": ("ink", {part: bad}, slug, f"/{part}")
        for part in ("prefix", "suffix", "negative_prompt")
        for kind, bad, slug in (
            ("4001 characters", "x" * 4001, INVALID),
            ("white space", " \n", INVALID),
            ("nothing", "", INVALID),
            ("what shows nothing", "\u200b", INVALID),
            ("a number", 7, INVALID),
            ("NUL", "x\x00", BAD_TEXT),
            ("a bell", "x\x07", BAD_TEXT),
            ("a lone surrogate", "\ud800", BAD_TEXT),
        )
    },
    "a style described at length": ("ink", {"description": "x" * 1001}, INVALID, "/description"),
}

BAD_SCHEDULES: dict[str, tuple[Any, ...]] = {
    "a schedule with a misspelt field": ({"time_zone": "UTC"}, UNKNOWN_FIELD, "/time_zone"),
    **{
        f"a schedule called {str(bad)[:9]!r}": ({"name": bad}, INVALID, "/name")
        for bad in ("", " ", " a", "a\nb", "n" * 101, 7, None)
    },
    **{
        f"a cron of {str(bad)[:9]!r}": ({"cron": bad}, INVALID, "/cron")
        for bad in ("", "* * * *", "0 0 * * * *", "61 * * * *", "@often", "0 0 30 2 *", "*" * 5000, 5, None)
    },
    **{
        f"a clock of {str(bad)[:9]!r}": ({"timezone": bad}, INVALID, "/timezone")
        for bad in ("", "Berlin", "europe", "../../etc/passwd", "Europe/" + "x" * 5000, "localtime", 2, None)
    },
    **{
        f"pictures wanted by {bad!r}": ({"ready_by": bad}, INVALID, "/ready_by") for bad in ("24:00", "8:00", "noon", 8)
    },
    "one job a week": ({"unique_per": "week"}, INVALID, "/unique_per"),
    "a way to catch up that nobody knows": ({"catch_up": "some"}, INVALID, "/catch_up"),
    "a schedule that is neither on nor off": ({"enabled": "yes"}, INVALID, "/enabled"),
    "a schedule of no job": ({"job": None}, INVALID, "/job"),
    "a schedule of a job that is a text": ({"job": "daily"}, INVALID, "/job"),
    "a schedule of an empty job": ({"job": {}}, INVALID, "/job"),
    "a scheduled image without a prompt": ({"job": job(images=[{"id": "a"}])}, INVALID, "/job/images/0/prompt"),
    "a scheduled job with a misspelt field": ({"job": job(imges=[])}, UNKNOWN_FIELD, "/job/imges"),
    "a scheduled job for a retired model": (
        {"job": job(defaults={"model": "picky-0", "provider": "picky"})},
        MODEL,
        "/job/defaults/model",
    ),
    "a placeholder that nobody fills": ({"job": job(metadata={"a/b": "{week}"})}, INVALID, "/job/metadata/a~1b"),
}

BAD_CHANGES: dict[str, tuple[str, Any, int, str]] = {
    "an unknown way to cancel": ("cancel", {"mode": "now"}, 422, INVALID),
    "a cancel of no image": ("cancel", {"images": []}, 422, INVALID),
    "a cancel of an image that climbs": ("cancel", {"images": ["../x"]}, 422, INVALID),
    "a cancel with a misspelt field": ("cancel", {"moed": "finish"}, 422, UNKNOWN_FIELD),
    "a cancel of a job that nobody has": ("cancel", {}, 404, "not-found"),
    "a retry of the completed": ("retry", {"only": ["completed"]}, 422, INVALID),
    "a retry of images that are a text": ("retry", {"images": "all"}, 422, INVALID),
    "a retry with a blank prompt": ("retry", {"prompt_overrides": {"one": " "}}, 422, INVALID),
    "a retry with a prompt longer than any": ("retry", {"prompt_overrides": {"one": "x" * 32_001}}, 422, TOO_LONG),
    "a retry with a prompt for no id": ("retry", {"prompt_overrides": {"a b": "x"}}, 422, INVALID),
    "a retry of a job that nobody has": ("retry", {"prompt_overrides": {"one": "x"}}, 404, "not-found"),
}

BAD_WEBHOOKS: dict[str, tuple[Any, ...]] = {
    "a webhook for no event": ({"events": []}, INVALID, "/events"),
    "a webhook for an unknown event": ({"events": ["job.completed", "job.done"]}, INVALID, "/events/1"),
    "a webhook with a secret of the caller's": ({"secret": "whsec_abc"}, UNKNOWN_FIELD, "/secret"),
    "a webhook with a blank description": ({"description": ""}, INVALID, "/description"),
    **{
        f"a webhook with pauses of {str(bad)[:12]!r}": ({"retry_seconds": bad}, INVALID, f"/retry_seconds{at}")
        for bad, at in (([], ""), ([1] * 21, ""), ([0.5], "/0"), ([5, -1], "/1"), ([604_801], "/0"), (["5"], "/0"))
    },
}

_WEBHOOK, _MESSAGE = "/v1/webhooks/whe_01JD0000000000000000000000", f"/v1/webhooks/deliveries/msg_{'0' * 32}"

BAD_WEBHOOK_CALLS: dict[str, tuple[str, str, Any, int, str]] = {
    "a webhook that nobody has": ("GET", _WEBHOOK, None, 404, "not-found"),
    "a webhook with a malformed id": ("GET", "/v1/webhooks/whe_1", None, 404, "not-found"),
    "a webhook called NUL": ("GET", "/v1/webhooks/%00", None, 404, "not-found"),
    "a change of a webhook that nobody has": ("PATCH", _WEBHOOK, {}, 404, "not-found"),
    "the end of a webhook that nobody has": ("DELETE", _WEBHOOK, None, 404, "not-found"),
    "a test of a webhook that nobody has": ("POST", f"{_WEBHOOK}/test", None, 404, "not-found"),
    "a new secret for a webhook that nobody has": ("POST", f"{_WEBHOOK}/rotate-secret", {}, 404, "not-found"),
    **{
        f"an overlap of {bad!r}": ("POST", "/v1/webhooks/default/rotate-secret", {"overlap_seconds": bad}, 422, INVALID)
        for bad in (-1, 604_801, "1", None)
    },
    "a delivery that nobody has": ("GET", _MESSAGE, None, 404, "not-found"),
    "a delivery called NUL": ("GET", "/v1/webhooks/deliveries/%00", None, 404, "not-found"),
    "a delivery that nobody has, again": ("POST", f"{_MESSAGE}/redeliver", None, 404, "not-found"),
    "deliveries of a malformed webhook": ("GET", "/v1/webhooks/deliveries?webhook_id=%00", None, 422, INVALID),
    "deliveries of a malformed job": ("GET", "/v1/webhooks/deliveries?job_id=job_1", None, 422, INVALID),
    "deliveries in an unknown state": ("GET", "/v1/webhooks/deliveries?status=lost", None, 422, INVALID),
    "a page of 101 deliveries": ("GET", "/v1/webhooks/deliveries?limit=101", None, 422, INVALID),
    "a forged cursor of deliveries": ("GET", "/v1/webhooks/deliveries?cursor=AAAA", None, 400, "invalid-cursor"),
    "an unknown parameter of deliveries": ("GET", "/v1/webhooks/deliveries?job=x", None, 422, UNKNOWN_FIELD),
    "an unknown parameter of webhooks": ("GET", "/v1/webhooks?limit=1", None, 422, UNKNOWN_FIELD),
    "putting a webhook": ("PUT", _WEBHOOK, {}, 405, "method-not-allowed"),
}
