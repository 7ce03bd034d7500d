"""Home Assistant finds the box by itself: one retained message that describes the device and its entities.

Format: MQTT device discovery (https://www.home-assistant.io/integrations/mqtt/, "Device discovery payload"; Home Assistant
2024.12 or newer). Entities read the topics that the box publishes anyway. A record that was made before a restart and
delivered late is not shown as the present.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from msgspec import Struct

from device import __version__
from device.config import HomeAssistantConfig
from device.errors import TransientError
from device.messaging.topics import Topics
from device.storage.outbox import Outbox

__all__ = ["Announcement", "Discovery", "components", "discovery"]

STATE_KEY = "homeassistant_topic"
"""In the store: where the box is announced, so that it can be taken back."""

_NOT_NOW = "'' if value_json.historical else "
"""Numbers ignore an empty state (and keep the one they have)."""

_UNITS = {"m^-3": "1/m³", "L^-1": "1/L", "mL^-1": "1/mL"}
Entity = dict[str, Any]


class Announcement(Struct, frozen=True, kw_only=True):
    """The retained message, by Home Assistant's short names."""

    dev: dict[str, Any]
    """The device."""
    o: dict[str, str]
    """Origin: this program."""
    cmps: dict[str, Entity]
    """Its entities, by the end of their unique id."""


@dataclass(frozen=True)
class Discovery:
    """What Home Assistant is told on every connection, and again when it says that it came online."""

    messages: Mapping[str, Announcement | bytes]
    """Retained payload by topic; empty bytes: taken back."""
    birth_topic: str
    """Where Home Assistant says `online`; empty: not listened to."""


def discovery(
    config: HomeAssistantConfig,
    outbox: Outbox,
    *,
    labels: Sequence[str],
    unit: Literal["m^-3", "mL^-1"],
    model: str,
    buttons: Mapping[str, str] | None = None,
) -> Discovery:
    """The announcement as configured; one of an earlier configuration is taken back, and only that.

    A box that was never announced publishes nothing here: a broker may deny it the topic. `buttons`: name by command.
    """
    before, topic = outbox.get_state(STATE_KEY) or "", ""
    messages: dict[str, Announcement | bytes] = {}
    if config.enabled:
        topic = f"{config.prefix}/device/holonode/{outbox.device_id}/config"
        found = components(outbox.device_id, config.expire_after_s, labels, unit, buttons or {})
        messages[topic] = _payload(outbox.device_id, model, found)
        if before != topic:
            _remember(outbox, topic)
    if before and before != topic:
        messages[before] = b""
    return Discovery(messages, f"{config.prefix}/status" if config.enabled else "")


def _remember(outbox: Outbox, topic: str) -> None:
    try:
        outbox.keep({STATE_KEY: topic})
    except TransientError:
        # The disk is full: it is tried at the next start; until then nothing could be taken back.
        return


def _unique(device_id: str) -> str:
    return f"holonode-{device_id}"


def _payload(device_id: str, model: str, found: dict[str, Entity]) -> Announcement:
    return Announcement(
        dev={"ids": [_unique(device_id)], "name": device_id, "mf": "Holonode", "mdl": model, "sw": __version__},
        o={"name": "holonode", "sw": __version__},
        cmps=found,
    )


def components(
    device_id: str, expire_after_s: int, labels: Sequence[str], unit: Literal["m^-3", "mL^-1"], buttons: Mapping[str, str]
) -> dict[str, Entity]:
    """Every entity, by the end of its unique id."""
    topics = Topics(device_id)
    found = {
        **_measurements(topics, labels, unit),
        **_conditions(topics),
    }
    for entity in found.values():
        entity["expire_after"] = expire_after_s
    found |= _link_and_health(topics)
    for command, name in buttons.items():
        found[command] = {"p": "button", "name": name, "command_topic": topics.of(f"request/{command}"), "payload_press": "{}"}
    for key, entity in found.items():
        entity["unique_id"] = f"{_unique(device_id)}-{key}"
        if key != "status":
            entity |= {
                "availability_topic": topics.of("status"),
                "availability_template": "{{ 'online' if value_json.status == 'online' else 'offline' }}",
            }
    return found


def _sensor(name: str, topic: str, template: str, **more: str | int | None) -> Entity:
    entity: Entity = {"p": "sensor", "name": name, "state_topic": topic, "value_template": f"{{{{ {template} }}}}"}
    return entity | {key: value for key, value in more.items() if value is not None}


def _measurements(topics: Topics, labels: Sequence[str], unit: Literal["m^-3", "mL^-1"]) -> dict[str, Entity]:
    """What intervals say. None is 'unknown': nothing could be looked at; 0 is looked and saw none."""
    intervals, in_air = topics.of("intervals"), unit == "m^-3"
    total = "value_json.concentration.total.value if 'total' in value_json.concentration else none"
    volume = "value_json.volume_m3 * 1000" if in_air else "value_json.volume_ml"
    amount = "value_json.volume_m3" if in_air else "value_json.volume_ml"
    return {
        "concentration": _sensor(
            "Concentration", intervals, f"{_NOT_NOW}({total})", unit_of_measurement=_UNITS[unit], state_class="measurement",
            suggested_display_precision=0, icon="mdi:blur",
        ),
        "volume": _sensor(
            "Analysed volume", intervals, f"{_NOT_NOW}({volume} if {amount} is not none else none)",
            unit_of_measurement="L" if in_air else "mL", state_class="measurement", suggested_display_precision=2,
        ),
        **{
            f"count-{label}": _sensor(
                f"Count {label}", intervals,
                f"{_NOT_NOW}(value_json.counts['{label}'].n if value_json.frames.analysed and '{label}' in value_json.counts else none)",
                unit_of_measurement="particles", state_class="measurement", icon="mdi:counter",
            )
            for label in ("total", *labels)
        },
    }  # fmt: skip


def _conditions(topics: Topics) -> dict[str, Entity]:
    """What `stats` say of the box."""
    stats, diagnostic = topics.of("stats"), "diagnostic"

    def surroundings(key: str) -> str:
        return f"value_json.environment.{key} if value_json.environment else none"

    return {
        "last-detection": _sensor("Last detection", stats, "value_json.last_detection_at", device_class="timestamp"),
        "temperature": _sensor(
            "Temperature", stats, surroundings("temperature_c"), device_class="temperature", state_class="measurement",
            unit_of_measurement="°C", entity_category=diagnostic,
        ),
        "humidity": _sensor(
            "Humidity", stats, surroundings("humidity_percent"), device_class="humidity", state_class="measurement",
            unit_of_measurement="%", entity_category=diagnostic,
        ),
        "outbox": _sensor(
            "Records waiting", stats, "value_json.outbox_depth", state_class="measurement", unit_of_measurement="records",
            entity_category=diagnostic, icon="mdi:tray-full",
        ),
    }  # fmt: skip


def _link_and_health(topics: Topics) -> dict[str, Entity]:
    """Retained topics: they don't expire."""
    states = "(value_json.checks if value_json is mapping else value_json) | map(attribute='status') | list"
    return {
        "status": {
            "p": "binary_sensor", "name": "Online", "device_class": "connectivity", "entity_category": "diagnostic",
            "state_topic": topics.of("status"), "payload_on": "online", "payload_off": "offline",
            "value_template": "{{ 'online' if value_json.status == 'online' else 'offline' }}",
        },
        "health": _sensor(
            "Health", topics.of("health"),
            f"'failed' if 'failed' in ({states}) else 'warning' if 'warning' in ({states}) else 'ok'",
            entity_category="diagnostic", icon="mdi:heart-pulse",
        ),
    }  # fmt: skip
