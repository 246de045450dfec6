"""What goes over the wire. Requests are read strictly: no coercion, no unknown field.

A field of an answer that has nothing to say is absent where it is optional here, and null where null means
something: not known, or not yet.
"""

from __future__ import annotations

from safelight.api.schemas.base import MAX_IMAGES, MAX_METADATA_CHARS, MAX_METADATA_ENTRIES, MAX_SEED
from safelight.api.schemas.events import Event, EventPage, FeedPage
from safelight.api.schemas.jobs import Counts, Image, ImageError, Job, JobCost, JobPage, JobSummary, JobUrls, Output
from safelight.api.schemas.problems import Problem, ProblemError
from safelight.api.schemas.providers import (
    Provider,
    ProviderGate,
    ProviderHealth,
    ProviderModel,
    Providers,
    SizeRule,
)
from safelight.api.schemas.queries import EventsQuery, FeedQuery, HistoryQuery, JobQuery, NoQuery
from safelight.api.schemas.recipes import Recipe, RecipeGroup, Recipes
from safelight.api.schemas.schedules import (
    NewSchedule,
    RunFault,
    RunJob,
    RunsQuery,
    Schedule,
    ScheduleChange,
    SchedulePage,
    ScheduleQuery,
    ScheduleRun,
    ScheduleRunPage,
    ScheduleSummary,
    ScheduleUrls,
)
from safelight.api.schemas.service import Health, ProviderQueue, Queue
from safelight.api.schemas.styles import NewStyle, Style, Styles
from safelight.api.schemas.submission import CARD, NewCancellation, NewImage, NewJob, NewOutput, NewRetry, Options
from safelight.api.schemas.webhooks import (
    CreatedWebhook,
    DeliveriesQuery,
    Delivery,
    DeliveryPage,
    NewJobWebhook,
    NewRotation,
    NewWebhook,
    RotatedSecret,
    Webhook,
    WebhookChange,
    Webhooks,
)

__all__ = [
    "CARD",
    "MAX_IMAGES",
    "MAX_METADATA_CHARS",
    "MAX_METADATA_ENTRIES",
    "MAX_SEED",
    "Counts",
    "CreatedWebhook",
    "DeliveriesQuery",
    "Delivery",
    "DeliveryPage",
    "Event",
    "EventPage",
    "EventsQuery",
    "FeedPage",
    "FeedQuery",
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
    "NewJobWebhook",
    "NewOutput",
    "NewRetry",
    "NewRotation",
    "NewSchedule",
    "NewStyle",
    "NewWebhook",
    "NoQuery",
    "Options",
    "Output",
    "Problem",
    "ProblemError",
    "Provider",
    "ProviderGate",
    "ProviderHealth",
    "ProviderModel",
    "ProviderQueue",
    "Providers",
    "Queue",
    "Recipe",
    "RecipeGroup",
    "Recipes",
    "RotatedSecret",
    "RunFault",
    "RunJob",
    "RunsQuery",
    "Schedule",
    "ScheduleChange",
    "SchedulePage",
    "ScheduleQuery",
    "ScheduleRun",
    "ScheduleRunPage",
    "ScheduleSummary",
    "ScheduleUrls",
    "SizeRule",
    "Style",
    "Styles",
    "Webhook",
    "WebhookChange",
    "Webhooks",
]
