"""The service: sample, analyse, commit, publish, until stopped. Start-up is recovery: there is no second path."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from device import __version__
from device.analysis.crops import ParticleCrop
from device.analysis.pipeline import Pipeline
from device.analysis.report import Origin, detection_records, interval_record
from device.app import Drivers, build_drivers, build_mode, build_pipeline, calibrations, model_store
from device.calibration import Calibrations
from device.config import Config, config_hash
from device.drivers.ports import Camera
from device.drivers.supervised_camera import CameraEvent, CameraStuckError, SupervisedCamera
from device.errors import HardwareError, HolonodeError, TransientError
from device.frames import Clock
from device.identifiers import record_ulid
from device.inference.interpreter import runtime_name
from device.instrument import Instrument, load_instrument
from device.messaging.broker import OwnBroker
from device.messaging.link import LinkState, MqttLink, parse_url
from device.messaging.payloads import Info
from device.messaging.topics import Topics
from device.records import Detection, Event, Interval, iso_time
from device.sampling.findings import Findings
from device.sampling.schedule import schedule_of
from device.sampling.wakes import STATE_KEY as WAKE_STATE_KEY
from device.sampling.wakes import Wakes
from device.storage.outbox import Outbox
from device.storage.review import FOLDER as REVIEW_FOLDER
from device.storage.review import ReviewQueue

__all__ = ["Service"]

log = logging.getLogger("holonode")

STATS_EVERY_S = 60.0
# A camera that is back is used again within this.
_LONGEST_PAUSE_S = 10.0
_PER = {"m^-3": "m^3", "L^-1": "L", "mL^-1": "mL"}


class _StopError(Exception):
    """Somebody asked the service to stop while it slept."""


@dataclass
class _Tally:
    """What `stats` tells."""

    intervals: int = 0
    detections: int = 0
    dropped: int = 0
    last_detection: str | None = None
    analysis_s: float = 0.0


class Service:
    """One box at work."""

    def __init__(self, config: Config, say: Callable[[str], None] = print) -> None:
        self._config, self._say = config, say
        self._stop = threading.Event()
        self._tally = _Tally()
        self._broker: OwnBroker | None = None
        self._review: ReviewQueue | None = None
        self._camera: SupervisedCamera | None = None
        self._started_s = time.monotonic()
        self._stats_at_s = 0.0

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
        outbox = Outbox(folder, config.device.id, min_free_bytes=round(config.storage.min_free_mb * 2**20))
        self._review = _review_queue(config, folder / REVIEW_FOLDER)
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
            link = self._link(outbox, self._info(instrument, pipeline, origin))
            drivers = build_drivers(config, nominal)
            self._watch_camera(drivers.camera, outbox)
            self._greet(outbox)
            link.start()
            try:
                self._loop(calibrated, pipeline, origin, drivers, outbox, link)
            finally:
                drivers.close()
                link.stop()
        finally:
            outbox.close()
            if self._broker is not None:
                self._broker.stop()
        self._say(f"stopped after {self._tally.intervals} intervals, {self._tally.detections} detections")
        return 0

    def _asked_to_stop(self, _number: int, _frame: object) -> None:
        self._stop.set()

    def _link(self, outbox: Outbox, info: Info) -> MqttLink:
        mqtt = self._config.mqtt
        if not mqtt.url:
            self._broker = OwnBroker.start(outbox.folder, mqtt.own_broker_port)
            if self._broker.kind == "amqtt":
                mqtt = msgspec.structs.replace(mqtt, protocol="3.1.1")
            mqtt = msgspec.structs.replace(mqtt, url=self._broker.url)

        def trouble(code: str, message: str) -> None:
            self._say(message)
            self._event(outbox, code, "warning", message)

        return MqttLink(mqtt, parse_url(mqtt.url), outbox, info, on_trouble=trouble)

    def _watch_camera(self, camera: Camera, outbox: Outbox) -> None:
        """Tell what happens to a real camera."""
        if not isinstance(camera, SupervisedCamera):
            return

        def happened(event: CameraEvent) -> None:
            self._say(event.message)
            self._event(outbox, event.code, event.severity, event.message, value=event.value, unit="s" if event.value else None)

        self._camera, camera.on_event = camera, happened

    def _greet(self, outbox: Outbox) -> None:
        url = self._broker.url if self._broker else self._config.mqtt.url
        own = f" (its own {self._broker.kind}, loopback only)" if self._broker else ""
        address = parse_url(url)
        self._say(
            f"holonode {__version__}: {self._config.device.id}, {self._config.sampling.mode}, {self._config.camera.driver} camera"
        )
        self._say(f"broker   {url}{own}")
        topics = Topics(self._config.device.id)
        self._say(f"watch    mosquitto_sub -h {address.host} -p {address.port} -v -t '{topics.root}/#'")
        self._say(f"store    {outbox.folder}")
        if outbox.next_seq > 1:
            self._say(f"resuming after record {outbox.next_seq - 1}; {outbox.depth()} wait to be delivered")

    def _info(self, instrument: Instrument, pipeline: Pipeline, origin: Origin) -> Info:
        shown: dict[str, Any] = msgspec.to_builtins(self._config)
        for key in ("username", "password_file"):
            if shown["mqtt"][key]:
                shown["mqtt"][key] = "(set)"
        return Info(
            device_id=origin.device_id,
            software={"holonode": __version__, "runtime": runtime_name(), "numpy": np.__version__},
            instrument=msgspec.to_builtins(instrument),
            instrument_id=instrument.id,
            calibration_id=origin.calibration_id,
            models=msgspec.to_builtins(pipeline.models),
            pipeline_id=origin.pipeline_id,
            config=shown,
            config_hash=origin.config_hash,
        )

    def _loop(
        self, calibrated: Calibrations, pipeline: Pipeline, origin: Origin, drivers: Drivers, outbox: Outbox, link: MqttLink
    ) -> None:
        config = self._config
        mode = build_mode(config, calibrated, pipeline, drivers, self._sleeper(drivers), outbox)
        wakes = self._wakes(drivers, outbox)
        pause_s = 1.0
        drivers.camera.start()
        while not self._stop.is_set():
            if config.sampling.max_intervals and self._tally.intervals >= config.sampling.max_intervals:
                return
            try:
                state = {} if wakes is None else {WAKE_STATE_KEY: wakes.wait().isoformat()}
                started = datetime.now(UTC)
                found = mode.take()
                if found is None:
                    return
                self._keep(origin, found, started, outbox, state)
                pause_s = 1.0
            except _StopError:
                return
            except CameraStuckError:
                raise
            except (HardwareError, TransientError) as error:
                self._lost(error, outbox)
                self._stop.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            link.notify()
            self._publish_stats(link, outbox, drivers)
            if config.sampling.pause_s:
                try:
                    self._sleeper(drivers)(config.sampling.pause_s)
                except _StopError:
                    return

    def _sleeper(self, drivers: Drivers) -> Callable[[float], None]:
        """The drivers' sleep, cut short when the service is to stop."""

        def sleep(seconds: float) -> None:
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
            self._event(outbox, "samples_missed", "warning", message, value=float(missed))
        return wakes

    def _keep(
        self, origin: Origin, found: Findings, started: datetime, outbox: Outbox, state: dict[str, str] | None = None
    ) -> None:
        """Commit what one interval held, with the state that the next start needs."""
        interval_id = record_ulid(started, origin.device_id, origin.spool_id, outbox.next_seq, "interval")

        def build(first: int) -> list[Any]:
            detections: list[Detection] = []
            for frame in found.frames:
                seq = first + len(detections)
                detections += detection_records(origin, frame.hologram, frame.analysis, seq, interval_id)
            interval = interval_record(
                origin,
                seq=first + len(detections),
                interval_id=interval_id,
                span=(started, datetime.now(UTC)),
                clock=found.frames[-1].hologram.clock if found.frames else Clock(),
                frames=found.taken,
                labels=[d.label for d in detections],
                sizes_um=[d.esd_um for d in detections],
                volume=found.volume if found.volume.value > 0 else None,
                losses=found.losses,
                dead_time_s=found.dead_time_s,
                unexplained=found.unexplained,
                suspect=found.suspect,
            )
            return [*detections, interval]

        records = outbox.commit(build, {"last_interval": interval_id, **found.state, **(state or {})})
        outbox.prune()
        self._set_aside([r for r in records if isinstance(r, Detection)], [c for frame in found.frames for c in frame.crops])
        for notice in found.notices:
            self._say(notice.message)
            self._event(outbox, notice.code, notice.severity, notice.message, notice.value, notice.unit)
        interval = records[-1]
        if isinstance(interval, Interval):
            self._tell(interval, found)

    def _set_aside(self, detections: list[Detection], crops: list[ParticleCrop]) -> None:
        """Crops that are worth a person's look, kept once their records are safe."""
        if self._review is None or not crops:
            return
        try:
            self._review.offer(detections, crops.__getitem__)
        except Exception as error:  # noqa: BLE001  nothing that goes wrong here is worth an interval
            self._review.count_failure(error)

    def _tell(self, interval: Interval, found: Findings) -> None:
        self._tally.intervals += 1
        self._tally.detections += sum(len(frame.analysis.particles) for frame in found.frames)
        self._tally.analysis_s = sum(frame.analysis.elapsed_s for frame in found.frames)
        total, all_of_it = interval.counts["total"], interval.concentration.get("total")
        if total.n:
            self._tally.last_detection = interval.ended_at
        if all_of_it is None:
            self._say(f"{interval.ended_at[11:19]}Z  not analysed: something too large to be a particle blocks the field")
            return
        seen = [
            f"{label} {count.n} ({_figure(interval.concentration[label].low)}-{_figure(interval.concentration[label].high)})"
            for label, count in interval.counts.items()
            if count.n and label != "total"
        ]
        self._say(
            f"{interval.ended_at[11:19]}Z  {found.sampled}, {total.n} particles ({total.low:.1f}-{total.high:.1f}): "
            f"{_figure(all_of_it.value)} per {_PER[all_of_it.unit]} ({_figure(all_of_it.low)}-{_figure(all_of_it.high)})"
            + (";  " + ", ".join(seen) if seen else "")
        )

    def _lost(self, error: HolonodeError, outbox: Outbox) -> None:
        """An interval that came to nothing: said, counted, published."""
        self._tally.dropped += 1
        code = "storage_refused" if isinstance(error, TransientError) else "hardware_failed"
        self._say(f"interval lost: {error}")
        self._event(outbox, code, "alarm", str(error), value=float(outbox.refused or self._tally.dropped))

    def _event(
        self, outbox: Outbox, code: str, severity: Any, message: str, value: float | None = None, unit: str | None = None
    ) -> None:
        now = datetime.now(UTC)

        def build(seq: int) -> list[Event]:
            return [
                Event(
                    device_id=outbox.device_id,
                    spool_id=outbox.spool_id,
                    seq=seq,
                    id=record_ulid(now, outbox.device_id, outbox.spool_id, seq),
                    code=code,
                    severity=severity,
                    message=message,
                    value=value,
                    unit=unit,
                    since=iso_time(now),
                )
            ]

        try:
            outbox.commit(build)
        except TransientError as error:
            # The refusal is counted in the outbox and told with the next stats.
            log.warning("an event could not be kept: %s", error)

    def _publish_stats(self, link: MqttLink, outbox: Outbox, drivers: Drivers) -> None:
        now = time.monotonic()
        if now < self._stats_at_s or link.state is not LinkState.CONNECTED:
            return
        self._stats_at_s = now + STATS_EVERY_S
        tally = self._tally
        link.publish(
            "stats",
            {
                "uptime_s": round(now - self._started_s, 1),
                "intervals": tally.intervals,
                "detections": tally.detections,
                "intervals_lost": tally.dropped,
                "outbox_depth": outbox.depth(),
                "commits_refused": outbox.refused,
                "publishes_refused": link.refused_publishes,
                "published": link.published,
                "last_analysis_s": round(tally.analysis_s, 3),
                "last_detection_at": tally.last_detection,
                "review": asdict(self._review.counters) if self._review else None,
                "camera": self._camera.stats if self._camera else None,
                "environment": _surroundings(drivers),
            },
        )


def _surroundings(drivers: Drivers) -> dict[str, float | None] | None:
    """Temperature, humidity, pressure and supply; None where the sensors don't answer."""
    try:
        reading = asdict(drivers.environment.read())
    except HardwareError as error:
        log.warning("no environment in the stats: %s", error)
        return None
    return {name: None if value is None else round(value, 2) for name, value in reading.items()}


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


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
