"""What lies within the payloads whose parts are made elsewhere: each has a type of its own, and the contract prints it.

A payload's Struct is read by who knows nothing of configuration or store (the fleet); its parts are named here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from msgspec import Struct

from device.config import Config
from device.drivers.ports import EnvironmentReading
from device.frames import Clock
from device.instrument import Instrument
from device.messaging.homeassistant import Announcement
from device.messaging.payloads import Armed, Check, Info, Stats
from device.messaging.report import LinkFigures
from device.messaging.request_messages import Counts
from device.records import ModelUse, Role, Stamp, Whole
from device.settings import Value
from device.storage.outbox import OutboxCounters
from device.storage.review import Counters as ReviewCounters

__all__ = ["ANSWERS", "PARTS"]


class Software(Struct, frozen=True, kw_only=True):
    """Versions."""

    holonode: str
    """Of this program."""
    runtime: str
    """What runs the networks, and its version."""
    numpy: str
    """Of NumPy."""


@dataclass
class OutboxFigures(OutboxCounters):
    """Since the service started."""

    evicted: Whole = 0
    """Sent rows dropped for want of room, since the store was opened."""


class CameraFigures(Struct, frozen=True, kw_only=True):
    """Of a real camera, since it was opened."""

    state: str
    """closed, running, or lost and tried again."""
    frames: Whole
    """That came."""
    exceptions: Whole
    """Calls that raised."""
    silences: Whole
    """Times that no frame came in time."""
    repeats: Whole
    """Frames that were the one before again."""
    slow_closes: Whole
    """Times that closing took too long."""
    restarts: Whole
    """Times that it was closed and opened anew."""
    lost: Whole
    """Times that it gave no frames even so."""
    recovered: Whole
    """Times that it came back."""
    calls_abandoned: Whole
    """Calls that were given up because they didn't return."""
    calls_stuck: Whole
    """Of those, how many have not returned yet."""


class OpticsFigures(Struct, frozen=True, kw_only=True):
    """Departure of each figure from its baseline; null before there is one."""

    level: float | None
    """Of the background's level, as a share of it."""
    saturated: float | None
    """Of the share of saturated pixels."""
    sharpness: float | None
    """Of the particles' fringes, as a share of their sharpness."""
    dirt: float | None
    """Of the share of the background that is dirty."""
    fringes: float | None
    """Of the contrast of the background's fringes."""
    stuck: float | None
    """Of the share of the window where particles stick."""


class HomeAssistantDevice(Struct, frozen=True, kw_only=True):
    """As Home Assistant lists the box."""

    ids: tuple[str, ...]
    """What it is known by (identifiers)."""
    name: str
    """As shown."""
    mf: str
    """Manufacturer."""
    mdl: str
    """Model: the instrument's name."""
    sw: str
    """Version of the program."""


class Origin(Struct, frozen=True, kw_only=True):
    """This program."""

    name: str
    """What it is called."""
    sw: str
    """Its version."""


class HomeAssistantEntity(Struct, frozen=True, kw_only=True):
    """One entity, by Home Assistant's names."""

    p: Literal["sensor", "binary_sensor", "button"]
    """Platform: the kind of entity."""
    name: str
    """As shown."""
    unique_id: str
    """What it is known by for ever."""
    state_topic: str = ""
    """Where its state is published."""
    value_template: str = ""
    """Takes the state out of what is published there (Jinja)."""
    command_topic: str = ""
    """Where a button's press goes."""
    payload_press: str = ""
    """What a press sends."""
    payload_on: str = ""
    """State that counts as on."""
    payload_off: str = ""
    """State that counts as off."""
    availability_topic: str = ""
    """Where it is told whether the box is there."""
    availability_template: str = ""
    """Takes that out of what is published there (Jinja)."""
    device_class: str = ""
    """What is measured, by Home Assistant's names."""
    state_class: str = ""
    """How it may be summed up: measurement."""
    entity_category: str = ""
    """diagnostic: not among the main figures."""
    unit_of_measurement: str = ""
    """Unit of the state."""
    suggested_display_precision: int = 0
    """Digits behind the point."""
    expire_after: int = 0
    """Seconds after which a state that isn't renewed is unavailable."""
    icon: str = ""
    """By Home Assistant's names."""


class Sampling(Struct, frozen=True, kw_only=True):
    """Of `start` and `stop`."""

    sampling: Literal["started", "stopped"]
    """Whether samples are taken from then on."""
    applies: str = ""
    """From when on."""


class Applies(Struct, frozen=True, kw_only=True):
    """Of `sample_now`."""

    applies: str
    """From when on."""


class Changed(Struct, frozen=True, kw_only=True):
    """Of `set`."""

    settings: dict[str, Value]
    """All that is changed from afar, by dotted key."""
    config_hash: str
    """Of the configuration that comes of it: 16 hex digits of its SHA-256."""
    applies: str
    """From when on."""


class Sent(Struct, frozen=True, kw_only=True):
    """Of `media`."""

    topic: str
    """Below the device's root."""
    bytes: int
    """How large it is."""
    content_type: str
    """image/png or application/zip."""


class Activated(Struct, frozen=True, kw_only=True):
    """Of `activate` and `rollback`."""

    active: ModelUse
    """The model in use."""
    changed: bool
    """False: it was in use already."""
    applies: str
    """From when on."""


class Preflighted(Struct, frozen=True, kw_only=True):
    """Of `arm`."""

    armed: bool
    """Whether the box is armed now."""
    reason: str | None
    """Why although checks failed, as `force` said; None: it said nothing."""
    status: Literal["ok", "warning", "failed"]
    """Of the worst check."""
    at: Stamp
    """When it was looked at."""
    checks: tuple[Check, ...]
    """All of them."""
    days: float
    """That the box is to last by itself."""
    failed: tuple[str, ...]
    """Names of the checks that failed."""
    next_wake: str | None
    """The schedule's next sample, in its zone and in UTC, for people; None: samples follow each other."""
    shortened: tuple[str, ...] = ()
    """What was left out because the broker takes no more."""


class Bundled(Struct, frozen=True, kw_only=True):
    """Of `support_bundle`."""

    id: str
    """What `media` fetches it by."""
    bytes: int
    """How large it is."""
    file: str
    """In the store's folder."""
    fetch: str
    """The command that sends it."""


class Updated(Struct, frozen=True, kw_only=True):
    """Of `update`."""

    release: str | None
    """Of the signed list, newer than what runs; None: none is."""
    models: tuple[str, ...]
    """Likewise."""
    passed_over: str
    """Why the newest release is not taken, where it is not."""
    done: tuple[str, ...]
    """What was done, for a person."""


PARTS: dict[type[Struct], dict[str, Any]] = {
    Info: {
        "software": Software | None, "instrument": Instrument | None, "models": dict[Role, ModelUse] | None, "config": Config | None,
        "armed": Armed | None, "settings": dict[str, Value] | None,
    },
    Stats: {
        "outbox": OutboxFigures | None, "clock": Clock | None, "delivery": LinkFigures | None,
        "environment": EnvironmentReading | None, "review": ReviewCounters | None, "camera": CameraFigures | None,
        "optics": OpticsFigures | None, "commands": Counts | None,
    },
    Announcement: {"dev": HomeAssistantDevice, "o": Origin, "cmps": dict[str, HomeAssistantEntity]},
}  # fmt: skip
"""Type by field."""

ANSWERS: dict[str, type[Struct]] = {
    "start": Sampling, "stop": Sampling, "sample_now": Applies, "set": Changed, "media": Sent, "arm": Preflighted,
    "activate": Activated, "rollback": Activated, "support_bundle": Bundled,
    "update": Updated,
}  # fmt: skip
"""What `data` of an answer holds, by command."""
