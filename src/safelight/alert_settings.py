"""What `[alerts]` in the settings may say: whom to tell, how often, and where each rule begins."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from safelight.domain.alerts import DEFAULTS, Measure, Policy, Rule, Terms

_BOUNDS = {
    Measure.BELOW: ("warning_below", "critical_below"),
    Measure.AFTER: ("warning_after_seconds", "critical_after_seconds"),
    Measure.AT: ("warning_at_percent", "critical_at_percent"),
    Measure.NONE: (),
}
OFF = 0.0
"""A bound that is never passed."""


class AlertRuleSettings(BaseModel):
    """One rule of alerts. What is not set is as the rule has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    enabled: bool = True
    """`false` turns the rule off."""
    warning_below: float | None = Field(default=None, ge=0, le=1)
    """A share under which it warns; 0: it never does. Of `success_rate`."""
    critical_below: float | None = Field(default=None, ge=0, le=1)
    """A share under which it is critical; 0: it never is."""
    warning_after_seconds: float | None = Field(default=None, ge=0)
    """After so long it warns; 0: it never does. Of the rules that go by time."""
    critical_after_seconds: float | None = Field(default=None, ge=0)
    """After so long it is critical; 0: it never is."""
    warning_at_percent: float | None = Field(default=None, ge=0)
    """From so much on it warns; 0: it never does. Of `budget`, which tells from 50 percent on."""
    critical_at_percent: float | None = Field(default=None, ge=0)
    """From so much on it is critical; 0: it never is."""
    window_seconds: float | None = Field(default=None, gt=0, le=2_592_000)
    """How far it looks back; of `success_rate`, `webhook` (disabled ones), `uncertain_spend` and `schedule_at_risk`."""
    least_images: int | None = Field(default=None, ge=1, le=10_000)
    """With fewer images that ended in its window it says nothing. Of `success_rate`."""
    remind_seconds: float | None = Field(default=None, gt=0)
    """What goes on is told again after this; default: as of all rules."""
    urls: list[SecretStr] | None = None
    """Who is told of it, in the place of `alerts.urls`."""

    def terms(self, rule: Rule) -> Terms:
        own = DEFAULTS[rule]
        warning, critical = own.warning, own.critical
        if names := _BOUNDS[own.measure]:
            warning, critical = (
                before if (given := getattr(self, name)) is None else None if given == OFF else given
                for name, before in zip(names, (warning, critical), strict=True)
            )
        return Terms(
            measure=own.measure,
            warning=warning,
            critical=critical,
            window_seconds=self.window_seconds or own.window_seconds,
            least_images=self.least_images or own.least_images,
            remind_seconds=self.remind_seconds or own.remind_seconds,
        )


class AlertSettings(BaseModel):
    """Whom an operator wants told of what."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    urls: list[SecretStr] = Field(default_factory=list)
    """Services that are told of every alert, as Apprise writes them: `slack://…`, `mailto://…`, `json://…`. They hold
    secrets, and are never shown."""
    critical_urls: list[SecretStr] = Field(default_factory=list)
    """Services that are told of what is critical, besides."""
    every_seconds: float = Field(default=30.0, gt=0, le=3600)
    """How often the rules are looked at, by one process for all."""
    remind_seconds: float = Field(default=14_400.0, gt=0)
    """What goes on is told again after this."""
    clear_seconds: float = Field(default=300.0, ge=0)
    """What was found is over, and told so, when it has not been found for this long."""
    send_seconds: float = Field(default=30.0, gt=0, le=300)
    """Services that have not taken a message by then are asked again later."""
    rules: dict[Rule, AlertRuleSettings] = Field(default_factory=dict)
    """`[alerts.rules.success_rate]` and so on; the fields of a rule are below."""

    @model_validator(mode="after")
    def _known_fields(self) -> AlertSettings:
        for rule, given in self.rules.items():
            foreign = given.model_fields_set - set(fields_of(rule))
            if foreign:
                raise ValueError(f"rule `{rule}` has no `{min(foreign)}`; it has {', '.join(fields_of(rule))}")
        return self

    def policy(self) -> Policy:
        terms = {
            rule: given.terms(rule) for rule in Rule if (given := self.rules.get(rule, AlertRuleSettings())).enabled
        }
        return Policy(
            terms=terms,
            remind_seconds=self.remind_seconds,
            clear_seconds=self.clear_seconds,
            every_seconds=self.every_seconds,
        )


def fields_of(rule: Rule) -> tuple[str, ...]:
    """What may be set of a rule."""
    terms = DEFAULTS[rule]
    window = ("window_seconds",) if terms.window_seconds else ()
    least = ("least_images",) if terms.least_images else ()
    return ("enabled", *_BOUNDS[terms.measure], *window, *least, "remind_seconds", "urls")
