"""Three days without a broker: nothing lost, in order, little memory, and live records don't wait behind the backlog.

`python -m tests.faults.outage` prints the figures; 259,200 detections are one a second for 72 hours. Real mosquitto, real
subscriber in a process of its own; the days are simulated by committing as fast as the disk takes it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from device.config import DeliveryConfig, MqttConfig
from device.messaging.link import MqttLink, parse_url
from device.messaging.payloads import Info
from device.storage.outbox import Outbox
from tests.brokers import Broker
from tests.stores import START, detection

THREE_DAYS = 259_200
_COMMITTED_TOGETHER = 60
_LIVE_EVERY_S = 0.5


@dataclass(frozen=True)
class Outage:
    """What a campaign found."""

    waiting: int
    lost: int
    doubled: int
    disordered: int
    """Rows of the backlog that came after a later one."""
    unmarked: int
    """Rows of the backlog without `historical`, or live ones with it, or with another time stamp than their own."""
    grown_mb: float
    """Resident memory, from before the outage to its largest until everything is delivered."""
    drained_per_s: float
    live_s: tuple[float, float, float]
    """From a live record's commit to its arrival: median, 95th percentile, longest."""

    def __str__(self) -> str:
        middle, high, longest = self.live_s
        return (
            f"{self.waiting} waited: {self.lost} lost, {self.doubled} doubled, {self.disordered} out of order, "
            f"{self.unmarked} wrongly marked; memory +{self.grown_mb:.1f} MB; drained {self.drained_per_s:.0f}/s; "
            f"live p50 {middle:.3f} s, p95 {high:.3f} s, max {longest:.3f} s"
        )


def outage(folder: Path, waiting: int, history_per_s: float) -> Outage:
    """Run one; the service's parts in this process, broker and subscriber in others."""
    outbox, broker = Outbox(folder / "store", "box"), Broker(folder / "broker")
    link = _linked(outbox, broker.url, history_per_s)
    broker.start()
    try:
        with _Listener(broker.port, folder / "heard") as listener:
            broker.stop()
            before_mb = _resident_mb()
            link.start()
            for first in range(1, waiting + 1, _COMMITTED_TOGETHER):
                _commit(outbox, min(_COMMITTED_TOGETHER, waiting + 1 - first))
                link.notify()
            largest_mb = _resident_mb()
            outbox.begin_live()  # as the sender does for what has waited half a minute
            listener.ready.clear()
            broker.start()
            assert listener.ready.wait(60)
            while link.state.value != "connected":
                time.sleep(0.01)
            began, committed = time.monotonic(), dict[int, float]()
            while outbox.depth():
                committed[outbox.next_seq] = time.monotonic()
                _commit(outbox, 1)
                link.notify()
                time.sleep(_LIVE_EVERY_S)
                largest_mb = max(largest_mb, _resident_mb())
            drained_s = time.monotonic() - began
            heard = listener.until(outbox.next_seq - 1)
    finally:
        link.stop()
        outbox.close()
        broker.stop()
    return _judge(waiting, heard, committed, largest_mb - before_mb, drained_s)


def _judge(
    waiting: int, heard: list[tuple[int, float, bool, str]], committed: dict[int, float], grown_mb: float, drained_s: float
) -> Outage:
    seqs = [seq for seq, *_ in heard]
    history = list(dict.fromkeys(seq for seq in seqs if seq <= waiting))
    first_came = {seq: at for seq, at, *_ in reversed(heard)}
    latencies = [first_came[seq] - at for seq, at in committed.items() if seq in first_came]
    p50, p95, longest = np.percentile(latencies, (50, 95, 100))
    return Outage(
        waiting=waiting,
        lost=waiting + len(committed) - len(set(seqs)),
        doubled=len(seqs) - len(set(seqs)),
        disordered=sum(later < earlier for earlier, later in itertools.pairwise(history)),
        unmarked=sum(late != (seq <= waiting) or stamp != _stamp(seq) for seq, _, late, stamp in heard),
        grown_mb=grown_mb,
        drained_per_s=waiting / drained_s,
        live_s=(float(p50), float(p95), float(longest)),
    )


def _commit(outbox: Outbox, count: int) -> None:
    def build(first: int) -> Sequence[object]:
        return [detection(outbox, seq, START + timedelta(seconds=seq), "i", "birch") for seq in range(first, first + count)]

    outbox.commit(build)  # type: ignore[arg-type]


def _stamp(seq: int) -> str:
    return (START + timedelta(seconds=seq)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _linked(outbox: Outbox, url: str, history_per_s: float) -> MqttLink:
    info = Info(
        device_id="box", software={}, instrument={}, instrument_id="i", calibration_id=None, models={}, pipeline_id="p",
        config={}, config_hash="c",
    )  # fmt: skip
    delivery = DeliveryConfig(history_per_s=history_per_s)
    return MqttLink(MqttConfig(url=url), parse_url(url), outbox, info, delivery=delivery, on_warning=lambda *_: None)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


class _Listener:
    """A subscriber in a process of its own: its memory is not the service's. The broker keeps its session."""

    def __init__(self, port: int, heard: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.ready, self._heard = context.Event(), heard
        self._process = context.Process(target=_listen, args=(port, str(heard), self.ready), daemon=True)

    def __enter__(self) -> _Listener:
        self._process.start()
        assert self.ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join(60)

    def until(self, last_seq: int, quiet_s: float = 5.0) -> list[tuple[int, float, bool, str]]:
        """Everything heard, once nothing comes any more; of what is complete, sooner."""
        count, since = -1, time.monotonic()
        while time.monotonic() - since < (quiet_s if count < last_seq else 1.0):
            if (grown := self._heard.read_bytes().count(b"\n")) != count:
                count, since = grown, time.monotonic()
            time.sleep(0.2)
        found = [tuple(json.loads(line)) for line in self._heard.read_text().splitlines()]
        assert found, f"nothing was heard, though {last_seq} records were delivered"
        return found  # type: ignore[return-value]


def _listen(port: int, heard: str, ready: Event) -> None:
    """Seq, time of arrival on the machine's monotonic clock, `historical` and time stamp of every record, a line each."""
    with Path(heard).open("w", buffering=1) as lines:

        def received(_client: paho.Client, _user: object, message: paho.MQTTMessage) -> None:
            record = json.loads(message.payload)
            lines.write(json.dumps([record["seq"], time.monotonic(), record["historical"], record["captured_at"]]) + "\n")

        client = paho.Client(CallbackAPIVersion.VERSION2, "listener", protocol=MQTTProtocolVersion.MQTTv5)
        client.on_message = received
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda c, *_: c.subscribe("holonode/v1/+/detections", qos=1)
        client.on_subscribe = lambda *_: ready.set()
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 3600
        client.connect("127.0.0.1", port, clean_start=False, properties=lasting)
        client.loop_forever()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; 4 where one is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, default=THREE_DAYS)
    parser.add_argument("--history-per-s", type=float, default=DeliveryConfig().history_per_s)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = outage(Path(folder), given.waiting, given.history_per_s)
    print(found)
    sound = found.lost == 0 and found.disordered == 0 and found.unmarked == 0 and found.grown_mb <= 10
    return 0 if sound and found.drained_per_s >= 100 and found.live_s[2] <= 2 else 4


if __name__ == "__main__":
    sys.exit(main())
