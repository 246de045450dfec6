"""The HTTP API, put together."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from safelight.api.administration.accounts import account_routes
from safelight.api.administration.alerts import alert_routes
from safelight.api.administration.keys import key_routes
from safelight.api.administration.queue import queue_routes
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge import failures
from safelight.api.edge.access_log import AccessLog
from safelight.api.edge.authentication import Authentication
from safelight.api.edge.closing import closing_of
from safelight.api.edge.cookies import Cookies
from safelight.api.edge.gate import Gate, stopping
from safelight.api.edge.measured import Measured
from safelight.api.edge.openapi import Application
from safelight.api.edge.rate import RequestRate
from safelight.api.edge.request_id import RequestIds
from safelight.api.edge.session import Sessions
from safelight.api.following.routes import event_routes
from safelight.api.following.stream import Streams
from safelight.api.following.waiting import JobWatch
from safelight.api.history.images import image_history_routes
from safelight.api.history.metrics import metrics_routes
from safelight.api.history.stats import stats_routes
from safelight.api.jobs.attempts import attempt_routes
from safelight.api.jobs.quotes import Quotes
from safelight.api.jobs.routes import job_routes
from safelight.api.jobs.view import JobReader
from safelight.api.openai.errors import ErrorForm
from safelight.api.openai.routes import openai_routes
from safelight.api.pictures.archive import archive_routes
from safelight.api.pictures.routes import image_routes
from safelight.api.pictures.uploads import UploadPlaces, upload_routes
from safelight.api.resources.providers import provider_routes
from safelight.api.resources.recipes import recipe_routes
from safelight.api.resources.schedules import schedule_routes
from safelight.api.resources.styles import style_routes
from safelight.api.resources.webhooks import webhook_routes
from safelight.api.service import service_routes
from safelight.delivery.frames import event_frame
from safelight.delivery.hub import EventHub
from safelight.delivery.links import Links
from safelight.domain.signing import Signer, signing_key
from safelight.engine.accounts.keyring import Keyring
from safelight.engine.estimates.outlook import Limits, Lookout

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

__all__ = ["ApiDependencies", "create_app"]

OWN_TRACES: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""FastAPI's own would hold queries, in which a link is signed, and an error's message, which may quote a prompt."""


def create_app(deps: ApiDependencies) -> Application:
    """The ASGI application. It starts nothing: pools and background tasks are its caller's."""
    app = Application(
        title="Safelight",
        summary="Durable image generation.",
        version=version("safelight"),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
        telemetry=OWN_TRACES,
    )
    closing = closing_of(app)
    keyring = Keyring(deps.pool, acquire_seconds=deps.acquire_seconds, may_run_open=deps.may_run_open)
    signer = Signer(
        [signing_key(key) for key in deps.vault.keys], expiry_seconds=deps.url_expiry_seconds, clock=deps.clock
    )
    links = Links(deps.public_url, signer, needs_keys=lambda: keyring.needs_keys)
    hub = EventHub(
        deps.pool,
        encode=partial(event_frame, links=links),
        closing=closing,
        acquire_seconds=deps.acquire_seconds,
    )
    watch = JobWatch(hub, most=deps.max_waiting)
    lookout = Lookout(
        deps.pool,
        {
            name: Limits(max_concurrency=each.max_concurrency, per_minute=each.requests_per_minute)
            for name, each in deps.catalog.providers.items()
        },
        lease_seconds=deps.lease_seconds,
        acquire_seconds=deps.acquire_seconds,
        traffic_seconds=deps.traffic_seconds,
        history_seconds=deps.history_seconds,
    )
    reader = JobReader(deps, lookout, links)
    places = UploadPlaces(most=deps.max_uploads)
    app.include_router(job_routes(deps, watch, reader, Quotes(deps, lookout)))
    app.include_router(event_routes(deps, Streams(hub, most=deps.max_streams), watch, reader, links))
    app.include_router(attempt_routes(deps))
    app.include_router(image_routes(deps, signer))
    app.include_router(image_history_routes(deps, links))
    app.include_router(stats_routes(deps))
    app.include_router(archive_routes(deps, signer))
    app.include_router(queue_routes(deps, lookout))
    app.include_router(provider_routes(deps))
    app.include_router(alert_routes(deps))
    app.include_router(recipe_routes(deps))
    app.include_router(style_routes(deps))
    app.include_router(schedule_routes(deps))
    app.include_router(upload_routes(deps, places))
    app.include_router(account_routes(deps))
    app.include_router(webhook_routes(deps))
    app.include_router(key_routes(deps, keyring))
    app.include_router(openai_routes(deps, watch, links, places))
    app.include_router(service_routes(deps))
    app.include_router(metrics_routes(deps))
    failures.install(app)
    app.add_middleware(
        Authentication,
        keyring=keyring,
        sessions=Sessions(deps.vault, clock=deps.clock),
        rate=RequestRate(deps.requests_per_minute),
    )
    app.add_middleware(Cookies)
    app.add_middleware(Gate, hosts=deps.allowed_hosts, closing=closing)
    app.add_middleware(RequestIds, failed=failures.internal_error, cut_off=stopping)
    app.add_middleware(ErrorForm)
    app.add_middleware(Measured)
    app.add_middleware(AccessLog)
    return app
