"""The commands of docs/operations.md, as the page has them: what is rehearsed is what an operator reads."""

from __future__ import annotations

import re

from tests.upgrade.release import ROOT

_PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def blocks(heading: str) -> list[str]:
    """The shell blocks under this heading, in their order."""
    match = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,2}} |\Z)", _PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None, heading
    return re.findall(r"^```sh\n(.*?)^```$", match[2], re.MULTILINE | re.DOTALL)


def table(heading: str, after: str) -> dict[str, str]:
    """The rows of the table below `after` under this heading: first column to second."""
    section = _PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = section.partition(after)[2].strip().partition("\n\n")[0].splitlines()[2:]
    return {cells[1].strip(): cells[2].strip() for row in rows if len(cells := row.split("|")) > 3}
