"""What each vendor brings to the sandbox: its name, its faults, and how it answers an order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from safelight.sandbox.faults import Directive, Fault, UnknownDirective
from safelight.sandbox.pictures import Pictures
from safelight.sandbox.wire import Answer


class Rejected(Exception):
    """The request is refused before any work, free of charge. `reason` is the bill's word for it."""

    def __init__(self, answer: Answer, *, reason: str) -> None:
        super().__init__(reason)
        self.answer = answer
        self.reason = reason


class Asked(Protocol):
    """A request the vendor accepts."""

    @property
    def prompt(self) -> str: ...


class Order(Asked, Protocol):
    """One that is answered with the picture, while the caller waits."""

    def cost_microusd(self, fault: Fault) -> int:
        """What the vendor charges for it under that fault, shown to the caller or not; 0 is free."""
        ...

    async def prepare(self, directive: Directive, pictures: Pictures) -> Callable[[], Answer]:
        """Draws what the answer needs; the result puts it together, in a thread where that takes long."""
        ...


class Wire(Protocol):
    """One vendor as its callers see it.

    `base_path` is what a client's base URL has behind the vendor's name, such as `/v1`. `faults` are those it can
    be scripted to, `reasons` the usual reason of those that take one.
    """

    @property
    def name(self) -> str: ...

    @property
    def base_path(self) -> str: ...

    @property
    def faults(self) -> frozenset[Fault]: ...

    @property
    def reasons(self) -> Mapping[Fault, str]: ...

    def error(self, directive: Directive, *, model: str) -> Answer | None:
        """The answer to a fault that comes before any generation, whatever was asked; None for all others."""
        ...

    def invalid(self, message: str) -> Rejected:
        """The vendor's way to say that a request makes no sense."""
        ...


def understood(directive: Directive, wire: Wire) -> Directive:
    """With the vendor's usual reason where none was given. Raises UnknownDirective for a fault it does not have."""
    if directive.fault not in wire.faults:
        raise UnknownDirective(f"the sandbox's {wire.name} has no fault `{directive.fault}`")
    return replace(directive, reason=directive.reason or wire.reasons.get(directive.fault))
