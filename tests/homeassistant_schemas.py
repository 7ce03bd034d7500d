"""Home Assistant's own schemas on a device announcement, read from standard input; runs in a Python that has Home Assistant.

Every entity passes the discovery schema of its platform. Where the version knows device discovery (2024.12), the whole payload
passes that schema, too.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import tempfile
from typing import Any

from homeassistant import const
from homeassistant.components.mqtt import abbreviations
from homeassistant.core import HomeAssistant


def expanded(part: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Abbreviated keys written out, as Home Assistant does."""
    return {names.get(key, key): value for key, value in part.items()}


async def check(payload: dict[str, Any]) -> str:
    """What was accepted; an exception of the schemas otherwise."""
    # Templates are checked by an instance.
    home = HomeAssistant(tempfile.mkdtemp()) if HomeAssistant.__init__.__code__.co_argcount > 1 else HomeAssistant()
    device = expanded(payload["dev"], abbreviations.DEVICE_ABBREVIATIONS)
    origin = expanded(payload["o"], abbreviations.ORIGIN_ABBREVIATIONS)
    for key, entity in payload["cmps"].items():
        full = expanded(entity, abbreviations.ABBREVIATIONS)
        platform = full.pop("platform", None) or full.pop("p")
        module = importlib.import_module(f"homeassistant.components.mqtt.{platform}")
        taken = module.DISCOVERY_SCHEMA(full | {"device": device, "origin": origin})
        missing = set(full) - set(taken)
        if missing:
            raise SystemExit(f"{key}: not known to Home Assistant: {sorted(missing)}")
    whole = "entities"
    try:
        schemas = importlib.import_module("homeassistant.components.mqtt.schemas")
    except ImportError:
        schemas = None
    if hasattr(schemas, "DEVICE_DISCOVERY_SCHEMA"):
        parts = {"device": device, "origin": origin}
        cmps = {k: expanded(v, abbreviations.ABBREVIATIONS | {"p": "platform"}) for k, v in payload["cmps"].items()}
        schemas.DEVICE_DISCOVERY_SCHEMA(parts | {"components": cmps})
        whole = "device and entities"
    await home.async_stop(force=True)
    return f"accepted by Home Assistant {const.__version__}: {whole}, {len(payload['cmps'])} of them"


if __name__ == "__main__":
    print(asyncio.run(check(json.load(sys.stdin))))
