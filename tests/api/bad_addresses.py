"""Addresses and queries that lead nowhere."""

from __future__ import annotations

from tests.api.bad_request import INVALID, NOBODY, UNKNOWN_FIELD

NOWHERE: dict[str, str] = {
    "an unknown path": "/nowhere",
    "half a path": "/v1",
    "a path with a slash too many": "/v1/jobs/",
    "a malformed id": "/v1/jobs/job_1",
    "an id of the wrong alphabet": "/v1/jobs/job_01JD000000000000000000000U",
    "an id that nobody has": f"/v1/jobs/{NOBODY}",
    "an id that climbs": "/v1/jobs/..%2f..%2fetc%2fpasswd",
    "an id that climbs in plain sight": "/v1/jobs/../../etc/passwd",
    "NUL for an id": "/v1/jobs/%00",
    "an id that ends in NUL": f"/v1/jobs/{NOBODY}%00",
    "an id that is no UTF-8": "/v1/jobs/%ff",
    "an id of 10 000 characters": "/v1/jobs/" + "a" * 10_000,
    "an image of a job that nobody has": f"/v1/jobs/{NOBODY}/images/one",
    "the archive of a job that nobody has": f"/v1/jobs/{NOBODY}/archive",
    "an archive of what is no job": "/v1/jobs/..%2f..%2fetc/archive",
    "an image called NUL": f"/v1/jobs/{NOBODY}/images/%00",
    "an image that climbs": f"/v1/jobs/{NOBODY}/images/..%2f..%2fsecret.key",
    "an output called NUL": f"/v1/jobs/{NOBODY}/images/one/%00",
    "an output of 10 000 characters": f"/v1/jobs/{NOBODY}/images/one/" + "a" * 10_000,
    "the log of a job that nobody has": f"/v1/jobs/{NOBODY}/events",
    "a wait for a job that nobody has": f"/v1/jobs/{NOBODY}?wait=20",
    "a schedule that nobody has": "/v1/schedules/sch_01JD0000000000000000000000",
    "the runs of a schedule that nobody has": "/v1/schedules/sch_01JD0000000000000000000000/runs",
    "a style that nobody has": "/v1/styles/nior",
    "a style called NUL": "/v1/styles/%00",
    "a style of 10 000 characters": "/v1/styles/" + "a" * 10_000,
    "a style that climbs": "/v1/styles/..%2f..%2fsecret.key",
    "a recipe that nobody has": "/v1/recipes/no-such",
    "a recipe called NUL": "/v1/recipes/%00",
    "a problem that does not exist": "/problems/nonsense",
}

WRONG_METHODS: dict[str, tuple[str, str]] = {
    "deleting the list": ("DELETE", "/v1/jobs"),
    "putting a job": ("PUT", f"/v1/jobs/{NOBODY}"),
    "looking at a cancel": ("GET", f"/v1/jobs/{NOBODY}/cancel"),
    "posting to health": ("POST", "/healthz"),
    "posting a style": ("POST", "/v1/styles"),
    "putting a recipe": ("PUT", "/v1/recipes/mystery-case"),
    "tracing": ("TRACE", "/v1/jobs"),
    "asking for options": ("OPTIONS", "/v1/jobs"),
}

BAD_QUERIES: dict[str, tuple[str, int, str]] = {
    **{
        f"a limit of {bad!r}": (f"/v1/jobs?limit={bad}", 422, INVALID)
        for bad in ("0", "-1", "1001", "x", "", "1.5", "%00")
    },
    "two limits": ("/v1/jobs?limit=1&limit=2", 422, INVALID),
    "an unknown state": ("/v1/jobs?status=running", 422, INVALID),
    "an unknown parameter": ("/v1/jobs?statsu=failed", 422, UNKNOWN_FIELD),
    "a parameter called NUL": ("/v1/jobs?%00=1", 422, UNKNOWN_FIELD),
    "metadata without a name": ("/v1/jobs?metadata.=1", 422, UNKNOWN_FIELD),
    "NUL in a metadata filter": ("/v1/jobs?metadata.a=%00", 422, "invalid-text"),
    "NUL in a metadata filter's name": ("/v1/jobs?metadata.%00=a", 422, "invalid-text"),
    "a metadata filter of 513 characters": ("/v1/jobs?metadata.a=" + "v" * 513, 422, INVALID),
    "a metadata filter twice": ("/v1/jobs?metadata.a=1&metadata.a=2", 422, INVALID),
    "17 metadata filters": ("/v1/jobs?" + "&".join(f"metadata.{n}=1" for n in range(17)), 422, INVALID),
    "a group that climbs, in a filter": ("/v1/jobs?group=../x", 422, INVALID),
    **{
        f"{name} of {path}": (f"/v1/{path}?{query}", 422, slug)
        for path in ("jobs", "images")
        for name, query, slug in (
            ("one state of two that there is not", "status=failed&status=gone", INVALID),
            ("ten states", "&".join(["status=failed"] * 10), INVALID),
            ("two providers", "provider=a&provider=b", INVALID),
            ("a provider called NUL", "provider=%00", INVALID),
            ("a model of 201 characters", "model=" + "m" * 201, INVALID),
            ("a kind of error that there is not", "error_kind=safety", INVALID),
            ("a form that there is not", "format=xml", INVALID),
            ("an end that is no time", "created_before=2026-13-01T00:00:00Z", INVALID),
            ("a prompt", "prompt=key", UNKNOWN_FIELD),
            ("two stars for accounts", "account=**", INVALID),
        )
    },
    "a state that only jobs have": ("/v1/images?status=partial", 422, INVALID),
    "a state that only images have": ("/v1/jobs?status=refused", 422, INVALID),
    "a cursor of images that is cut": ("/v1/images?cursor=abc", 400, "invalid-cursor"),
    **{
        f"statistics {name}": (f"/v1/stats?{query}", 422, INVALID)
        for name, query in (
            ("from what is no time", "from=yesterday"),
            ("until a number", "to=0.5"),
            ("from a time without a zone", "from=2026-11-01T00:00:00"),
            ("from a time before there is any", "from=0001-01-01T00:00:00Z"),
            ("until a time after all", "to=9999-12-31T23:59:59Z"),
            ("that end before they begin", "from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z"),
            ("of no time at all", "from=2026-11-01T00:00:00Z&to=2026-11-01T00:00:00Z"),
            ("of 367 days", "from=2025-11-01T00:00:00Z&to=2026-11-03T00:00:00Z"),
            ("of 32 days by hour", "from=2026-10-01T00:00:00Z&to=2026-11-02T00:00:00Z&group_by=hour"),
            ("by what nobody has", "group_by=prompt"),
            ("in a zone that there is not", "time_zone=Europe/Atlantis"),
            ("in a zone called NUL", "time_zone=%00"),
            ("in a zone that climbs", "time_zone=../../etc/passwd"),
            ("of an account that cannot be", "account=a%20b"),
            ("in a form that there is not", "format=tsv"),
        )
    },
    "statistics of what there is not": ("/v1/stats?since=2026-11-01T00:00:00Z", 422, UNKNOWN_FIELD),
    **{f"an account {bad!r}": (f"/v1/jobs?account={bad}", 422, INVALID) for bad in ("", "a%20b", "-a", "a" * 65)},
    "a feed of an account that cannot be": ("/v1/events?account=%2F", 422, INVALID),
    "NUL for a group": ("/v1/jobs?group=%00", 422, INVALID),
    **{
        f"a time of {bad!r}": (f"/v1/jobs?created_after={bad}", 422, INVALID)
        for bad in (
            "yesterday",
            "0.5",
            "1700000000",
            "2026-11-20T10:00:00",
            "0001-01-01T00:00:00%2B23:59",
            "9999-12-31T23:59:59-23:59",
            "1e999",
        )
    },
    "a forged cursor": ("/v1/jobs?cursor=AAAAAAAAAAAAam9iXzAxSkQwMDAwMDAwMDAwMDAwMDAwMDAwMDAw", 400, "invalid-cursor"),
    "a cursor that is none": ("/v1/jobs?cursor=%00", 400, "invalid-cursor"),
    "a cursor of 10 000 characters": ("/v1/jobs?cursor=" + "A" * 10_000, 422, INVALID),
    "an unknown parameter of a job": (f"/v1/jobs/{NOBODY}?wiat=20", 422, UNKNOWN_FIELD),
    **{f"a wait of {bad!r}": (f"/v1/jobs/{NOBODY}?wait={bad}", 422, INVALID) for bad in ("-1", "61", "x", "1.5")},
    **{f"a seq of {bad!r}": (f"/v1/jobs/{NOBODY}?wait=1&after={bad}", 422, INVALID) for bad in ("-1", "x", 2**63)},
    "an unknown parameter of styles": ("/v1/styles?name=noir", 422, UNKNOWN_FIELD),
    "an unknown parameter of recipes": ("/v1/recipes?name=noir", 422, UNKNOWN_FIELD),
    "101 schedules a page": ("/v1/schedules?limit=101", 422, INVALID),
    "a cursor of another list of schedules": ("/v1/schedules?cursor=AAAAAAAAAAAAYQ", 400, "invalid-cursor"),
    "an unknown filter of schedules": ("/v1/schedules?nmae=daily", 422, UNKNOWN_FIELD),
    "NUL for a schedule's name": ("/v1/schedules?name=%00", 422, INVALID),
    "a page of the log before its beginning": (f"/v1/jobs/{NOBODY}/events?after=-1", 422, INVALID),
    "a page of the log with 1001 events": (f"/v1/jobs/{NOBODY}/events?limit=1001", 422, INVALID),
    "a stream with a limit": (f"/v1/jobs/{NOBODY}/events?limit=3", 422, INVALID),
    "a stream from a cursor": (f"/v1/jobs/{NOBODY}/events?cursor=x", 422, UNKNOWN_FIELD),
    "a feed from a number": ("/v1/events?after=17", 400, "invalid-cursor"),
    "a feed from a cursor that is too long": (f"/v1/events?after={'A' * 201}", 422, INVALID),
    "a feed with 1001 events": ("/v1/events?limit=1001", 422, INVALID),
    "a feed that waits for more than a minute": ("/v1/events?wait=61", 422, INVALID),
    "a feed of a job": (f"/v1/events?job_id={NOBODY}", 422, UNKNOWN_FIELD),
}
