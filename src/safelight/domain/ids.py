"""Names of things. Every id sorts by the time it was made (UUIDv7)."""

from __future__ import annotations

import re
from typing import NewType
from uuid import UUID

from uuid_utils import compat

from safelight.domain.keys import KeyId

JobId = NewType("JobId", str)
AttemptId = NewType("AttemptId", str)
ImageRowId = NewType("ImageRowId", int)
ClaimToken = NewType("ClaimToken", UUID)
WorkerId = NewType("WorkerId", UUID)
ScheduleId = NewType("ScheduleId", str)
EndpointId = NewType("EndpointId", str)
UploadId = NewType("UploadId", str)

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_JOB_ID = re.compile(r"job_[0-9A-HJKMNP-TV-Z]{26}")
_SCHEDULE_ID = re.compile(r"sch_[0-9A-HJKMNP-TV-Z]{26}")
_ENDPOINT_ID = re.compile(r"whe_[0-9A-HJKMNP-TV-Z]{26}")
_MESSAGE_ID = re.compile(r"msg_[0-9a-f]{32}")

IMAGE_ID_PATTERN = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?"
"""An image id or a group, chosen by the caller: it becomes part of file names, so it is short and tame."""

UPLOAD_ID_PATTERN = r"upl_[0-9A-HJKMNP-TV-Z]{26}"
_UPLOAD_ID = re.compile(UPLOAD_ID_PATTERN)


def new_job_id() -> JobId:
    return JobId("job_" + _sortable())


def new_attempt_id() -> AttemptId:
    return AttemptId("att_" + _sortable())


def new_worker_id() -> WorkerId:
    return WorkerId(compat.uuid7())


def new_schedule_id() -> ScheduleId:
    return ScheduleId("sch_" + _sortable())


def new_endpoint_id() -> EndpointId:
    return EndpointId("whe_" + _sortable())


def new_key_id() -> KeyId:
    return KeyId("key_" + _sortable())


def new_upload_id() -> UploadId:
    return UploadId("upl_" + _sortable())


def is_job_id(text: str) -> bool:
    return _JOB_ID.fullmatch(text) is not None


def is_schedule_id(text: str) -> bool:
    return _SCHEDULE_ID.fullmatch(text) is not None


def is_endpoint_id(text: str) -> bool:
    return _ENDPOINT_ID.fullmatch(text) is not None


def is_upload_id(text: str) -> bool:
    return _UPLOAD_ID.fullmatch(text) is not None


def is_message_id(text: str) -> bool:
    """Of a webhook's message: random, unlike the others, since receivers remember it for longer than a backup does."""
    return _MESSAGE_ID.fullmatch(text) is not None


def _sortable() -> str:
    """128 bits of UUIDv7 in 26 characters of Crockford base 32, most significant first."""
    bits = compat.uuid7().int
    return "".join(_CROCKFORD[bits >> shift & 31] for shift in range(125, -1, -5))
