"""What a client would rather have."""

from __future__ import annotations

from starlette.requests import Request


def prefers(request: Request, media_type: str, *, to: str) -> bool:
    """Whether `Accept` names this type, and none of the other that it likes as much."""
    weights: dict[str, float] = {}
    for each in ",".join(request.headers.getlist("accept")).split(","):
        named, *parameters = (part.strip().lower() for part in each.split(";"))
        weights[named] = next((_weight(part[2:]) for part in parameters if part.startswith("q=")), 1.0)
    return weights.get(media_type, 0.0) > weights.get(to, 0.0)


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
