"""What the service says of itself: a greeting on the terminal, `info` and `stats` on MQTT."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import msgspec
import numpy as np

from device import __version__
from device.analysis.pipeline import Pipeline
from device.analysis.report import RecordProvenance
from device.config import Config, public
from device.drivers.ports import Environment
from device.errors import HardwareError
from device.inference.interpreter import runtime_name
from device.instrument import Instrument
from device.messaging.broker import OwnBroker
from device.messaging.link import MqttLink, parse_url
from device.messaging.payloads import Armed, Info
from device.messaging.topics import Topics
from device.parts import parts_of
from device.service.recorder import Tally
from device.settings import Value
from device.storage.outbox import Outbox

__all__ = ["greet", "info_of", "stats_of"]

log = logging.getLogger("holonode")


def greet(config: Config, broker: OwnBroker | None, outbox: Outbox, armed: Armed | None, say: Callable[[str], None]) -> None:
    """Who this is, where to look, and whether somebody saw to it that it lasts."""
    url = broker.url if broker else config.mqtt.url
    own = f" (its own {broker.kind}, loopback only)" if broker else ""
    address = parse_url(url)
    say(
        f"holonode {__version__}: {config.device.id}, {config.sampling.mode}, {config.camera.driver} camera{_simulated(config)}"
    )
    say(f"broker   {url}{own}")
    say(f"watch    mosquitto_sub -h {address.host} -p {address.port} -v -t '{Topics(config.device.id).root}/#'")
    say(f"store    {outbox.folder}")
    say(f"armed    {armed.words() if armed else 'not armed: `holonode arm` checks that it lasts'}")
    if outbox.next_seq > 1:
        say(f"resuming after record {outbox.next_seq - 1}; {outbox.depth()} wait to be delivered")


def _simulated(config: Config) -> str:
    """What is simulated beside real parts."""
    parts = parts_of(config)
    return f"; SIMULATED beside real parts: {', '.join(parts.simulated)}" if parts.mixed else ""


def info_of(
    config: Config,
    instrument: Instrument,
    pipeline: Pipeline,
    origin: RecordProvenance,
    armed: Armed | None,
    settings: Mapping[str, Value],
    dashboard_fingerprint: str | None = None,
) -> Info:
    """The retained `info`; what is secret is shown as set."""
    return Info(
        device_id=origin.device_id,
        software={"holonode": __version__, "runtime": runtime_name(), "numpy": np.__version__},
        instrument=msgspec.to_builtins(instrument),
        instrument_id=instrument.id,
        calibration_id=origin.calibration_id,
        simulated=origin.simulated,
        models=msgspec.to_builtins(pipeline.models),
        pipeline_id=origin.pipeline_id,
        config=public(config),
        config_hash=origin.config_hash,
        armed=None if armed is None else msgspec.to_builtins(armed),
        settings=dict(settings),
        dashboard_fingerprint=dashboard_fingerprint,
    )


def stats_of(tally: Tally, outbox: Outbox, link: MqttLink, environment: Environment) -> dict[str, Any]:
    """What the recorder, the outbox, the link and the sensors tell."""
    oldest = outbox.oldest_waiting
    return {
        "intervals": tally.intervals,
        "detections": tally.detections,
        "intervals_lost": tally.dropped,
        "frames_unchecked": tally.frames_unchecked,
        "outbox_depth": outbox.depth(),
        "oldest_waiting_s": None if oldest is None else round(oldest.age_s, 1),
        "commits_refused": outbox.refused,
        "outbox": {**asdict(outbox.counters), "evicted": outbox.evicted},
        "clock": asdict(outbox.clock.quality()),
        "publishes_refused": link.refused_publishes,
        "published": link.published,
        "delivery": link.stats(),
        "last_analysis_s": round(tally.analysis_s, 3),
        "last_detection_at": tally.last_detection,
        "environment": _surroundings(environment),
    }


def _surroundings(environment: Environment) -> dict[str, float | None] | None:
    """Temperature, humidity, pressure and supply; None where the sensors don't answer."""
    try:
        reading = asdict(environment.read())
    except HardwareError as error:
        log.warning("no environment in the stats: %s", error)
        return None
    return {name: None if value is None else round(value, 2) for name, value in reading.items()}
