"""`python -m tests.faults.hanging_service STAGE FILE ARGUMENTS...`: the `holonode` command, one stage of which hangs while FILE exists.

Every stage may take two seconds, so that a test needn't wait for a slow box's allowances; as long as in the field where
HOLONODE_TEST_ALLOWANCES=field.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from device.analysis.pipeline import Pipeline
from device.cli import main
from device.drivers.twin import TwinCamera
from device.health.watchdog import Allowances
from device.messaging.link import MqttLink
from device.service import service
from device.storage.outbox import Outbox

ALLOWED_S = 2.0
_STAGES: dict[str, tuple[type, str]] = {
    "camera": (TwinCamera, "capture"),
    "analysis": (Pipeline, "analyse"),
    "store": (Outbox, "commit"),
    "link": (MqttLink, "_turn"),
}


def _hanging(work: Callable[..., Any], trigger: Path) -> Callable[..., Any]:
    def hangs(*arguments: Any, **named: Any) -> Any:
        while trigger.exists():
            time.sleep(0.05)
        return work(*arguments, **named)

    return hangs


if __name__ == "__main__":
    kind, name = _STAGES[sys.argv[1]]
    setattr(kind, name, _hanging(getattr(kind, name), Path(sys.argv[2])))
    if os.environ.get("HOLONODE_TEST_ALLOWANCES") != "field":
        service.allowances_of = lambda _config: Allowances(60.0, 60.0, *[ALLOWED_S] * 10)  # type: ignore[attr-defined]
    sys.exit(main(sys.argv[3:]))
