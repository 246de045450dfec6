"""Tables that lose nothing in a narrow terminal."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def table(*titles: str, whole: Collection[str] = ()) -> Table:
    """Without lines. What does not fit goes on in the next line; the columns in `whole`, such as ids, give way last."""
    from rich.table import Table

    made = Table(box=None)
    for title in titles:
        made.add_column(title, overflow="fold", no_wrap=title in whole)
    return made
