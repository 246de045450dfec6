"""Settings: `safelight.toml`, then the environment (`SAFELIGHT_…`), which wins. Read here and nowhere else."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from safelight.alert_settings import AlertSettings
from safelight.storage.place import BucketPlace, Folder, parse_place

VENDOR_KEYS = {
    "gemini": "GEMINI_API_KEY",
    "openai": "OPENAI_API_KEY",
    "replicate": "REPLICATE_API_TOKEN",
    "fal": "FAL_KEY",
}
"""Where each kind's key is found when its settings hold none: the names that its users have set already."""

PLACEHOLDER = "placeholder"
RESTORING = "restoring"
"""A file of the home while a backup is brought into it."""
MOST_WORKERS = 64
_CONFIG_FILE = "safelight.toml"


class ProviderSettings(BaseModel):
    """One account at a vendor."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: str
    """Which vendor's protocol: a kind that is installed, such as `gemini`."""
    base_url: str | None = None
    """Instead of the vendor's own address: a sandbox, a proxy, a compatible server."""
    model: str | None = None
    """Used when a request names none."""
    api_key: SecretStr | None = None
    """Default: the vendor's usual variable, such as `GEMINI_API_KEY`, if `base_url` is not set."""
    max_concurrency: int = Field(default=8, ge=1, le=1000)
    """Calls in flight at once, over all workers."""
    requests_per_minute: int | None = Field(default=None, ge=1, le=1_000_000)
    """Calls begun within any 60 seconds, over all workers; default: as many as come."""
    models: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Models that the vendor's own data does not list, such as those of a compatible server."""


class StorageSettings(BaseModel):
    """How a bucket is reached. Credentials are not among them: they come from the vendor's own variables, or from the
    machine's role."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    endpoint: str | None = None
    """Instead of the vendor's own address, such as `http://minio:9000`; default for S3: `AWS_ENDPOINT_URL_S3` or
    `AWS_ENDPOINT_URL`."""
    region: str | None = None
    """Of an S3 bucket; default `AWS_REGION` or `AWS_DEFAULT_REGION`, then `us-east-1`."""
    timeout_seconds: float = Field(default=30.0, gt=0, le=300)
    """Within this each operation on the bucket has succeeded or failed, whatever it takes."""


class CreditSettings(BaseModel):
    """What a picture costs an account that pays in credits."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    default: int = Field(default=1, ge=0, le=1_000_000)
    """Credits for a picture by a model that has no price of its own."""
    models: dict[str, Annotated[int, Field(ge=0, le=1_000_000)]] = Field(default_factory=dict)
    """Credits by model, as `model` or `provider/model`."""


class Settings(BaseSettings):
    """Everything that can be set. Durations are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="SAFELIGHT_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        populate_by_name=True,
    )

    home: Path = Field(default_factory=lambda: default_home())
    """The data folder: `pg/ blobs/ staging/ recipes/`."""
    database_url: str | None = None
    """A PostgreSQL of yours; without it Safelight runs its own in `home`."""
    storage_url: str | None = None
    """Where pictures are kept: `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`;
    default `home/blobs`."""
    storage: StorageSettings = Field(default_factory=lambda: StorageSettings())
    """How a bucket is reached; its fields are below."""
    bind: str = "127.0.0.1:8420"
    """`host:port` that the API listens on."""
    public_url: str | None = None
    """How clients reach the API, for links; default: the address that they used."""
    allowed_hosts: Annotated[frozenset[str], NoDecode] = frozenset()
    """More names that clients may call the API by, separated by commas; loopback's and those of `bind` and `public_url`
    always are. `*` allows any."""
    dashboard: bool = True
    """Pages for people at `/dashboard`."""
    max_streams: int = Field(default=2000, ge=0, le=3000)
    """Open event streams per API process, which holds 4000 connections in all; further ones are refused."""
    requests_per_minute: int | None = Field(default=None, ge=1, le=1_000_000)
    """Requests a minute that one key, or one address where no key is needed, may make of each API process; further ones
    are refused. Default: as many as come. See [request rate](#request-rate)."""
    url: str = "http://127.0.0.1:8420"
    """The API that the command line talks to."""
    api_key: SecretStr | None = None
    """The key that the command line calls it with, `sl_…`; none is needed where the service runs open."""
    openai_wait_seconds: float = Field(default=550.0, ge=1, le=86_400)
    """How long a request in OpenAI's form waits for its pictures, and how long these may take. OpenAI's clients wait
    for 600 seconds unless told otherwise."""
    openai_aliases: dict[str, str] = Field(default_factory=dict)
    """Other names for models in requests in OpenAI's form: `{"gpt-image-1": "gemini/gemini-3.1-flash-image"}`."""
    url_expiry_seconds: int = Field(default=3600, ge=1, le=604_800)
    """How long a signed link to a picture is good, at most; where keys are needed."""
    redirect_downloads: bool = False
    """Send who asks for a picture to the storage itself, where it can sign addresses of its own, for some minutes."""
    require_idempotency_key: bool = False
    """Refuse a submit without an `Idempotency-Key`, so that no client can forget it."""
    metrics: bool = True
    """Tell `GET /metrics` to whoever asks the API: figures that say nothing of any account."""
    metrics_bind: str | None = None
    """`host:port` where a worker process tells its own figures, for a host without an API; of several workers each
    takes the next free port. Default: nowhere."""
    log_level: str = "info"
    """`debug`, `info`, `warning` or `error`."""
    log_json: bool = False
    """Logs as one JSON object a line."""
    traces: bool | None = None
    """Send traces by OTLP over HTTP, with the extra `otel`; where to is said by OpenTelemetry's own variables. Default:
    when `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set."""

    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    """Accounts at vendors by the name that requests use; their fields are below."""
    default_provider: str | None = None
    """Used when a request names none; default: the only provider that is configured."""
    placeholder: bool = False
    """Let the placeholder be the default provider."""

    account_billing: Literal["none", "credits", "usd"] = "none"
    """What a new account pays with in advance: nothing, credits, or US dollars by estimate. Accounts that exist keep
    theirs."""
    credits: CreditSettings = Field(default_factory=CreditSettings)
    """What a picture costs in credits; its fields are below."""
    adoption_window_seconds: float = Field(default=86_400.0, gt=0)
    """What is held for an image of unknown outcome is held for this long; a picture that comes later costs nothing."""

    max_queued_images: int | None = Field(default=200_000, ge=1)
    """Images that may wait, of all accounts; a submit beyond it is refused. `null`: any number."""

    workers: int = Field(default=1, ge=1, le=MOST_WORKERS)
    """Worker processes of `serve`."""
    slots: int = Field(default=32, ge=1, le=1000)
    """Paid calls in flight per worker process."""
    finish_slots: int = Field(default=4, ge=1, le=100)
    """Images per worker process that only need finishing: nothing is bought for them."""
    render_processes: int = Field(default=1, ge=1, le=64)
    """Processes per worker that decode and resize."""

    min_free_bytes: int = Field(default=256 * 1024 * 1024, ge=0)
    """Nothing is bought while the staging folder's disk has less free space than this."""

    lease_seconds: float = Field(default=15.0, gt=0)
    """A worker that is silent for this long has lost its images to the others. Beats come at a third of it."""
    grace_seconds: float = Field(default=15.0, ge=0)
    """After a call's deadline this much passes before its outcome counts as lost."""
    sweep_seconds: float = Field(default=10.0, gt=0)
    """How often what was lost is looked for and healed."""
    admission_seconds: float = Field(default=1.0, gt=0)
    """How often the backlog is looked at when nothing else gives reason to."""
    schedule_seconds: float = Field(default=5.0, gt=0)
    """How often every process looks for schedules whose time has come."""
    ready_margin_seconds: float = Field(default=600.0, ge=0)
    """What a schedule's job is taken to need until three of them are known: with less time left until its `ready_by`,
    `schedule.at_risk` is told."""
    dequeue_seconds: float = Field(default=2.0, gt=0)
    """How often a worker looks into the queue when no notice came."""
    retry_unit_seconds: float = Field(default=1.0, ge=0)
    """The first pause before an image is tried again; later ones are longer, up to 60 of it."""
    poll_seconds: float = Field(default=1.0, gt=0)
    """How often a vendor that works on jobs of its own is asked after one."""
    probe_seconds: float = Field(default=10.0, gt=0)
    """A provider that is paused, because its key, balance or service is gone, is tried again after this; then after
    twice that, and so on."""
    probe_max_seconds: float = Field(default=300.0, gt=0)
    """The longest such pause."""
    run_limit_seconds: float = Field(default=86_400.0, gt=0)
    """A run whose deadline lets it go on ends after this at the latest."""
    stuck_seconds: float = Field(default=600.0, gt=0)
    """An image that has not moved for this long, although nothing explains it, is told of as `image.stuck`."""
    event_retention_days: float = Field(default=90.0, gt=0, le=36_500)
    """Events of a job that ended are forgotten when its newest one is this old. The job itself stays."""
    delivery_retention_days: float = Field(default=30.0, gt=0, le=36_500)
    """Webhook messages that were delivered, or given up, are forgotten after this."""
    image_retention_days: float | None = Field(default=None, gt=0, le=36_500)
    """A job that ended so long ago is removed, as if its owner had deleted it: pictures, prompts, metadata. Default:
    never."""
    prompt_retention_days: float | None = Field(default=None, gt=0, le=36_500)
    """The prompts of a job that ended so long ago are removed, and no more. Default: never."""
    upload_retention_days: float = Field(default=30.0, gt=0, le=36_500)
    """An upload is deleted this long after it was sent last, or when the last job that is made from it has ended."""
    drain_seconds: float = Field(default=330.0, gt=0)
    """How long `serve` lets its worker finish calls that were sent before it stops waiting."""

    alerts: AlertSettings = Field(default_factory=AlertSettings)
    """Who is told when something needs an operator; its fields are below."""

    egress_allow: str = ""
    """What the egress guard lets through beyond public HTTPS on 443 and 8443, separated by commas: a scheme, a network
    and, if not the scheme's own, a port, such as `http://10.1.0.0/16:9000`."""

    secret_key: SecretStr | None = None
    """What webhook secrets are sealed under in the database: 32 bytes in URL-safe base64; several, separated by commas,
    to change it, the newest first. Default: the one in `home/secret.key`, which is made when it is not there."""

    supervised: bool = False
    """Set by `serve` for its processes: they stop when their standard input ends, so that none outlives it."""

    failpoint: str | None = None
    """Tests only: `name:kill@n` or `name:stop@n`."""

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _separated(cls, hosts: Any) -> Any:
        return [host.strip() for host in hosts.split(",") if host.strip()] if isinstance(hosts, str) else hosts

    @field_validator("max_queued_images", mode="before")
    @classmethod
    def _any_number(cls, most: Any) -> Any:
        return None if most == "null" else most  # which TOML and the environment have no other way to say

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, level: str) -> str:
        if level.upper() not in logging.getLevelNamesMapping():
            raise ValueError("must be `debug`, `info`, `warning` or `error`")
        return level

    @field_validator("metrics_bind")
    @classmethod
    def _with_port(cls, bind: str | None) -> str | None:
        if bind is not None and not (bind.rpartition(":")[2].isdecimal() and int(bind.rpartition(":")[2]) <= 65_535):
            raise ValueError("must be `host:port`")
        return bind

    @field_validator("url", "public_url")
    @classmethod
    def _web_address(cls, url: str | None) -> str | None:
        if url is not None:
            require_web_address(url)
        return url

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not re.fullmatch(r"[!-~]+", key.get_secret_value()):
            raise ValueError("has a space or a character beyond ASCII in it")
        return key

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @model_validator(mode="after")
    def _known_default(self) -> Settings:
        if self.default_provider and self.default_provider not in self.all_providers():
            raise ValueError(f"default_provider `{self.default_provider}` is not configured")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file())

    @property
    def is_local(self) -> bool:
        """Whether `bind` is an address that only this machine reaches."""
        host = self.bind.rpartition(":")[0].strip("[]")
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def place(self) -> Folder | BucketPlace:
        """Where pictures are kept. Raises ValueError that says what is wrong with it, without repeating it."""
        if self.storage_url is None:
            return Folder(root=self.home / "blobs")
        endpoint = self.storage.endpoint or (_s3_endpoint() if self.storage_url.startswith("s3:") else None)
        try:
            return parse_place(
                self.storage_url,
                endpoint=endpoint,
                region=self.storage.region,
                timeout_seconds=self.storage.timeout_seconds,
            )
        except ValueError as error:
            raise ValueError(f"SAFELIGHT_STORAGE_URL: {error}") from error

    @property
    def blobs(self) -> Path:
        """The local blob store. Raises ValueError for a storage that is not a local folder."""
        match self.place:
            case Folder(root=root):
                return root
            case BucketPlace() as place:
                raise ValueError(f"{place} is no folder")

    @property
    def sends_traces(self) -> bool:
        """What `traces` says, or else OpenTelemetry's own variables."""
        if self.traces is not None:
            return self.traces
        is_off = _says("OTEL_SDK_DISABLED") == "true" or _says("OTEL_TRACES_EXPORTER") not in ("", "otlp")
        return not is_off and any(map(_says, ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")))

    @property
    def traces_protocol(self) -> str:
        """How the collector is to be spoken to, by OpenTelemetry's variables; `http/protobuf` when they do not say."""
        asked = _says("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or _says("OTEL_EXPORTER_OTLP_PROTOCOL")
        return asked or "http/protobuf"

    def own_key(self) -> str | None:
        """What the command line calls the API with."""
        return self.api_key.get_secret_value() if self.api_key is not None else None

    def all_providers(self) -> dict[str, ProviderSettings]:
        """Those configured, those whose vendor's key is in the environment, and the placeholder."""
        found = dict(self.providers)
        for kind, variable in VENDOR_KEYS.items():
            if kind not in found and vendor_key(variable):
                found[kind] = ProviderSettings(kind=kind)
        found.setdefault(PLACEHOLDER, ProviderSettings(kind=PLACEHOLDER, model="placeholder-1"))
        return found

    def chosen_provider(self) -> str | None:
        """The provider of requests that name none; None when there is no obvious one."""
        if self.default_provider:
            return self.default_provider
        real = [name for name in self.all_providers() if name != PLACEHOLDER]
        if len(real) == 1:
            return real[0]
        return PLACEHOLDER if self.placeholder and not real else None

    def key_of(self, provider: ProviderSettings) -> str | None:
        """Its own; or the vendor's usual variable, which is for the vendor's own address and goes to no other."""
        if provider.api_key is not None:
            return provider.api_key.get_secret_value()
        if provider.base_url is not None:
            return None
        return vendor_key(VENDOR_KEYS.get(provider.kind, ""))


def require_web_address(url: str) -> None:
    """Raises ValueError unless it leads to some host by HTTP. It is not repeated: it may hold a password."""
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0:
            return
    raise ValueError("must be `http://host:port` or `https://host`")


def default_home() -> Path:
    if os.name == "posix" and os.geteuid() == 0:
        return Path("/var/lib/safelight")
    return Path(platformdirs.user_data_dir("safelight", appauthor=False))


def vendor_key(variable: str) -> str | None:
    return (os.environ.get(variable) or None) if variable else None  # noqa: TID251 - this is the place


def _says(variable: str) -> str:
    return os.environ.get(variable, "").strip().lower()  # noqa: TID251 - this is the place


def _s3_endpoint() -> str | None:
    """Where AWS's own tools would look for S3."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return next((found for name in names if (found := os.environ.get(name))), None)  # noqa: TID251 - this is the place


def child_environment(overrides: dict[str, Any]) -> dict[str, str]:
    """This process's environment with `SAFELIGHT_…` settings laid over it, for a process of ours."""
    environment = dict(os.environ)  # noqa: TID251 - this is the place
    for name, value in overrides.items():
        if value is None:
            environment.pop(f"SAFELIGHT_{name.upper()}", None)
        else:
            environment[f"SAFELIGHT_{name.upper()}"] = str(value)
    return environment


def environment_of_its_own(settings: Mapping[str, object]) -> dict[str, str]:
    """For a process of ours: these settings and no others. Nothing of the user's own installation, and no vendor's
    key."""
    cleared = dict.fromkeys(
        name.removeprefix("SAFELIGHT_").lower() for name in child_environment({}) if name.startswith("SAFELIGHT_")
    )
    found = child_environment({**cleared, "config": os.devnull, **settings})
    foreign = (*VENDOR_KEYS.values(), "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return {name: value for name, value in found.items() if name not in foreign}


def config_file() -> Path:
    """Where settings are that the environment does not hold. One that is not there holds none."""
    return Path(os.environ.get("SAFELIGHT_CONFIG") or _CONFIG_FILE).expanduser()  # noqa: TID251 - this is the place


def lacks_its_file() -> bool:
    """Whether SAFELIGHT_CONFIG names what is no file, so that nothing of what was to be set is."""
    path = config_file()
    return path != Path(_CONFIG_FILE) and (path.is_dir() or not path.exists())
