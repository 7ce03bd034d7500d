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
from device.health.armed import Armed
from device.instrument import Instrument
from device.messaging.commands import Counts
from device.messaging.homeassistant import Announcement
from device.messaging.payloads import Check, Info, Stats
from device.messaging.report import LinkFigures
from device.records import Models, ModelUse
from device.settings import Value
from device.storage.outbox import Counters as OutboxCounters
from device.storage.review import Counters as ReviewCounters

__all__ = ["ANSWERS", "PARTS"]


class Software(Struct, frozen=True, kw_only=True):
    """Versions."""

    holonode: str
    runtime: str
    numpy: str


@dataclass
class OutboxFigures(OutboxCounters):
    """Since the service started."""

    evicted: int = 0
    """Sent rows dropped for want of room, since the store was opened."""


class CameraFigures(Struct, frozen=True, kw_only=True):
    """Of a real camera, since it was opened."""

    state: str
    frames: int
    exceptions: int
    silences: int
    repeats: int
    slow_closes: int
    restarts: int
    lost: int
    recovered: int
    calls_abandoned: int
    calls_stuck: int


class OpticsFigures(Struct, frozen=True, kw_only=True):
    """Departure of each figure from its baseline; null before there is one."""

    level: float | None
    saturated: float | None
    sharpness: float | None
    dirt: float | None
    fringes: float | None
    stuck: float | None


class HomeAssistantDevice(Struct, frozen=True, kw_only=True):
    """As Home Assistant lists the box."""

    ids: tuple[str, ...]
    name: str
    mf: str
    mdl: str
    sw: str


class Origin(Struct, frozen=True, kw_only=True):
    """This program."""

    name: str
    sw: str


class HomeAssistantEntity(Struct, frozen=True, kw_only=True):
    """One entity, by Home Assistant's names."""

    p: Literal["sensor", "binary_sensor", "button"]
    name: str
    unique_id: str
    state_topic: str = ""
    value_template: str = ""
    command_topic: str = ""
    payload_press: str = ""
    payload_on: str = ""
    payload_off: str = ""
    availability_topic: str = ""
    availability_template: str = ""
    device_class: str = ""
    state_class: str = ""
    entity_category: str = ""
    unit_of_measurement: str = ""
    suggested_display_precision: int = 0
    expire_after: int = 0
    icon: str = ""


class Sampling(Struct, frozen=True, kw_only=True):
    """Of `start` and `stop`."""

    sampling: Literal["started", "stopped"]
    applies: str = ""
    """From when on."""


class Applies(Struct, frozen=True, kw_only=True):
    """Of `sample_now`."""

    applies: str


class Changed(Struct, frozen=True, kw_only=True):
    """Of `set`."""

    settings: dict[str, Value]
    """All that is changed from afar, by dotted key."""
    config_hash: str
    applies: str


class Sent(Struct, frozen=True, kw_only=True):
    """Of `media`."""

    topic: str
    """Below the device's root."""
    bytes: int
    content_type: str


class Activated(Struct, frozen=True, kw_only=True):
    """Of `activate` and `rollback`."""

    active: ModelUse
    changed: bool
    applies: str


class Preflighted(Struct, frozen=True, kw_only=True):
    """Of `arm`."""

    armed: bool
    reason: str | None
    status: Literal["ok", "warning", "failed"]
    at: str
    checks: tuple[Check, ...]
    days: float
    failed: tuple[str, ...]
    next_wake: str | None
    shortened: tuple[str, ...] = ()


class Bundled(Struct, frozen=True, kw_only=True):
    """Of `support_bundle`."""

    id: str
    bytes: int
    file: str
    """In the store's folder."""
    fetch: str
    """The command that sends it."""


PARTS: dict[type[Struct], dict[str, Any]] = {
    Info: {
        "software": Software | None, "instrument": Instrument | None, "models": Models | None, "config": Config | None,
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
}  # fmt: skip
"""What `data` of an answer holds, by command."""
