"""What the light machine runs: the service's own outbox and link, events as fast as they are confirmed, no sampler.

Copied into the guest and run there with the release's own interpreter: it imports nothing of the tests.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from device.config import DeliveryConfig, MqttConfig
from device.identifiers import random_ulid
from device.messaging.link import MqttLink, parse_url
from device.messaging.payloads import Info
from device.records import Event, iso_time
from device.storage.outbox import Outbox

DEVICE_ID = "producer"
_TOGETHER, _MOST_WAITING = 5, 500


def main(store: str, url: str) -> None:
    """Commit and send until the supply is cut."""
    outbox = Outbox(Path(store), DEVICE_ID)
    info = Info(
        device_id=DEVICE_ID, software={}, instrument={}, instrument_id="i", calibration_id=None, models={}, pipeline_id="p",
        config={}, config_hash="c",
    )  # fmt: skip
    delivery = msgspec.convert({"confirm": "collector", "retry_s": 5, "history_per_s": 5000}, DeliveryConfig)
    link = MqttLink(MqttConfig(url=url), parse_url(url), outbox, info, delivery=delivery, on_warning=_warn)
    link.start()

    def build(first: int) -> list[Event]:
        since = iso_time(datetime.now(UTC))
        return [
            Event(
                device_id=DEVICE_ID, spool_id=outbox.spool_id, seq=seq, id=random_ulid(), code="test", severity="info",
                message="m", since=since,
            )
            for seq in range(first, first + _TOGETHER)
        ]  # fmt: skip

    print(f"producer at work, resuming after record {outbox.next_seq - 1}", flush=True)
    while True:
        if outbox.depth() < _MOST_WAITING:
            outbox.commit(build)
            link.notify()
        time.sleep(0.05)


def _warn(code: str, message: str) -> None:
    print(f"producer warns: {code}: {message}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
