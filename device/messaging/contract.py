"""The whole MQTT contract in one table, and as AsyncAPI 3.0 (https://www.asyncapi.com/docs/reference/specification/v3.0.0)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import Struct

from device import __version__
from device.messaging.details import ANSWERS, PARTS
from device.messaging.homeassistant import Announcement
from device.messaging.payloads import Ack, Health, Info, Stats, Status
from device.messaging.request_messages import REQUESTS, Answer, Set
from device.messaging.topics import ROOT
from device.records import Detection, Event, Interval
from device.records_1 import schemas as earlier_schemas
from device.schemas import describe
from device.settings import SETTABLE

__all__ = ["TOPICS", "Topic", "asyncapi"]

_ROOT = f"{ROOT}/{{device_id}}/"
_BYTES = {"type": "string", "format": "binary"}
_HOME_ASSISTANT = "{prefix}/"
_BIRTH = {"type": "string", "enum": ["online", "offline"]}


@dataclass(frozen=True)
class Topic:
    """One row of the contract."""

    leaf: str
    """Below `root`; a part in braces stands for anything."""
    sends: bool
    """Whether the box publishes it; it reads the others."""
    qos: Literal[0, 1]
    retained: bool
    payload: type[Struct] | Mapping[str, Any]
    """A JSON object, or the schema of what is none."""
    summary: str
    root: str = _ROOT
    content_type: str = "application/json"


TOPICS: tuple[Topic, ...] = (
    Topic("status", True, 1, True, Status, "Whether the box is there; `offline` is its last will."),
    Topic("info", True, 1, True, Info, "What the box is: versions, instrument, models, configuration without secrets."),
    Topic("health", True, 1, True, Health, "Checks; the worst of them is the whole."),
    Topic("stats", True, 0, False, Stats, "Once a minute: what was done, what waits, how warm it is."),
    Topic("detections", True, 1, False, Detection, "One particle."),
    Topic("intervals", True, 1, False, Interval, "One sample: volume, counts, concentrations, with their intervals."),
    Topic("events", True, 1, False, Event, "Something a person may need to know."),
    Topic(
        "media/{id}", True, 1, False, _BYTES, "A picture (PNG) or a support bundle (ZIP), on request only.",
        content_type="application/octet-stream",
    ),
    *(Topic(f"request/{name}", False, 1, False, kind, (kind.__doc__ or "").strip()) for name, kind in REQUESTS.items()),
    Topic("response/{command}", True, 1, False, Answer, "What a request came to; `busy` is answered at QoS 0."),
    Topic("ack", False, 1, False, Ack, "From a collector: it has committed everything from `first` up to `seq`."),
    Topic(
        "device/holonode/{device_id}/config", True, 1, True, Announcement,
        "Home Assistant's discovery, where `homeassistant.enabled` says so; an empty payload takes it back.", root=_HOME_ASSISTANT,
    ),
    Topic(
        "status", False, 1, True, _BIRTH, "From Home Assistant: at `online` the announcement is made again.", root=_HOME_ASSISTANT,
        content_type="text/plain",
    ),
)  # fmt: skip


def asyncapi() -> dict[str, Any]:
    """The contract as AsyncAPI 3.0, from the table and the records' own schemas."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Holonode",
            "version": __version__,
            "description": "MQTT 5 (3.1.1 where the broker lacks it). Records carry (device_id, spool_id, seq): the wire is "
            "at-least-once, that triple tells what came twice. Retained requests are ignored. What a broker announces in its "
            "CONNACK binds the box: where it retains nothing or takes QoS 0 alone, nothing is retained, nothing acknowledged; "
            "`shortened` names what was left out for want of room.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {"host": "{host}:{port}", "protocol": "mqtt", "protocolVersion": "5", "variables": _server_variables()}
        },
        "channels": {_id(topic): _channel(topic) for topic in TOPICS},
        "operations": {_id(topic): _operation(topic) for topic in TOPICS},
        "components": {"schemas": _schemas()},
    }


def _schemas() -> dict[str, Any]:
    """Every payload, with the types of its parts, and the answer to each command."""
    kinds = [topic.payload for topic in TOPICS if isinstance(topic.payload, type)]
    parts = [(kind, field, part) for kind, fields in PARTS.items() for field, part in fields.items()]
    types = [*kinds, *(part for *_, part in parts), *ANSWERS.values()]
    found, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    describe(schemas, *types)
    for (kind, field, _), schema in zip(parts, found[len(kinds) :], strict=False):
        properties = schemas[kind.__name__]["properties"]
        kept = {key: value for key, value in properties[field].items() if key in ("description", "default")}
        properties[field] = {**schema, **kept}
    schemas[Set.__name__]["properties"]["settings"]["x-settable"] = {key: list(bounds) for key, bounds in SETTABLE.items()}
    answer = schemas.pop(Answer.__name__)
    nothing = {"type": "object", "maxProperties": 0, "additionalProperties": False}
    for name, schema in [*zip(ANSWERS, found[len(kinds) + len(parts) :], strict=True), (_REFUSED, nothing)]:
        data = {"anyOf": [schema, nothing, {"type": "null"}], "description": answer["properties"]["data"]["description"]}
        properties = {**answer["properties"], "data": data}
        schemas[_answer(name)] = {**answer, "title": _answer(name), "properties": properties}
    return schemas | _earlier_schemas()


_EARLIER = {f"{record}s": record for record in earlier_schemas()}
"""Records by topic, of version 1: they waited through an update, and go out as they were made."""


def _earlier_schemas() -> dict[str, Any]:
    """Those of version 1 with their parts, each under its name and version."""
    found: dict[str, Any] = {}
    for schema in earlier_schemas().values():
        named = json.dumps(schema["$defs"])
        named = re.sub(r'"#/\$defs/(\w+)"', r'"#/components/schemas/\1.1"', named)
        found |= {f"{name}.1": {**part, "title": f"{name}.1"} for name, part in json.loads(named).items()}
    return found


_REFUSED = "refused"
"""The answer to what was not understood."""


def _answer(command: str) -> str:
    return f"{Answer.__name__}.{command}"


def _server_variables() -> dict[str, Any]:
    return {
        "host": {"default": "127.0.0.1", "description": "mqtt.url of the configuration"},
        "port": {"default": "1883", "description": "8883 with TLS"},
    }


def _id(topic: Topic) -> str:
    name = re.sub(r"[^a-z]+", "_", topic.leaf).strip("_")
    return name if topic.root == _ROOT else f"homeassistant_{name}"


def _channel(topic: Topic) -> dict[str, Any]:
    address = topic.root + topic.leaf
    return {
        "address": address,
        "summary": topic.summary,
        "parameters": {name: {"description": _PARAMETERS[name]} for name in re.findall(r"{(\w+)}", address)},
        "messages": _messages(topic),
        "bindings": {"mqtt": {"bindingVersion": "0.2.0"}},
    }


_PARAMETERS = {
    "device_id": "Lower-case letters, digits, hyphens: device.id of the configuration.",
    "id": "A detection's id, or a support bundle's.",
    "command": "The request's command, or what the MQTT 5 ResponseTopic names below response/.",
    "prefix": "homeassistant.prefix of the configuration.",
}


def _messages(topic: Topic) -> dict[str, Any]:
    payload = topic.payload
    if payload is Answer:
        names = [*ANSWERS, _REFUSED]
        return {name: _message(topic, {"$ref": f"#/components/schemas/{_answer(name)}"}) for name in names}
    schema = {"$ref": f"#/components/schemas/{payload.__name__}"} if isinstance(payload, type) else dict(payload)
    found = {"message": _message(topic, schema)}
    if earlier := _EARLIER.get(topic.leaf):
        message = _message(topic, {"$ref": f"#/components/schemas/{earlier.capitalize()}.1"})
        found["earlier"] = {**message, "summary": "Of version 1: it waited through an update and goes out as it was made."}
    return found


def _message(topic: Topic, schema: dict[str, Any]) -> dict[str, Any]:
    return {"contentType": topic.content_type, "payload": schema}


def _operation(topic: Topic) -> dict[str, Any]:
    channel = f"#/channels/{_id(topic)}"
    operation: dict[str, Any] = {
        "action": "send" if topic.sends else "receive",
        "channel": {"$ref": channel},
        "summary": topic.summary,
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in _messages(topic)],
        "bindings": {"mqtt": {"qos": topic.qos, "retain": topic.retained, "bindingVersion": "0.2.0"}},
    }
    if topic.leaf.startswith("request/"):
        answers = "#/channels/response_command"
        messages = [{"$ref": f"{answers}/messages/{name}"} for name in (topic.leaf.removeprefix("request/"), _REFUSED)]
        operation["reply"] = {"channel": {"$ref": answers}, "messages": messages}
    return operation
