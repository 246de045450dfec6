"""What goes over the wire. Requests are read strictly: no coercion, no unknown field.

A field of an answer that has nothing to say is absent where it is optional here, and null where null means
something: not known, or not yet.
"""

from __future__ import annotations

from safelight.api.schemas.base import MAX_IMAGES, MAX_METADATA_CHARS, MAX_METADATA_ENTRIES, MAX_SEED
from safelight.api.schemas.events import Event, EventPage
from safelight.api.schemas.jobs import Counts, Image, ImageError, Job, JobCost, JobPage, JobSummary, JobUrls, Output
from safelight.api.schemas.problems import Problem, ProblemError
from safelight.api.schemas.providers import Provider, ProviderGate, ProviderModel, Providers, SizeRule
from safelight.api.schemas.queries import EventsQuery, HistoryQuery, JobQuery, NoQuery
from safelight.api.schemas.service import Health, Queue
from safelight.api.schemas.submission import CARD, NewCancellation, NewImage, NewJob, NewOutput, NewRetry, Options

__all__ = [
    "CARD",
    "MAX_IMAGES",
    "MAX_METADATA_CHARS",
    "MAX_METADATA_ENTRIES",
    "MAX_SEED",
    "Counts",
    "Event",
    "EventPage",
    "EventsQuery",
    "Health",
    "HistoryQuery",
    "Image",
    "ImageError",
    "Job",
    "JobCost",
    "JobPage",
    "JobQuery",
    "JobSummary",
    "JobUrls",
    "NewCancellation",
    "NewImage",
    "NewJob",
    "NewOutput",
    "NewRetry",
    "NoQuery",
    "Options",
    "Output",
    "Problem",
    "ProblemError",
    "Provider",
    "ProviderGate",
    "ProviderModel",
    "Providers",
    "Queue",
    "SizeRule",
]
