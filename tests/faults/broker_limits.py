"""What brokers announce, and hold their clients to: `python -m tests.faults.broker_limits`.

A link with records from small to large, `info`, `health`, `stats` and discovery, against a scripted broker that cuts whoever
breaks what its CONNACK says, and against mosquitto with the same limits. Wanted every time: one connection, no limit broken,
every record that fits delivered, the others kept, each limitation told.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from device.config import Config, DeliveryConfig, HomeAssistantConfig, MqttConfig, public
from device.health.delivery import link_checks
from device.instrument import load_instrument
from device.messaging.homeassistant import discovery
from device.messaging.limits import Limits
from device.messaging.link import MqttLink, parse_url
from device.messaging.payloads import Check, Health, Info
from device.messaging.topics import Topics
from device.records import Event
from device.storage.outbox import Outbox
from tests.brokers import Broker, Subscriber
from tests.scripted_broker import Announced, ScriptedBroker

BOX = "pier-3"
_SIZES = (10, 20, 400, 900, 1800, 2700, 4000, 8000, 12000, 15, 30, 500)
"""Characters in each record's message."""
_WITHIN_S = 20.0
_FOUND_OUT_WITHIN_S = 120.0


@dataclass(frozen=True)
class Verdict:
    """What one broker did to the records."""

    case: str
    connections: int
    fitting: int
    heard: int
    """Records that fit and came over."""
    kept: int
    """Records that still wait."""
    expected_kept: int
    broken: tuple[str, ...]
    untold: tuple[str, ...]
    """Limitations that `health` doesn't tell of."""
    first_record_s: float

    def __str__(self) -> str:
        said = f"; broken: {', '.join(self.broken[:3])}" * bool(self.broken) + f"; untold: {', '.join(self.untold)}" * bool(
            self.untold
        )
        return (
            f"{self.case}: {self.connections} connections, {self.heard} of {self.fitting} records that fit, {self.kept} kept "
            f"({self.expected_kept}), first after {self.first_record_s:.2f} s{said}"
        )

    most_connections: int = 1

    @property
    def sound(self) -> bool:
        return (
            1 <= self.connections <= self.most_connections and self.heard == self.fitting and self.kept == self.expected_kept and not self.broken
            and not self.untold
        )  # fmt: skip


class Box:
    """The delivering parts of a service."""

    def __init__(self, folder: Path, url: str, *, confirm: Literal["broker", "collector"] = "broker", **mqtt: Any) -> None:
        self.outbox = Outbox(folder / "store", BOX)
        self.troubles: list[tuple[str, str]] = []
        found = discovery(
            HomeAssistantConfig(enabled=True), self.outbox, labels=["birch", "hazel"], unit="m^-3", model="sampler"
        )
        self.link = MqttLink(
            MqttConfig(url=url, **mqtt), parse_url(url), self.outbox, info(), discovery=found,
            delivery=DeliveryConfig(confirm=confirm), on_warning=lambda code, message: self.troubles.append((code, message)),
            on_request=lambda _message: None,
        )  # fmt: skip

    def commit(self, sizes: Sequence[int]) -> list[Event]:
        """Records of about these sizes."""

        def build(first: int) -> list[Event]:
            return [
                Event(
                    device_id=BOX, spool_id=self.outbox.spool_id, seq=first + k, id=f"{first + k:026d}", code="x", severity="info",
                    message="m" * size, value=None, unit=None, since="2026-05-04T00:00:00.000000Z",
                )
                for k, size in enumerate(sizes)
            ]  # fmt: skip

        made = self.outbox.commit(build)
        self.link.notify()
        return made  # type: ignore[return-value]

    def checks(self) -> list[Check]:
        return link_checks(self.link.report(), self.outbox)

    def say_health(self) -> None:
        """As the service does."""
        self.link.publish("health", Health.of([*self.checks(), *_OTHERS]), retain=True, qos=1)

    def close(self) -> None:
        self.link.stop(2.0)
        self.outbox.close()


_OTHERS = [Check(name=f"check {k}", status="ok", value=1.0, unit="x", message="as it should be " * 3) for k in range(20)]


def info() -> Info:
    """As large as a real one."""
    instrument = msgspec.to_builtins(load_instrument(Config().device.instrument))
    return Info(
        device_id=BOX, software={"holonode": "0"}, instrument=instrument, instrument_id="i" * 16, calibration_id=None,
        models={}, pipeline_id="p" * 16, config=public(Config()), config_hash="c" * 16,
    )  # fmt: skip


def scripted(announced: Announced, folder: Path, name: str = "", **mqtt: Any) -> Verdict:
    """Against the broker that cuts."""
    broker = ScriptedBroker(announced)
    box = Box(folder, broker.url, **mqtt)
    try:

        def heard() -> list[int]:
            return [record["seq"] for record in broker.payloads("events")]

        limits = Limits(modern=True, most_bytes=announced.most_bytes)
        began, made, first_s = _deliver(box, heard, limits, acknowledged=announced.qos != 0)
        at = [said.at_s for said in broker.heard if said.topic.endswith("/events")]
        first_s = min(at) - began if at else float("inf")
        told = " ".join(f"{check.status} {check.message}" for check in box.checks())
        return _verdict(
            name or _name("scripted", announced),
            broker.connections,
            box,
            heard(),
            limits,
            made,
            announced,
            told,
            tuple(broker.broken),
            first_s,
        )
    finally:
        box.close()
        broker.close()


def mosquitto(announced: Announced, folder: Path) -> Verdict:
    """Against the real one, with the same limits."""
    extra = ["allow_anonymous true"]
    if announced.most_bytes is not None:
        extra.append(f"max_packet_size {announced.most_bytes}")
    if announced.retain == 0:
        extra.append("retain_available false")
    if announced.qos is not None:
        extra.append(f"max_qos {announced.qos}")
    if announced.receive_maximum is not None:
        extra.append(f"max_inflight_messages {announced.receive_maximum}")
    broker = Broker(folder / "broker", extra=tuple(extra))
    broker.start()
    listener = Subscriber(broker.port, topic="holonode/v1/+/events")
    found: list[int] = []

    def heard() -> list[int]:
        found.extend(said["seq"] for topic, said, _ in listener.heard(0.05) if topic.endswith("/events"))
        return found

    box = Box(folder, broker.url)
    try:
        limits = Limits(modern=True, most_bytes=announced.most_bytes)
        _, made, first_s = _deliver(box, heard, limits, acknowledged=announced.qos != 0)
        told = " ".join(f"{check.status} {check.message}" for check in box.checks())
        log = (broker.folder / "log").read_text()
        connections = log.count(f"as holonode-{BOX} ")
        return _verdict(_name("mosquitto", announced), connections, box, heard(), limits, made, announced, told, (), first_s)
    finally:
        box.close()
        listener.close()
        broker.stop()


def unannounced(announced: Announced, folder: Path, protocol: str = "3.1.1") -> Verdict:
    """A broker that announces nothing, gives no reason, and cuts: what it takes is found out in a few connections."""
    broker = ScriptedBroker(announced)
    box = Box(folder, broker.url, protocol=protocol)
    try:

        def heard() -> list[int]:
            return [record["seq"] for record in broker.payloads("events")]

        limits = Limits(modern=protocol == "auto", most_bytes=announced.most_bytes)
        began, made, _ = _deliver(
            box, heard, limits, acknowledged=announced.qos != 0, within_s=_FOUND_OUT_WITHIN_S, count=False
        )
        at = [said.at_s for said in broker.heard if said.topic.endswith("/events")]
        told = " ".join(message for _, message in box.troubles)
        wanted = _fitting(made, limits)
        untold = ("what is cut at",) if announced.most_bytes is not None and "hangs up" not in told else ()
        return Verdict(
            f"{_name('unannounced', announced)} ({protocol})", broker.connections, len(wanted), len(wanted.intersection(heard())),
            box.outbox.depth(), len(made) - (len(wanted) if announced.qos != 0 else 0), (), untold,
            min(at, default=float("inf")) - began, most_connections=12,
        )  # fmt: skip
    finally:
        box.close()
        broker.close()


def _deliver(
    box: Box,
    heard: Callable[[], list[int]],
    limits: Limits,
    *,
    acknowledged: bool,
    within_s: float = _WITHIN_S,
    count: bool = True,
) -> tuple[float, list[Event], float]:
    began, first_s = time.monotonic(), float("inf")
    made = box.commit(_SIZES)
    box.link.start()
    box.say_health()
    wanted = _fitting(made, limits)
    said = False
    while time.monotonic() - began < within_s:
        found = set(heard())
        if found and first_s == float("inf"):
            first_s = time.monotonic() - began
        kept = len(made) - (len(wanted) if acknowledged else 0)
        seen = not count or len(box.link.report().too_large) == len(made) - len(wanted)
        if found >= wanted and box.outbox.depth() == kept and seen:
            if said:
                break
            # What the service says from time to time, and some time for a broker to cut over it.
            box.say_health()
            said = True
            time.sleep(0.5)
        time.sleep(0.05)
    return began, made, first_s


def _fitting(made: Sequence[Event], limits: Limits) -> set[int]:
    topic = Topics(BOX).of("events")
    return {record.seq for record in made if limits.fits(topic, msgspec.json.encode(record), 1)}


def _verdict(
    name: str, connections: int, box: Box, heard: Sequence[int], limits: Limits, made: Sequence[Event], announced: Announced,
    told: str, broken: tuple[str, ...], first_s: float,
) -> Verdict:  # fmt: skip
    wanted = _fitting(made, limits)
    kept = len(made) if announced.qos == 0 else len(made) - len(wanted)
    untold = tuple(
        what
        for what, holds, words in (
            ("packet size", announced.most_bytes is not None, f"{announced.most_bytes} bytes"),
            ("retain", announced.retain == 0, "not retained"),
            ("QoS", announced.qos == 0, "failed the broker takes QoS 0 alone"),
            ("receive maximum", announced.receive_maximum in range(1, 9), f"{announced.receive_maximum} unacknowledged"),
            ("wildcards", announced.wildcards == 0, "no wildcard subscriptions"),
            ("keep-alive", announced.keepalive_s is not None, f"keep-alive {announced.keepalive_s} s"),
            *((f"record {r.seq}", r.seq not in wanted, "larger than the") for r in made),
        )
        if holds and words not in told
    )
    return Verdict(
        name, connections, len(wanted), len(wanted.intersection(heard)), box.outbox.depth(), kept, broken, untold, first_s
    )


def _name(broker: str, announced: Announced) -> str:
    said = {name: value for name in announced.__dataclass_fields__ if (value := getattr(announced, name)) is not None}
    for usual in ("silent", "names_reasons", "puback_after_s"):
        said.pop(usual, None)
    return f"{broker} {' '.join(f'{name}={value}' for name, value in said.items()) or 'without limits'}"


SIZES = (None, 200, 300, 500, 1000, 2000, 3000, 5000, 10_000)


def matrix() -> Iterator[Announced]:
    """Every size with retain and QoS; the other limits with some."""
    for most_bytes, retain, qos in itertools.product(SIZES, (None, 0), (None, 0)):
        yield Announced(most_bytes=most_bytes, retain=retain, qos=qos)
    for receive_maximum, most_bytes in itertools.product((1, 2, 3, 5, 8, 10, 20), (None, 500, 3000)):
        yield Announced(receive_maximum=receive_maximum, most_bytes=most_bytes, topic_aliases=0)
    yield Announced(wildcards=0, topic_aliases=10, keepalive_s=5)
    yield Announced(most_bytes=400, receive_maximum=1, qos=1, retain=0, wildcards=0, topic_aliases=0, keepalive_s=7)


def silent() -> Iterator[Announced]:
    """Brokers that hold to limits without a word."""
    for most_bytes, retain, qos in ((3000, None, None), (1000, None, None), (None, 0, None), (None, None, 0), (3000, 0, None)):
        yield Announced(most_bytes=most_bytes, retain=retain, qos=qos, silent=True, names_reasons=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what each broker came to; 4 where one was not as wanted."""
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    verdicts: list[Verdict] = []
    cases: list[tuple[Callable[[Announced, Path], Verdict], Announced]] = [(scripted, announced) for announced in matrix()]
    cases += [(mosquitto, announced) for announced in matrix() if announced.wildcards is None]
    cases += [(partial(unannounced, protocol="3.1.1"), announced) for announced in silent()]
    # An MQTT 5 broker must announce what it retains and which QoS it takes; size is what some leave out.
    cases += [
        (partial(unannounced, protocol="auto"), announced)
        for announced in silent()
        if announced.most_bytes and announced.retain is None
    ]
    for case, announced in cases:
        with tempfile.TemporaryDirectory() as folder:
            verdicts.append(case(announced, Path(folder)))
            print(verdicts[-1], flush=True)
    sound = sum(verdict.sound for verdict in verdicts)
    slowest_s = max(verdict.first_record_s for verdict in verdicts if verdict.fitting)
    print(
        f"{sound} of {len(verdicts)} brokers: one connection, all records that fit, all told; first record within {slowest_s:.1f} s"
    )
    return 0 if sound == len(verdicts) else 4


if __name__ == "__main__":
    sys.exit(main())
