"""Brokers that acknowledge what they then lose, or refuse what they are given: `python -m tests.faults.lying_broker`.

Real mosquitto made to lie, a collector that commits and says so on `ack`; the link in collector mode. After each case the
broker is made honest, or the collector comes: whatever it took before must arrive, and an event must have told of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from device.config import DeliveryConfig, MqttConfig
from device.messaging.link import MqttLink, parse_url
from device.messaging.payloads import Info
from device.records import Event
from device.storage.outbox import Outbox
from tests.brokers import Broker

OPEN = ("allow_anonymous true",)
TOLD_WITHIN_S = 10.0
_ROWS = 60
_LARGE_BYTES = 4000


@dataclass(frozen=True)
class Verdict:
    """What one broker did to the rows."""

    case: str
    rows: int
    forgotten: int
    """Neither committed by the collector nor waiting in the outbox."""
    waiting: int
    told: str
    """Codes of the events that told of it, in order; empty: none."""
    told_after_s: float
    """Until the first."""

    def __str__(self) -> str:
        told = f"told after {self.told_after_s:.1f} s ({self.told})" if self.told else "NOTHING TOLD"
        return f"{self.case}: {self.rows} rows, {self.forgotten} forgotten, {self.waiting} still wait; {told}"

    @property
    def sound(self) -> bool:
        return self.forgotten == 0 and self.told != "" and self.told_after_s <= TOLD_WITHIN_S


class Box:
    """The delivering parts of a service, and what they told."""

    def __init__(self, folder: Path, url: str) -> None:
        self.outbox = Outbox(folder / "store", "box")
        self.troubles: list[tuple[float, str]] = []
        info = Info(
            device_id="box", software={}, instrument={}, instrument_id="i", calibration_id=None, models={}, pipeline_id="p",
            config={}, config_hash="c",
        )  # fmt: skip
        self.link = MqttLink(
            MqttConfig(url=url, keepalive_s=2), parse_url(url), self.outbox, info,
            delivery=DeliveryConfig(confirm="collector", retry_s=2), on_trouble=self._hear,
        )  # fmt: skip
        self.link.start()

    def _hear(self, code: str, _message: str) -> None:
        self.troubles.append((time.monotonic(), code))

    def commit(self, sizes: Sequence[int]) -> None:
        """Records of about these sizes."""

        def build(first: int) -> list[Event]:
            return [
                Event(
                    device_id="box", spool_id=self.outbox.spool_id, seq=first + k, id=f"{first + k:026d}", code="x", severity="info",
                    message="m" * size, value=None, unit=None, since="2026-05-04T00:00:00.000000Z",
                )
                for k, size in enumerate(sizes)
            ]  # fmt: skip

        self.outbox.commit(build)
        self.link.notify()

    def close(self) -> None:
        self.link.stop(0.2)
        self.outbox.close()


class Collector:
    """Commits what comes, and says so: of the run without a gap in which the record lies, the first and the last."""

    def __init__(self, port: int) -> None:
        self.rows: set[int] = set()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "collector", protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda c, *_: c.subscribe("holonode/v1/+/events", qos=1)
        self._client.on_message = self._received
        self._client.reconnect_delay_set(1, 1)
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", port, clean_start=False, properties=lasting)
        self._client.loop_start()

    def _received(self, client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        record = json.loads(message.payload)
        self.rows.add(record["seq"])
        first = last = record["seq"]
        while first - 1 in self.rows:
            first -= 1
        while last + 1 in self.rows:
            last += 1
        word = {"spool_id": record["spool_id"], "first": first, "seq": last}
        client.publish("holonode/v1/box/ack", json.dumps(word), qos=1)

    def close(self) -> None:
        """Gone, with its session kept."""
        self._client.disconnect()
        self._client.loop_stop()


def denied(folder: Path) -> Verdict:
    """An access list lets the box write `status` and `info` alone; later, everything."""
    rules = folder / "acl"
    rules.write_text("topic readwrite holonode/v1/box/status\ntopic readwrite holonode/v1/box/info\ntopic read holonode/#\n")
    rules.chmod(0o600)
    return _case("denied by the access list", folder, (*OPEN, f"acl_file {rules}"), lambda broker: _restart(broker, OPEN))


def oversize(folder: Path) -> Verdict:
    """Two rows that the broker can never take lie among others; they stay, the others go."""
    sizes = [_LARGE_BYTES if k in (3, 40) else 10 for k in range(_ROWS)]
    return _case("oversize", folder, (*OPEN, "message_size_limit 2000"), None, sizes=sizes, most_waiting=2)


def overflow(folder: Path) -> Verdict:
    """The collector is away and the broker keeps ten messages for it."""
    return _case(
        "queue overflow", folder, (*OPEN, "max_queued_messages 10", "max_inflight_messages 5"), lambda _: None, present="later"
    )


def unheard(folder: Path) -> Verdict:
    """No subscriber at all, until one comes."""
    return _case("no subscriber", folder, OPEN, lambda _: None, present="unknown")


def forgetful(folder: Path) -> Verdict:
    """Killed with acknowledged messages for an absent collector in memory, not on disk."""

    def forget(broker: Broker) -> None:
        broker.stop(kill=True)
        broker.start()

    return _case("killed before it saved", folder, (*OPEN, "autosave_interval 3600"), forget, present="later")


CASES: tuple[Callable[[Path], Verdict], ...] = (denied, oversize, overflow, unheard, forgetful)


def _restart(broker: Broker, extra: tuple[str, ...]) -> None:
    broker.stop()
    broker.extra = extra
    broker.start()


def _case(
    name: str,
    folder: Path,
    extra: tuple[str, ...],
    mend: Callable[[Broker], None] | None,
    *,
    sizes: Sequence[int] = (10,) * _ROWS,
    present: str = "always",
    most_waiting: int = 0,
) -> Verdict:
    """`present`: whether the collector is there at first: always; later (its session is known); unknown to the broker."""
    broker = Broker(folder / "broker", extra=extra)
    broker.start()
    collector = None if present == "unknown" else Collector(broker.port)
    if collector is not None and present == "later":
        time.sleep(0.5)
        collector.close()
    box = Box(folder, broker.url)
    try:
        began = time.monotonic()
        box.commit(sizes)
        _until(lambda: bool(box.troubles), TOLD_WITHIN_S + 2)
        told = next(iter(box.troubles), (began, ""))
        if mend is not None:
            mend(broker)
        before = collector
        if present != "always":
            collector = Collector(broker.port)
            collector.rows |= before.rows if before is not None else set()
        assert collector is not None
        _until(lambda: box.outbox.depth() <= most_waiting, 90)
        depth = box.outbox.depth()
        box.close()
        waiting = _waiting(folder)
        codes = ", ".join(dict.fromkeys(code for _, code in box.troubles))
        forgotten = set(range(1, len(sizes) + 1)) - collector.rows - waiting
        return Verdict(name, len(sizes), len(forgotten), depth, codes, told[0] - began)
    finally:
        box.close()
        if collector is not None:
            collector.close()
        broker.stop()


def _waiting(folder: Path) -> set[int]:
    """What the next run of the service finds: those set aside as well."""
    again = Outbox(folder / "store", "box")
    try:
        return {row.seq for row in again.pending(10_000)}
    finally:
        again.close()


def _until(true: Callable[[], bool], timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while not true() and time.monotonic() < until:
        time.sleep(0.05)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what each broker did; 4 where a row was forgotten or nothing told."""
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    verdicts: list[Verdict] = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            verdicts.append(case(Path(folder)))
            print(verdicts[-1], flush=True)
    return 0 if all(verdict.sound for verdict in verdicts) else 4


if __name__ == "__main__":
    sys.exit(main())
