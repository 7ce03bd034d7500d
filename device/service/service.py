"""The service's life: from a configuration to everything off. Start-up is recovery: there is no second path."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import msgspec

from device.analysis.report import Origin
from device.app import Drivers, build_drivers, build_mode, build_pipeline, calibrations, model_store
from device.config import Config, config_hash
from device.drivers.ports import Camera
from device.drivers.supervised_camera import CameraEvent, CameraStuckError, SupervisedCamera
from device.errors import HardwareError, TransientError
from device.health.armed import STATE_KEY as ARMED_KEY
from device.health.armed import armed_of
from device.instrument import load_instrument
from device.messaging.broker import OwnBroker
from device.messaging.homeassistant import Discovery, discovery
from device.messaging.link import LinkState, MqttLink, parse_url
from device.messaging.payloads import Info
from device.sampling.findings import Mode
from device.sampling.schedule import schedule_of
from device.sampling.wakes import STATE_KEY as WAKE_STATE_KEY
from device.sampling.wakes import Wakes
from device.service.announce import greet, info_of, stats_of
from device.service.recorder import Recorder
from device.service.timekeeper import Beginning, Timekeeper
from device.service.vitals import Vitals
from device.storage.outbox import Outbox
from device.storage.review import FOLDER as REVIEW_FOLDER
from device.storage.review import ReviewQueue

__all__ = ["LONGEST_PAUSE_S", "Service"]

STATS_EVERY_S = 60.0
LONGEST_PAUSE_S = 10.0
"""A camera that is back is used again within this."""
_LONG_SLEEP_S = 5.0
"""Before such a sleep there is time to say how things are; waiting for a wake is slept in slices."""


class _StopError(Exception):
    """Somebody asked the service to stop while it slept."""


class Service:
    """One box at work."""

    def __init__(self, config: Config, say: Callable[[str], None] = print) -> None:
        self._config, self._say = config, say
        self._stop = threading.Event()
        self._broker: OwnBroker | None = None
        self._camera: SupervisedCamera | None = None
        self._started_s = time.monotonic()
        self._stats_at_s = 0.0
        self._pulse: Callable[[], None] = lambda: None

    def run(self) -> int:
        """Work until SIGINT, SIGTERM or `sampling.max_intervals`; returns the exit status."""
        config = self._config
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._asked_to_stop)
        nominal = load_instrument(config.device.instrument)
        calibrated = calibrations(config, nominal)
        for refusal in calibrated.refused:
            self._say(f"calibration record refused: {refusal}")
        instrument = calibrated.instrument
        pipeline, labels = build_pipeline(model_store(config), config.analysis, instrument.geometry, instrument=instrument)
        folder = Path(config.storage.folder).expanduser()
        self._review = _review_queue(config, folder / REVIEW_FOLDER)
        givers = [self._review] if self._review else []
        outbox = Outbox(folder, config.device.id, min_free_bytes=round(config.storage.min_free_mb * 2**20), givers=givers)
        self._recorder = Recorder(outbox, self._review, self._say)
        timekeeper = Timekeeper(outbox, self._recorder.clock)
        try:
            origin = Origin(
                config.device.id,
                outbox.spool_id,
                config_hash(config),
                pipeline.id,
                pipeline.models,
                config.sampling.mode,
                calibrated.id,
                labels,
            )
            armed = armed_of(outbox.get_state(ARMED_KEY))
            found = discovery(
                config.homeassistant,
                outbox,
                labels=labels,
                unit="m^-3" if config.sampling.mode == "impactor" else "mL^-1",
                model=instrument.name,
            )
            link = self._link(outbox, info_of(config, instrument, pipeline, origin, armed), found)
            drivers = build_drivers(config, nominal)
            self._watch_camera(drivers.camera)
            self._vitals = Vitals(config, nominal, calibrated, outbox, drivers.environment)
            greet(config, self._broker, outbox, armed, self._say)
            link.start()
            timekeeper.start()
            try:
                mode = build_mode(config, calibrated, pipeline, drivers, self._sleeper(drivers), outbox)
                self._loop(origin, mode, drivers, outbox, link)
            finally:
                drivers.close()
                timekeeper.stop()
                link.stop()
        finally:
            outbox.close()
            if self._broker is not None:
                self._broker.stop()
        tally = self._recorder.tally
        self._say(f"stopped after {tally.intervals} intervals, {tally.detections} detections")
        return 0

    def _asked_to_stop(self, _number: int, _frame: object) -> None:
        self._stop.set()

    def _link(self, outbox: Outbox, info: Info, found: Discovery) -> MqttLink:
        mqtt = self._config.mqtt
        if not mqtt.url:
            self._broker = OwnBroker.start(outbox.folder, mqtt.own_broker_port)
            if self._broker.kind == "amqtt":
                mqtt = msgspec.structs.replace(mqtt, protocol="3.1.1")
            mqtt = msgspec.structs.replace(mqtt, url=self._broker.url)

        def trouble(code: str, message: str) -> None:
            self._say(message)
            self._recorder.event(code, "warning", message)

        return MqttLink(
            mqtt, parse_url(mqtt.url), outbox, info, on_trouble=trouble, delivery=self._config.delivery, discovery=found
        )

    def _watch_camera(self, camera: Camera) -> None:
        """Tell what happens to a real camera."""
        if not isinstance(camera, SupervisedCamera):
            return

        def happened(event: CameraEvent) -> None:
            self._say(event.message)
            self._recorder.event(event.code, event.severity, event.message, event.value, "s" if event.value else None)

        self._camera, camera.on_event = camera, happened

    def _loop(self, origin: Origin, mode: Mode, drivers: Drivers, outbox: Outbox, link: MqttLink) -> None:
        sampling, recorder = self._config.sampling, self._recorder
        self._pulse = partial(self._tell, link, outbox, drivers)
        wakes = self._wakes(drivers, outbox)
        pause_s = 1.0
        drivers.camera.start()
        while not self._stop.is_set():
            if sampling.max_intervals and recorder.tally.intervals >= sampling.max_intervals:
                return
            try:
                state = {} if wakes is None or mode.under_way else {WAKE_STATE_KEY: wakes.wait().isoformat()}
                began = Beginning.at(outbox.clock)
                found = mode.take()
                if found is None:
                    return
                notices, kept = self._vitals.look(found, outbox.clock.now())
                recorder.interval(origin, replace(found, notices=(*found.notices, *notices)), began, state | kept)
                pause_s = 1.0
            except _StopError:
                return
            except CameraStuckError:
                raise
            except (HardwareError, TransientError) as error:
                recorder.lost(error)
                self._stop.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            link.notify()
            self._pulse()
            if sampling.pause_s and not mode.under_way:
                try:
                    self._sleeper(drivers)(sampling.pause_s)
                except _StopError:
                    return

    def _sleeper(self, drivers: Drivers) -> Callable[[float], None]:
        """The drivers' sleep, cut short when the service is to stop."""

        def sleep(seconds: float) -> None:
            if seconds >= _LONG_SLEEP_S:
                self._pulse()
            if not (self._config.twin.realtime or self._config.camera.driver != "twin"):
                drivers.time.sleep(seconds)
            elif self._stop.wait(seconds):
                raise _StopError
            if self._stop.is_set():
                raise _StopError

        return sleep

    def _wakes(self, drivers: Drivers, outbox: Outbox) -> Wakes | None:
        """The schedule, where there is one; what it missed while the box was off is told."""
        schedule = schedule_of(self._config.sampling.schedule)
        if schedule is None:
            return None
        simulated = self._config.camera.driver == "twin" and not self._config.twin.realtime
        wakes = Wakes(schedule, state=outbox.get_state(WAKE_STATE_KEY), sleep=self._sleeper(drivers), simulated=simulated)
        if missed := wakes.missed():
            message = f"{missed} samples of the schedule were missed since {wakes.last}"
            self._say(message)
            self._recorder.event("samples_missed", "warning", message, float(missed))
        return wakes

    def _tell(self, link: MqttLink, outbox: Outbox, drivers: Drivers) -> None:
        """`stats` and `health`, where they are due."""
        self._publish_stats(link, outbox, drivers)
        self._vitals.publish(link, time.monotonic())

    def _publish_stats(self, link: MqttLink, outbox: Outbox, drivers: Drivers) -> None:
        now = time.monotonic()
        if now < self._stats_at_s or link.state is not LinkState.CONNECTED:
            return
        self._stats_at_s = now + STATS_EVERY_S
        link.publish(
            "stats",
            {
                "uptime_s": round(now - self._started_s, 1),
                **stats_of(self._recorder.tally, outbox, link, drivers.environment),
                "review": asdict(self._review.counters) if self._review else None,
                "camera": self._camera.stats if self._camera else None,
                "optics": self._vitals.optics.values(),
            },
        )


def _review_queue(config: Config, folder: Path) -> ReviewQueue | None:
    """Where crops for review are kept; None where they are not."""
    if config.review.budget_mb == 0:
        return None
    return ReviewQueue(
        folder,
        round(config.review.budget_mb * 2**20),
        random_share=config.review.random_share,
        min_free_bytes=round(config.storage.min_free_mb * 2**20),
    )
