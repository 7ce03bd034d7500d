"""What is watched for, and who is told: `holonode-fleet watch --config FILE`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from device.errors import InputError

__all__ = ["EmailSettings", "LevelRule", "MqttChannelSettings", "Rules", "WatchSettings", "WebhookSettings", "checked"]

Seconds = Annotated[float, Meta(ge=0, le=31_622_400)]
Positive = Annotated[float, Meta(gt=0)]


class LevelRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A class that is worth a word beyond a concentration."""

    label: Annotated[str, Meta(min_length=1, max_length=64)]
    """As boxes count it; total: all of them."""
    above: Positive
    """Particles per m3 of air or per mL of liquid. Told where the lower end of the 95 % interval is above it."""
    below: Positive | None = None
    """Over where the concentration is below it; left out: 0.8 of `above`."""
    hours: Annotated[int, Meta(ge=1, le=168)] = 1
    """That are added up, the running one among them."""
    devices: tuple[str, ...] = ()
    """Ids; empty: all."""

    @property
    def over_below(self) -> float:
        """Where it ends."""
        return 0.8 * self.above if self.below is None else self.below


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When something is wrong; 0 switches a rule off."""

    silent_after_s: Seconds = 3600.0
    """Without a word or a record of a box that nobody stopped."""
    offline_after_s: Seconds = 600.0
    """After a box went without a word (its last will)."""
    health_after_s: Seconds = 600.0
    """That a check of `health` has not been ok: drift of the optics, a calibration that ends, the disk, the clock, delivery."""
    waiting_longest_s: Seconds = 3600.0
    """That a record has waited in a box's outbox although the box is connected."""
    clear_after_s: Seconds = 300.0
    """That a condition must have been over before its alarm is."""
    levels: tuple[LevelRule, ...] = ()
    """Classes that are watched."""


class EmailSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By SMTP."""

    host: str
    """Mail server."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 587
    """Of it."""
    security: Annotated[str, Meta(pattern="^(starttls|tls|none)$")] = "starttls"
    """none: only to a server on this machine."""
    username: str = ""
    """At the server; empty: without."""
    password_file: str = ""
    """Holds the password, readable by this user alone."""
    sender: str
    """Address."""
    recipients: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Addresses."""


class WebhookSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By an HTTP POST of JSON."""

    url: Annotated[str, Meta(pattern="^https?://")]
    """https://..., or http:// on this machine."""
    secret_file: str = ""
    """Holds a key: the header X-Holonode-Signature is then the HMAC-SHA-256 of the body, in hex."""


class MqttChannelSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """On the broker that is watched."""

    topic: Annotated[str, Meta(pattern="^[^+#\\x00]{1,200}$")] = "holonode/fleet/alarms"
    """The device's id follows behind a slash."""


class WatchSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    every_s: Annotated[float, Meta(ge=1, le=3600)] = 30.0
    """From one look to the next."""
    rules: Rules = Rules()
    email: dict[str, EmailSettings] = field(default_factory=dict)
    """By a name of your own."""
    webhook: dict[str, WebhookSettings] = field(default_factory=dict)
    """By a name of your own."""
    mqtt: MqttChannelSettings | None = None
    """None: not told there."""


def checked(settings: WatchSettings) -> WatchSettings:
    """As it came; InputError where two settings can't go together."""
    for rule in settings.rules.levels:
        if rule.over_below > rule.above:
            raise InputError(
                "a level would end above where it begins", where=f"rules.levels, label {rule.label}",
                expected=f"below at most {rule.above:g}", got=rule.over_below,
            )  # fmt: skip
    for name, mail in settings.email.items():
        if mail.security == "none" and mail.host not in ("localhost", "127.0.0.1", "::1"):
            raise InputError(
                "mail would go through a network unencrypted", where=f"email.{name}.security", expected="starttls or tls",
                got="none", remedy="A server on this machine may do without.",
            )  # fmt: skip
    return settings
