"""The whole MQTT contract in one table, and as AsyncAPI 3.0 (https://www.asyncapi.com/docs/reference/specification/v3.0.0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import Struct

from device import __version__
from device.messaging.commands import REQUESTS, Answer
from device.messaging.payloads import Ack, Health, Info, Stats, Status
from device.messaging.topics import ROOT
from device.records import Detection, Event, Interval
from device.schemas import describe

__all__ = ["TOPICS", "Topic", "asyncapi", "schema_of"]


@dataclass(frozen=True)
class Topic:
    """One row of the contract."""

    leaf: str
    """Below holonode/v1/<device-id>/; a part in braces stands for anything."""
    sends: bool
    """Whether the box publishes it; it reads the others."""
    qos: Literal[0, 1]
    retained: bool
    payload: type[Struct] | None
    """None: bytes (PNG, ZIP)."""
    summary: str


TOPICS: tuple[Topic, ...] = (
    Topic("status", True, 1, True, Status, "Whether the box is there; `offline` is its last will."),
    Topic("info", True, 1, True, Info, "What the box is: versions, instrument, models, configuration without secrets."),
    Topic("health", True, 1, True, Health, "Checks; the worst of them is the whole."),
    Topic("stats", True, 0, False, Stats, "Once a minute: what was done, what waits, how warm it is."),
    Topic("detections", True, 1, False, Detection, "One particle."),
    Topic("intervals", True, 1, False, Interval, "One sample: volume, counts, concentrations, with their intervals."),
    Topic("events", True, 1, False, Event, "Something a person may need to know."),
    Topic("media/{id}", True, 1, False, None, "A picture (PNG) or a support bundle (ZIP), on request only."),
    *(Topic(f"request/{name}", False, 1, False, kind, (kind.__doc__ or "").strip()) for name, kind in REQUESTS.items()),
    Topic("response/{command}", True, 1, False, Answer, "What a request came to; `busy` is answered at QoS 0."),
    Topic("ack", False, 1, False, Ack, "From a collector: it has committed everything up to `seq`."),
)


def schema_of(leaf: str) -> type[Struct] | None:
    """The payload of a topic that the box publishes; KeyError for one that isn't in the contract."""
    for topic in TOPICS:
        head = topic.leaf.partition("{")[0]
        if topic.sends and (leaf == topic.leaf or ("{" in topic.leaf and leaf.startswith(head) and leaf != head)):
            return topic.payload
    raise KeyError(leaf)


def asyncapi() -> dict[str, Any]:
    """The contract as AsyncAPI 3.0, from the table and the records' own schemas."""
    kinds = [topic.payload for topic in TOPICS if topic.payload is not None]
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    describe(schemas, *kinds)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Holonode",
            "version": __version__,
            "description": "MQTT 5 (3.1.1 where the broker lacks it). Records carry (device_id, spool_id, seq): the wire is "
            "at-least-once, that triple tells what came twice. Retained requests are ignored.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {"host": "{host}:{port}", "protocol": "mqtt", "protocolVersion": "5", "variables": _server_variables()}
        },
        "channels": {_id(topic): _channel(topic) for topic in TOPICS},
        "operations": {_id(topic): _operation(topic) for topic in TOPICS},
        "components": {"schemas": schemas},
    }


def _server_variables() -> dict[str, Any]:
    return {
        "host": {"default": "127.0.0.1", "description": "mqtt.url of the configuration"},
        "port": {"default": "1883", "description": "8883 with TLS"},
    }


def _id(topic: Topic) -> str:
    return topic.leaf.replace("/", "_").replace("{", "").replace("}", "")


def _channel(topic: Topic) -> dict[str, Any]:
    names = ["device_id", *(part[1:-1] for part in topic.leaf.split("/") if part.startswith("{"))]
    return {
        "address": f"{ROOT}/{{device_id}}/{topic.leaf}",
        "summary": topic.summary,
        "parameters": {name: {"description": _PARAMETERS[name]} for name in names},
        "messages": {"message": _message(topic)},
        "bindings": {"mqtt": {"bindingVersion": "0.2.0"}},
    }


_PARAMETERS = {
    "device_id": "Lower-case letters, digits, hyphens: device.id of the configuration.",
    "id": "A detection's id, or a support bundle's.",
    "command": "The request's command, or what the MQTT 5 ResponseTopic names below response/.",
}


def _message(topic: Topic) -> dict[str, Any]:
    if topic.payload is None:
        return {"contentType": "application/octet-stream", "payload": {"type": "string", "format": "binary"}}
    return {"contentType": "application/json", "payload": {"$ref": f"#/components/schemas/{topic.payload.__name__}"}}


def _operation(topic: Topic) -> dict[str, Any]:
    channel = f"#/channels/{_id(topic)}"
    operation: dict[str, Any] = {
        "action": "send" if topic.sends else "receive",
        "channel": {"$ref": channel},
        "summary": topic.summary,
        "messages": [{"$ref": f"{channel}/messages/message"}],
        "bindings": {"mqtt": {"qos": topic.qos, "retain": topic.retained, "bindingVersion": "0.2.0"}},
    }
    if topic.leaf.startswith("request/"):
        operation["reply"] = {"channel": {"$ref": "#/channels/response_command"}}
    return operation
