from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from safelight.cli.complaint import Complaint
from safelight.cli.job_file import JobFile, read_job_file
from safelight.domain.errors import Fault

CARDS = "id,group,prompt,aspect_ratio,seed\n"


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def read(name: str, content: str | bytes) -> JobFile:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
        return read_job_file(Path(name))

    return read


def test_a_row_is_an_image_and_an_empty_cell_is_not_given(read) -> None:
    job_file = read("cards.csv", CARDS + 'a,major,"A tower, struck",2:3,7\n\nb,,A lamp,,\n  ,\nc, ,A moth\n')
    assert job_file.body == {
        "images": [
            {"id": "a", "group": "major", "prompt": "A tower, struck", "aspect_ratio": "2:3", "seed": 7},
            {"id": "b", "prompt": "A lamp"},
            {"id": "c", "prompt": "A moth"},
        ]
    }
    assert job_file.lines == (2, 4, 6)


def test_a_prompt_may_go_over_lines_and_the_lines_after_it_are_still_counted(read) -> None:
    job_file = read("cards.csv", 'id,prompt\r\na,"one\r\ntwo"\r\nb,three\r\n')
    assert job_file.body["images"][0]["prompt"] == "one\r\ntwo"
    assert job_file.lines == (2, 4)
    assert job_file.place_of(Fault("/images/1/prompt", "…")) == "cards.csv:4"
    assert job_file.place_of(Fault("/defaults", "…")) == "cards.csv"


@pytest.mark.parametrize(
    ("name", "text"), [("a.csv", "id,prompt\na,b\n"), ("a.toml", "x = 1\n"), ("a.json", '{"x": 1}')]
)
def test_a_byte_order_mark_is_passed_over(name: str, text: str, read) -> None:
    assert read(name, b"\xef\xbb\xbf" + text.encode()).body == read(name, text).body


def test_toml_and_json_are_the_same_body(read) -> None:
    toml = read("a.toml", 'recipe = "r"\n[[images]]\nid = "a"\nprompt = "p"\nseed = 3\n')
    json = read("a.json", '{"images": [{"id": "a", "prompt": "p", "seed": 3}], "recipe": "r"}')
    assert toml.body == json.body


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "a.csv:1: column `id` is missing"),
        ("a.csv", "a,p\n", "a.csv:1: unknown column `a`"),
        ("a.csv", "id,promt\na,p\n", "a.csv:1: unknown column `promt`"),
        ("a.csv", "id,id,prompt\n", "a.csv:1: column `id` is there twice"),
        ("a.csv", "id,group\n", "a.csv:1: column `prompt` is missing"),
        ("a.csv", "id;prompt\na;p\n", "a.csv:1: columns are separated by commas"),
        ("a.csv", CARDS, "a.csv: has a header and no image below it"),
        ("a.csv", "id,prompt\na,one\n,two\n", "a.csv:3: no id"),
        ("a.csv", "id,prompt\na,  \n", "a.csv:2: no prompt"),
        ("a.csv", "id,prompt\na,one, two\n", "a.csv:2: 3 cells under 2 columns"),
        ("a.csv", CARDS + "a,,p,,-1\n", "a.csv:2: seed `-1` is no whole number"),
        ("a.csv", CARDS + "a,,p,,1.5\nb,,p,,x\n", "seed `1.5` is no whole number from 0 on; a.csv:3: seed `x`"),
        ("a.csv", "id,prompt\n" + "a,p\n" * 6, "a.csv:5: id `a` is that of line 2 too; and 2 more"),
        ("a.csv", 'id,prompt\na,"never closed\n', "a.csv:2: not CSV: unexpected end of data"),
        ("a.csv", b"id,prompt\na,caf\xe9\n", "a.csv:2: not UTF-8"),
        ("a.toml", "a = 1\nb = \n", "a.toml:2: not TOML: Invalid value"),
        ("a.toml", "a = [1\n", "a.toml:1: not TOML"),
        ("a.toml", "[metadata]\nday = 2026-11-20\n", "a.toml: `metadata.day` is a date or a time; put it into quotes"),
        ("a.toml", "x = nan\n", "a.toml: `x` is no finite number"),
        ("a.json", '{\n"x": }', "a.json:2: not JSON: Expecting value at column 6"),
        ("a.json", '{"x": NaN}', "a.json: not JSON: `NaN` is no number"),
        ("a.json", '{"x": 1, "x": 2}', "a.json: not JSON: one object has `x` twice"),
        ("a.json", '{"x": 99999999999999999999}', "a.json: `x` is too large a number"),
        ("a.json", '{"x": ["\\ud800"]}', "a.json: `x.0` holds half of a character"),
        ("a.json", '{"x": ' + "[" * 60 + "]" * 60 + "}", "holds more than 32 tables and lists inside of each other"),
        ("a.json", "[" * 100_000, "a.json: not JSON"),
        ("a.json", "[]", "a.json: holds no object"),
        ("a.txt", "", "a.txt: its name has to end in one of .json, .toml, .csv"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(name: str, content: str | bytes, said: str, read) -> None:
    with pytest.raises(Complaint) as raised:
        read(name, content)
    assert said in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Complaint, match=r"gone\.csv: No such file"):
        read_job_file(tmp_path / "gone.csv")


def test_the_standard_library_still_names_the_line_of_bad_toml() -> None:
    with pytest.raises(tomllib.TOMLDecodeError, match=r"\(at line 2, column \d+\)"):
        tomllib.loads("a = 1\nb = ?\n")
