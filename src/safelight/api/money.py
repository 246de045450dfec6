"""How answers show what is in an account's books."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safelight.domain.credits import Billing
from safelight.domain.money import format_usd


def shown_amounts(currency: Billing, books: Mapping[str, int]) -> dict[str, Any]:
    """The fields that show what is in some books: whole credits, or exact dollars."""
    if currency is Billing.CREDITS:
        return {f"credits_{book}": amount for book, amount in books.items()}
    return {f"{book}_usd": format_usd(amount) for book, amount in books.items()}
