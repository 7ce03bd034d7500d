"""Records of version 1, frozen: how one is read as a record of today.

They differ in one thing: a detection had two fixed slots for its models, `model{reconstruction, classifier}`, null where
nobody took that part. `records_1.json` holds their schemas as they were printed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

__all__ = ["EARLIER", "models_of", "schemas", "upgraded"]

EARLIER: Final = b'/1"'
"""In every record of version 1, and in few others."""

_KINDS: Final = ("detection", "interval", "event")
_SCHEMAS: Final = {f"holonode.{kind}/1": f"holonode.{kind}/2" for kind in _KINDS}
_SLOTS: Final = ("reconstruction", "classifier")


def upgraded(record: Any) -> Any:
    """A record of version 1, as JSON says it, in the form of version 2; anything else as it is."""
    schema = record.get("schema") if isinstance(record, dict) else None
    if not isinstance(schema, str) or schema not in _SCHEMAS:
        return record
    found = {**record, "schema": _SCHEMAS[schema]}
    if "model" in found:
        found["models"] = models_of(found.pop("model"))
    return found


def models_of(slots: Any) -> Any:
    """The models by role, of those slots that are taken; what are no slots as it is."""
    if not isinstance(slots, Mapping):
        return slots
    return {role: slots[role] for role in _SLOTS if slots.get(role) is not None}


def schemas() -> dict[str, dict[str, Any]]:
    """The published JSON Schemas by record: detection, interval, event."""
    return json.loads((Path(__file__).parent / "records_1.json").read_text(encoding="utf-8"))
