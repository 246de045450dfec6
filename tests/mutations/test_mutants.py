"""Each safety line is there for a reason: without it a test fails that says which."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutations.mutants import ROOT, Mutant, Outcome, copied_checkout, mutants, run_tests, switched_off
from tests.named import require_test

MUTANTS = mutants()
each_mutant = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


@each_mutant
def test_the_line_is_where_the_list_says_and_so_is_its_test(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert mutant.applied(text) != text
    require_test(mutant.test)


def test_a_line_that_is_missing_or_there_twice_is_told() -> None:
    one = Mutant(name="one", protects="", file="a.sql", old="AND b", new="", test="")
    assert one.applied("a AND b") == "a "
    for text in ("a", "a AND b AND b"):
        with pytest.raises(ValueError, match="not once"):
            one.applied(text)
    behind = Mutant(name="two", protects="", file="a.sql", old="AND b", new="", test="", after="-- name: x\n")
    assert behind.applied("AND b\n-- name: x\nAND b AND b") == "AND b\n-- name: x\n AND b"
    with pytest.raises(ValueError, match="not once"):
        behind.applied("AND b")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with copied_checkout(tmp_path_factory.mktemp("checkout")) as checkout:
        yield checkout


@pytest.fixture(scope="module")
def whole(checkout: Path) -> Outcome:
    """The tests of the list with all lines in place."""
    return run_tests(sorted({mutant.test for mutant in MUTANTS}), checkout)


@pytest.mark.slow
@pytest.mark.timeout(900)
@each_mutant
def test_it_does_not_go_unnoticed(mutant: Mutant, checkout: Path, whole: Outcome) -> None:
    assert mutant.test in whole.passed, f"with the line in place it has to pass\n{whole.said}"
    with switched_off(mutant, checkout):
        outcome = run_tests([mutant.test], checkout)
    assert outcome.refuted == {mutant.test}, outcome.said
