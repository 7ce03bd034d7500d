"""Brokers that acknowledge what they then lose, or refuse what they are given: `python -m tests.faults.lying_broker`.

Real mosquitto made to lie, a collector that commits and says so on `ack`; the link in collector mode. After each case the
broker is made honest, or the collector comes: whatever it took before must arrive, and an event must have told of it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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

Protocol = Literal["auto", "5", "3.1.1"]

OPEN = ("allow_anonymous true",)
ANSWERING = (*OPEN, "max_queued_messages 1000")
"""As by default; without a limit mosquitto 2.0.11 hangs up on whatever it refuses."""
TOLD_WITHIN_S = 10.0
"""On a machine with nothing else to do."""
_PATIENCE_S = 120.0
"""On any: until then it counts as never told."""
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
    expected_waiting: int
    code: str
    """Of the event that should tell of it."""
    told_after_s: float
    """Until that event; infinite: nothing told."""

    def __str__(self) -> str:
        late = f", later than {TOLD_WITHIN_S:g} s" if self.told_after_s > TOLD_WITHIN_S else ""
        told = f"'{self.code}' told after {self.told_after_s:.1f} s{late}"
        return f"{self.case}: {self.rows} rows, {self.forgotten} forgotten, {self.waiting} still wait; {told}"

    @property
    def told(self) -> bool:
        return self.told_after_s < math.inf

    @property
    def sound(self) -> bool:
        return self.forgotten == 0 and self.waiting == self.expected_waiting and self.told


class Box:
    """The delivering parts of a service, and what they told."""

    def __init__(self, folder: Path, url: str, protocol: Protocol) -> None:
        self.outbox = Outbox(folder / "store", "box")
        self.troubles: list[tuple[float, str]] = []
        info = Info(
            device_id="box", software={}, instrument={}, instrument_id="i", calibration_id=None, models={}, pipeline_id="p",
            config={}, config_hash="c",
        )  # fmt: skip
        self.link = MqttLink(
            MqttConfig(url=url, keepalive_s=2, protocol=protocol), parse_url(url), self.outbox, info,
            delivery=DeliveryConfig(confirm="collector", retry_s=2), on_warning=self._hear,
        )  # fmt: skip
        self.link.start()

    def _hear(self, code: str, _message: str) -> None:
        self.troubles.append((time.monotonic(), code))

    def told_at(self, code: str) -> float | None:
        """When it first told of this, on the monotonic clock."""
        return next((at for at, said in self.troubles if said == code), None)

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
        self.subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "collector", protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda c, *_: c.subscribe("holonode/v1/+/events", qos=1)
        self._client.on_subscribe = lambda *_: self.subscribed.set()
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
    return _case("denied", "publish_refused", folder, (*ANSWERING, _rules(folder)), _open_up)


def denied_and_hung_up(folder: Path) -> Verdict:
    """The same of a broker without a limit on its queue: mosquitto 2.0.11 then ends the connection at every such record."""
    name = "denied by hanging up (3.1.1)"
    return _case(name, "publish_refused", folder, (*OPEN, _rules(folder)), _open_up, protocol="3.1.1")


def denied_and_acknowledged(folder: Path) -> Verdict:
    """The same by MQTT 3.1.1, which has no word for it: the broker acknowledges every record, and drops it."""
    name = "denied and acknowledged (3.1.1)"
    return _case(name, "not_confirmed", folder, (*ANSWERING, _rules(folder)), _open_up, protocol="3.1.1")


def oversize(folder: Path) -> Verdict:
    """Two rows that the broker can never take lie among others; they stay, the others go."""
    return _oversize("oversize", "record_set_aside", folder, ANSWERING)


def oversize_and_hung_up(folder: Path) -> Verdict:
    """The same of a broker that hangs up on them."""
    return _oversize("oversize, hung up on", "record_set_aside", folder, OPEN)


def oversize_and_acknowledged(folder: Path) -> Verdict:
    """The same by MQTT 3.1.1: acknowledged, and dropped."""
    return _oversize("oversize and acknowledged (3.1.1)", "not_confirmed", folder, ANSWERING, "3.1.1")


def _oversize(name: str, code: str, folder: Path, extra: tuple[str, ...], protocol: Protocol = "auto") -> Verdict:
    sizes = [_LARGE_BYTES if k in (3, 40) else 10 for k in range(_ROWS)]
    limited = (*extra, "message_size_limit 2000")
    return _case(name, code, folder, limited, _nothing, sizes=sizes, expected_waiting=2, protocol=protocol)


def overflow(folder: Path) -> Verdict:
    """The collector is away and the broker keeps ten messages for it."""
    extra = (*OPEN, "max_queued_messages 10", "max_inflight_messages 5")
    return _case("queue overflow", "not_confirmed", folder, extra, _nothing, collector_comes="back")


def unheard(folder: Path) -> Verdict:
    """No subscriber at all, until one comes."""
    return _case("no subscriber", "no_subscriber", folder, OPEN, _nothing, collector_comes="late")


def forgetful(folder: Path) -> Verdict:
    """Killed with acknowledged messages for an absent collector in memory, not on disk."""

    def forget(broker: Broker) -> None:
        broker.stop(kill=True)
        broker.start()

    extra = (*OPEN, "autosave_interval 3600")
    return _case("killed before it saved", "not_confirmed", folder, extra, forget, collector_comes="back")


CASES: tuple[Callable[[Path], Verdict], ...] = (
    denied, denied_and_hung_up, denied_and_acknowledged, oversize, oversize_and_hung_up, oversize_and_acknowledged,
    overflow, unheard, forgetful,
)  # fmt: skip


def _nothing(_broker: Broker) -> None:
    """It stays as it is."""


def _rules(folder: Path) -> str:
    """An access list under which a box can announce itself and deliver nothing."""
    rules = folder / "acl"
    rules.write_text("topic readwrite holonode/v1/box/status\ntopic readwrite holonode/v1/box/info\ntopic read holonode/#\n")
    rules.chmod(0o600)
    return f"acl_file {rules}"


def _open_up(broker: Broker) -> None:
    broker.stop()
    broker.extra = OPEN
    broker.start()


def _case(
    name: str,
    code: str,
    folder: Path,
    extra: tuple[str, ...],
    mend: Callable[[Broker], None],
    *,
    sizes: Sequence[int] = (10,) * _ROWS,
    collector_comes: Literal["first", "back", "late"] = "first",
    protocol: Protocol = "auto",
    expected_waiting: int = 0,
) -> Verdict:
    """The collector is there from the `first`; was there, and comes `back`; or comes `late`, unknown to the broker."""
    broker = Broker(folder / "broker", extra=extra)
    broker.start()
    collector = None if collector_comes == "late" else Collector(broker.port)
    if collector is not None and collector_comes == "back":
        collector.subscribed.wait(60)
        collector.close()
    box = Box(folder, broker.url, protocol)
    try:
        began = time.monotonic()
        box.commit(sizes)
        _until(lambda: box.told_at(code) is not None, _PATIENCE_S)
        told_at = box.told_at(code) or math.inf
        mend(broker)
        committed = set[int]() if collector is None else collector.rows
        if collector is None or collector_comes == "back":
            collector = Collector(broker.port)
            collector.rows |= committed
        _until(lambda: box.outbox.depth() <= expected_waiting, 300)
        box.close()
        waiting = _waiting(folder)
        forgotten = set(range(1, len(sizes) + 1)) - collector.rows - waiting
        return Verdict(name, len(sizes), len(forgotten), len(waiting), expected_waiting, code, told_at - began)
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
    """Print what each broker did; 4 where a row was forgotten, still waits or wasn't told of."""
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    verdicts: list[Verdict] = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            verdicts.append(case(Path(folder)))
            print(verdicts[-1], flush=True)
    return 0 if all(verdict.sound for verdict in verdicts) else 4


if __name__ == "__main__":
    sys.exit(main())
