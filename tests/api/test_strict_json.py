from __future__ import annotations

import json

import pytest

from safelight.api.edge.strict_json import MAX_DEPTH, parse_object
from safelight.api.schemas.base import MAX_IMAGES
from safelight.api.schemas.submission import NewImage
from safelight.domain.errors import InvalidRequest, SafelightError


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"   ",
        b"{",
        b'{"a": 1',
        b'{"a": 1} x',
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": -1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": -' + b"9" * 5000 + b"}",
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-16-le"),
        b'{"a": "line\nbreak"}',
        b'{"a": ' * 33 + b"1" + b"}" * 33,
        b"[" * 33 + b"]" * 33,
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_what_is_no_json_is_malformed(raw: bytes):
    with pytest.raises(SafelightError) as refused:
        parse_object(raw)

    assert refused.value.slug == "malformed-json"


def test_an_object_may_be_as_deep_as_the_limit():
    raw = b'{"a": ' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH

    assert "a" in parse_object(raw)


def test_the_largest_job_has_fewer_members_than_an_object_may_have():
    references = [{"url": "https://a.example/", "role": "style"}] * 16
    images = [dict.fromkeys(NewImage.model_fields, "x") | {"references": references} for _ in range(MAX_IMAGES)]
    assert len(parse_object(json.dumps({"images": images}).encode())["images"]) == MAX_IMAGES


@pytest.mark.parametrize("raw", [b'{"a": 1, "a": 1}', b'{"b": [{"a": 1, "\\u0061": 2}]}'])
def test_a_key_that_is_there_twice_is_refused_at_any_depth(raw: bytes):
    with pytest.raises(SafelightError) as refused:
        parse_object(raw)

    assert refused.value.slug == "duplicate-key"


@pytest.mark.parametrize("raw", [b"[]", b'"text"', b"null", b"1", b"true"])
def test_a_value_that_is_no_object_is_refused(raw: bytes):
    with pytest.raises(InvalidRequest) as refused:
        parse_object(raw)

    assert refused.value.slug == "validation-error"


def test_every_bad_text_is_listed_with_its_place_and_without_its_content():
    raw = rb"""{"a": "x\u0000", "b": [{"c": "\ud800"}, "fine"], "d~/\u001f": "\ud83d\ude00", "e": "\r"}"""

    with pytest.raises(InvalidRequest) as refused:
        parse_object(raw)

    assert refused.value.slug == "invalid-text"
    found = {fault.pointer: fault.detail for fault in refused.value.faults}
    assert found == {
        "/a": "U+0000 at position 1 is a control character.",
        "/b/0/c": "U+D800 at position 0 is a lone surrogate.",
        "/d~0~1\x1f": "The key: U+001F at position 3 is a control character.",
        "/e": "U+000D at position 0 is a control character.",
    }


def test_text_of_any_script_comes_through_unchanged():
    text = "tab\tand\nline, café ☕ 😀 עברית é {{7*7}} %s' OR 1=1 -- \u202eRTL"

    assert parse_object(json.dumps({"a": text}, ensure_ascii=False).encode()) == {"a": text}


def test_an_integer_beyond_64_bits_is_a_float():
    value = parse_object(b'{"small": 9223372036854775808, "large": 100000000000000000000}')

    assert value == {"small": 2**63, "large": 1e20}
    assert isinstance(value["large"], float)
