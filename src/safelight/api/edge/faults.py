"""What Pydantic found wrong, as faults in the words of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from safelight.api.edge.pointer import pointer
from safelight.api.edge.problems import PROBLEMS, RequestFault, common_slug
from safelight.domain.errors import Fault, InvalidRequest

M = TypeVar("M", bound=BaseModel)

_MESSAGES = {
    "missing": "Is required.",
    "extra_forbidden": "There is no such field.",
    "model_type": "Must be an object.",
    "model_attributes_type": "Must be an object.",
    "dict_type": "Must be an object.",
    "list_type": "Must be an array.",
}
_BOX = {"greater_than_equal": "unsupported-size", "less_than_equal": "unsupported-size"}
_SLUGS: Mapping[str, Mapping[str, str]] = {
    "width": _BOX,
    "height": _BOX,
    "fit": {"literal_error": "unsupported-size"},
    "format": {"literal_error": "unsupported-format"},
    "url": {"string_too_long": "url-not-allowed"},
}
"""By the field's name, then by the kind of error: where that is more than a `validation-error`."""


def refused(faults: Iterable[Fault]) -> InvalidRequest:
    """All of them, as one refusal that lists each."""
    all_of_them = tuple(faults)
    count = len(all_of_them)
    detail = all_of_them[0].detail if count == 1 else f"The request has {count} faults."
    return InvalidRequest(detail, slug=common_slug(all_of_them), faults=all_of_them)


def body_faults(error: ValidationError, *, under: str = "") -> list[RequestFault]:
    """One per field, with pointers below `under`."""
    return [
        _fault(each, pointer=under + pointer(*_path(each["loc"])))
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def query_faults(errors: Iterable[Mapping[str, Any]]) -> list[RequestFault]:
    """From what FastAPI says of parameters; each `loc` begins with where the parameter was."""
    return [_fault(each, pointer=str(each["loc"][-1])[:100], in_query=True) for each in errors]


def validated(model: type[M], document: Mapping[str, Any]) -> M:
    """The document as the model has it. Raises InvalidRequest with every fault."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise refused(body_faults(error)) from None


def _fault(error: Mapping[str, Any], *, pointer: str, in_query: bool = False) -> RequestFault:
    kind = error["type"]
    message = _MESSAGES.get(kind) or error["msg"].removesuffix(".") + "."
    return RequestFault(pointer, message, _slug(kind, () if in_query else error["loc"]), in_query)


def _slug(kind: str, path: tuple[str | int, ...]) -> str:
    if kind in PROBLEMS:
        return kind
    if kind == "extra_forbidden":
        return "unknown-field"
    return _SLUGS.get(str(path[-1]) if path else "", {}).get(kind, "validation-error")


def _path(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Pydantic marks a bad key of a mapping with a step of its own."""
    return loc[:-1] if loc and loc[-1] == "[key]" else loc
