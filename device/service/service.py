"""The service's life: from a configuration to everything off. Start-up is recovery: there is no second path."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from device.analysis.report import RecordProvenance
from device.calibration import Calibrations
from device.config import Config, public
from device.drivers.ports import Camera
from device.drivers.supervised_camera import CameraEvent, CameraStuckError, SupervisedCamera
from device.errors import HardwareError, HolonodeError, TransientError
from device.frames import Exposure, RawFrame
from device.health.armed import STATE_KEY as ARMED_KEY
from device.health.armed import armed_of
from device.health.board_power import BoardPower
from device.health.stored import history_check
from device.health.watchdog import Allowances, allowances_of
from device.instrument import load_instrument
from device.messaging.broker import OwnBroker
from device.messaging.broker_keeper import BrokerKeeper
from device.messaging.homeassistant import discovery
from device.messaging.link import LinkState, MqttLink, parse_url
from device.messaging.payloads import Check, Health, Info
from device.messaging.request_messages import BUTTONS, IncomingRequest
from device.messaging.topics import Topics
from device.parts import parts_of
from device.processes import waits_for_disk
from device.rig.build import build_rig
from device.rig.modes import build_mode
from device.rig.records import calibrations
from device.rig.rig import Rig
from device.sampling.findings import Mode
from device.sampling.kinds import sampling_kind
from device.sampling.schedule import schedule_of
from device.sampling.wakes import STATE_KEY as WAKE_STATE_KEY
from device.sampling.wakes import Wakes
from device.service.announce import greet, info_of
from device.service.health_monitor import HealthMonitor
from device.service.heartbeat import Heartbeat, Notifier, Steps
from device.service.interruptible_sleep import SLICE_S, InterruptibleSleep, SleepInterruptedError, StopError
from device.service.look import LookBoard
from device.service.loop_requests import LoopRequests
from device.service.model_keeper import ModelKeeper
from device.service.output_status import OutputStatus, output_check
from device.service.patience import Patience
from device.service.recorder import Recorder, Tally
from device.service.request_dispatcher import RequestDispatcher
from device.service.request_handlers import RequestHandlers, takes_requests
from device.service.state import StateBoard
from device.service.state_maker import RETRYING, StateMaker
from device.service.support import LogTail
from device.service.timekeeper import Beginning, Timekeeper
from device.service.update_confirmer import UpdateConfirmer
from device.service.watched import watched_drivers, watched_pipeline
from device.service.work import Work
from device.settings import STATE_KEY as SETTINGS_KEY
from device.settings import overlaid, overlay_of
from device.stopping import StoppedError, Stopping
from device.storage.audit import AuditLog
from device.storage.damaged import DamagedCopies
from device.storage.history import HistoryKeeper
from device.storage.history.tables import FOLDER as HISTORY_FOLDER
from device.storage.outbox import Outbox
from device.storage.review import FOLDER as REVIEW_FOLDER
from device.storage.review import ReviewQueue

if TYPE_CHECKING:
    from device.service.dashboard import DashboardKeeper

__all__ = ["LONGEST_PAUSE_S", "Service"]

LONGEST_PAUSE_S = 10.0
"""A camera that is back is used again within this."""
LOOPBACK = ("127.0.0.1", "::1")
_LAST_AUDIT_LINES = 200
_DELIVERY_S = 5.0
"""Of the end, for what waits to go out."""


class Service:
    """One box at work."""

    def __init__(
        self,
        config: Config,
        say: Callable[[str], None] = print,
        *,
        stopping: Stopping | None = None,
        console: OutputStatus | None = None,
    ) -> None:
        """`say` prints a line and never waits or fails; `console` knows what became of them."""
        self._log_tail = LogTail()
        self._config, self._print, self._console = config, say, console
        self._stopping = stopping or Stopping()
        self._allowed: Allowances = allowances_of(config)
        self._steps = Steps("the service's loop", self._allowed.between_s)
        self._heart = Heartbeat(Notifier.from_environment(), self._status)
        self._heart.watch(self._steps.late)
        self._patience = Patience(self._stopping, self._steps, self._say)
        self._link_state: Callable[[], str] | None = None
        self._broker: BrokerKeeper | None = None
        self._camera: SupervisedCamera | None = None
        self._tally = Tally()
        self._retry_s = 1.0
        self._state_maker: StateMaker | None = None
        self._history: HistoryKeeper | None = None
        self._looks = LookBoard()
        self._confirmer = UpdateConfirmer(config)
        self._model_keeper = ModelKeeper(self._reported)
        self._handlers: RequestHandlers | None = None
        self._board_power = BoardPower()
        self._dispatcher: RequestDispatcher | None = None
        self._audit: AuditLog | None = None
        self._dashboard: DashboardKeeper | None = None

    @property
    def board(self) -> StateBoard | None:
        """Where its state hangs; None before there is one."""
        return self._state_maker.board if self._state_maker else None

    def _say(self, line: str) -> None:
        self._log_tail.add(line)
        self._print(line)

    def _reported(self, code: str, severity: str, message: str, value: float | None = None, unit: str | None = None) -> None:
        """Said, and kept as an event."""
        self._say(message)
        self._recorder.event(code, severity, message, value, unit)

    def _status(self) -> str:
        """For the service manager."""
        link = f"; broker {self._link_state()}" if self._link_state else ""
        return f"{self._steps.now_at}; {self._tally.intervals} intervals since the start{link}"

    def run(self) -> int:
        """Work until SIGINT, SIGTERM or `sampling.max_intervals`; returns the exit status."""
        self._stopping.catch()
        try:
            with ExitStack() as ends:
                self._live(ends)
        except StoppedError:
            self._say("stopped before the first interval")
            return 0
        tally = self._tally
        self._say(f"stopped after {tally.intervals} intervals, {tally.detections} detections")
        return 0

    def _live(self, ends: ExitStack) -> None:
        """From start to end; `ends` gets what undoes each step."""
        logging.getLogger().addHandler(self._log_tail)
        ends.callback(logging.getLogger().removeHandler, self._log_tail)
        self._heart.start()
        ends.callback(self._heart.stop)
        with self._steps.step("starting", self._allowed.start_s):
            handlers, maker = self._started(ends)
        try:
            self._first_frame(handlers.drivers)
            self._work(handlers.work, handlers, maker)
        finally:
            maker.at("stopping", "ends what is under way")
            self._steps.beat()
            self._heart.stopping()

    def _started(self, ends: ExitStack) -> tuple[RequestHandlers, StateMaker]:
        """Everything open and started; StoppedError where somebody asks to stop meanwhile."""
        config, check = self._config, self._stopping.check
        nominal = load_instrument(config.device.instrument)
        calibrated = calibrations(config, nominal)
        for refusal in calibrated.refused:
            self._say(f"calibration record refused: {refusal}")
        folder = Path(config.storage.folder).expanduser()
        self._review = _review_queue(config, folder / REVIEW_FOLDER)
        reclaimables = [DamagedCopies(folder / HISTORY_FOLDER), *([self._review] if self._review else [])]
        check()
        outbox = self._patience.until(
            "the store",
            lambda: Outbox(
                folder, config.device.id, min_free_bytes=round(config.storage.min_free_mb * 2**20), reclaimables=reclaimables
            ),
        )
        ends.callback(outbox.close)
        self._recorder = Recorder(outbox, self._review, self._say, parts_of(config).simulated)
        for message in self._patience.waited:
            self._recorder.event("start_waits", "warning", message)
        self._tally = self._recorder.tally
        timekeeper = Timekeeper(outbox, self._recorder.clock)
        check()
        work = self._first_work(calibrated, outbox)
        self._model_keeper.works_as(work, calibrated)
        check()
        self._loop_requests = LoopRequests(outbox)
        self._own_broker(outbox.folder, ends)
        check()
        info = self._info(work, calibrated, outbox)
        link = self._link(outbox, work, calibrated, info)
        # A twin goes on: where the store already holds records, with other particles than those.
        drivers = self._patience.until(
            "the instrument",
            lambda: build_rig(config, nominal, run=outbox.live_from - 1, folder=outbox.folder),
            lambda message: self._waits(message, link, outbox, ends),
        )
        ends.callback(drivers.close)
        self._watch_camera(drivers.camera)
        drivers = watched_drivers(drivers, self._steps, self._allowed, self._saw)
        self._history = self._begun_history(outbox, ends)
        self._health_monitor = HealthMonitor(work.config, nominal, calibrated, outbox, drivers.environment, self._checks)
        maker = StateMaker(
            info, drivers.parts, outbox, link, self._recorder, self._health_monitor, self._loop_requests, drivers,
            review=self._review, camera=self._camera, broker=self._broker, console=self._console,
        )  # fmt: skip
        self._state_maker, self._steps.on_step = maker, maker.at_step
        greet(config, self._broker.broker if self._broker else None, outbox, armed_of(outbox.get_state(ARMED_KEY)), self._say)
        handlers = RequestHandlers(
            config, work, nominal, calibrated, outbox, self._loop_requests, link, drivers,
            describe=self._described, log_tail=self._log_tail.text,
        )  # fmt: skip
        self._handlers = handlers
        check()
        self._dispatcher = maker.dispatcher = self._start_dispatcher(handlers, link, outbox)
        self._start_link(link, outbox, ends)
        timekeeper.start()
        ends.callback(timekeeper.stop)
        # Once more: lamp and pump are off before anybody waits for a delivery.
        ends.callback(drivers.close)
        ends.callback(self._stop_dispatcher)
        self._serve_dashboard(handlers, maker, ends)
        if self._confirmer.start(maker.board, lambda: link.published):
            # A schedule may have nothing to do for hours, and a trial ends sooner.
            self._loop_requests.ask_sample()
        ends.callback(self._confirmer.stop)
        drivers.camera.start()
        return handlers, maker

    def _start_link(self, link: MqttLink, outbox: Outbox, ends: ExitStack) -> None:
        """Once."""
        if self._link_state is not None:
            return
        self._link_state = lambda: link.state.value
        link.start()
        ends.callback(self._end_link, link, outbox)
        self._heart.watch(lambda: self._link_late(link))

    def _link_late(self, link: MqttLink) -> str | None:
        allowed = self._allowed
        return link.late(allowed.link_s if waits_for_disk() else min(allowed.link_s, allowed.link_still_s))

    def _waits(self, message: str, link: MqttLink, outbox: Outbox, ends: ExitStack) -> None:
        """Nobody who is far away should take a box that waits for a part of itself for one that is gone."""
        self._recorder.event("start_waits", "warning", message)
        self._start_link(link, outbox, ends)
        check = Check(name="start", status="failed", message=message, remedy="Do what the message says; it is tried again")
        link.publish("health", Health.of([check]), retain=True, qos=1)

    def _begun_history(self, outbox: Outbox, ends: ExitStack) -> HistoryKeeper:
        """What pages read, kept up with the outbox."""
        storage = self._config.storage
        keeper = HistoryKeeper(
            outbox, self._reported, particles_bytes=round(storage.history_particles_mb * 2**20),
            min_free_bytes=round(storage.min_free_mb * 2**20),
        )  # fmt: skip
        self._recorder.hearers += (keeper.take,)
        ends.callback(keeper.stop)
        keeper.start()
        return keeper

    def _first_frame(self, drivers: Rig) -> None:
        """Of a real camera, tried for a while before the schedule is waited for: only a frame says that it is there."""
        camera = self._config.camera
        exposure, pause_s = Exposure(camera.exposure_us, camera.gain), 1.0
        while self._camera is not None and pause_s <= LONGEST_PAUSE_S and not self._stopping.asked:
            try:
                drivers.camera.capture(exposure, drivers.lamp.state)
                return
            except CameraStuckError:
                raise
            except HardwareError:
                # Told by the camera itself, and tried again with every sample.
                with self._steps.step(RETRYING, pause_s + self._allowed.between_s):
                    self._stopping.wait(pause_s)
                pause_s *= 2

    def _saw(self, frame: RawFrame) -> None:
        self._heart.ready()
        if self._state_maker is not None:
            self._state_maker.saw(frame)

    def _end_link(self, link: MqttLink, outbox: Outbox) -> None:
        """Let what waits go out for a while, unless somebody is in a hurry."""
        until_s = time.monotonic() + _DELIVERY_S
        while link.state is LinkState.CONNECTED and outbox.depth() > outbox.aside and time.monotonic() < until_s:
            if self._stopping.hurried:
                break
            link.notify()
            time.sleep(0.02)
        link.stop(1.0 if self._stopping.hurried else _DELIVERY_S)

    def _own_broker(self, folder: Path, ends: ExitStack) -> None:
        """Where none is configured."""
        if self._config.mqtt.url:
            return

        own = self._patience.until("its own broker", lambda: OwnBroker.start(folder, self._config.mqtt.own_broker_port))
        self._broker = BrokerKeeper(own, self._reported)
        ends.callback(self._broker.stop)
        self._broker.start()

    def _checks(self) -> list[Check]:
        """Of what the service hangs on, for `health`."""
        checks = [self._model_keeper.check(), *self._board_power.checks(), *self._confirmer.checks()]
        if self._broker is not None:
            checks.append(self._broker.check())
        if self._history is not None:
            checks.append(history_check(self._history.progress()))
        if self._console is not None and self._console.lost:
            checks.append(output_check(self._console))
        if self._dashboard is not None:
            checks += self._dashboard.check()
        return checks

    def _first_work(self, calibrated: Calibrations, outbox: Outbox) -> Work:
        """As configured, with what was changed from afar; where that can't be any more, as configured."""
        # Where self-tests that passed are remembered.
        with contextlib.suppress(OSError):
            (outbox.folder / "models").mkdir(exist_ok=True)
        with self._steps.step("testing models", self._allowed.models_s):
            return self._opened(calibrated, outbox)

    def _opened(self, calibrated: Calibrations, outbox: Outbox) -> Work:
        overlay = overlay_of(outbox.get_state(SETTINGS_KEY))
        try:
            return Work.of(overlaid(self._config, overlay), calibrated, outbox.spool_id, tolerant=True)
        except StoppedError:
            raise
        except HolonodeError as error:
            if not overlay:
                raise
            work = Work.of(self._config, calibrated, outbox.spool_id, tolerant=True)
            outbox.keep({SETTINGS_KEY: "{}"})
            message = f"settings that were changed from afar were given up, the configuration file's hold: {error}"
            self._say(message)
            self._recorder.event("settings_refused", "warning", message)
            return work

    def _work(self, work: Work | None, handlers: RequestHandlers, maker: StateMaker) -> None:
        """Sample until stopped; as another work, once there is one."""
        drivers, outbox, link, calibrated = handlers.drivers, handlers.outbox, handlers.link, handlers.calibrated
        first = True
        while work is not None:
            self._config, self._allowed = work.config, allowances_of(work.config)
            self._model_keeper.works_as(work, calibrated)
            if not first:
                self._health_monitor = HealthMonitor(
                    work.config, handlers.nominal, calibrated, outbox, drivers.environment, self._checks
                )
                maker.works_as(self._info(work, calibrated, outbox), self._health_monitor)
            sleeper = InterruptibleSleep(
                drivers, self._stopping, self._steps, pulse=maker.pulse, interrupted=lambda: self._loop_requests.pending,
                idle=maker.idle,
            )  # fmt: skip
            pipeline = watched_pipeline(work.pipeline, self._steps, self._allowed, self._looks.offer)
            mode = build_mode(work.config, calibrated, pipeline, drivers, sleeper.sleep, outbox)
            work, first = self._loop(work.origin, mode, sleeper, outbox, link, maker), False

    def _mended_work(self) -> Work | None:
        """Where models that failed pass by now; not where somebody just asked for something else."""
        with self._steps.step("testing models", self._allowed.models_s):
            mended = self._model_keeper.mended()
        if mended is not None and self._handlers is not None and not self._loop_requests.pending:
            self._handlers.work = mended
            return mended
        return None

    def _info(self, work: Work, calibrated: Calibrations, outbox: Outbox) -> Info:
        armed = armed_of(outbox.get_state(ARMED_KEY))
        settings = overlay_of(outbox.get_state(SETTINGS_KEY))
        return info_of(
            work.config, calibrated.instrument, work.pipeline, work.origin, armed, settings, self._fingerprint(outbox)
        )

    def _fingerprint(self, outbox: Outbox) -> str | None:
        """Of the dashboard's certificate, made here where there is none yet."""
        web = self._config.web
        if not web.enabled or (web.address in LOOPBACK and not web.cert_file):
            return None
        from device.service.dashboard import fingerprint  # noqa: PLC0415  as above

        return fingerprint(outbox.folder, outbox.device_id, web)

    def _serve_dashboard(self, handlers: RequestHandlers, maker: StateMaker, ends: ExitStack) -> None:
        """Where one is wanted; it stops first."""
        if not self._config.web.enabled or self._dispatcher is None or self._audit is None or self._history is None:
            return
        # A box without a dashboard doesn't pay for it.
        from device.service.dashboard import DashboardKeeper  # noqa: PLC0415

        self._dashboard = DashboardKeeper.of(
            handlers, maker.board, self._dispatcher, self._audit, self._log_tail, self._say, self._recorder,
            self._history.reader, self._looks, lambda: self._health_monitor.optics.days(),  # noqa: PLW0108 - other settings, another monitor
        )  # fmt: skip
        ends.callback(self._looks.stop)
        ends.callback(self._dashboard.stop)
        self._dashboard.start()

    def _start_dispatcher(self, handlers: RequestHandlers, link: MqttLink, outbox: Outbox) -> RequestDispatcher | None:
        """Takes commands, where they are taken: over MQTT, or on the dashboard."""
        if not (takes_requests(self._config, own=self._broker is not None) or self._config.web.enabled):
            return None
        self._audit = AuditLog(outbox.folder)

        def report(command: str, error: HolonodeError | None) -> None:
            said = f"command {command}: {error or 'done'}"
            self._say(said)
            self._recorder.event("command", "info" if error is None else "warning", said)

        dispatcher = RequestDispatcher(
            Topics(outbox.device_id), handlers.by_name(), self._audit, link.send, report,
            clock=outbox.clock, max_age_s=self._config.commands.max_age_s,
        )  # fmt: skip
        dispatcher.start()
        return dispatcher

    def _stop_dispatcher(self) -> None:
        if self._dispatcher is not None and self._audit is not None:
            self._dispatcher.stop(1.0 if self._stopping.hurried else 10.0)
            self._audit.close()

    def _requested(self, message: IncomingRequest) -> None:
        if self._dispatcher is not None:
            self._dispatcher.receive(message)

    def _described(self) -> dict[str, object]:
        """For a support bundle."""
        audit = [] if self._audit is None else self._audit.read()[-_LAST_AUDIT_LINES:]
        state = self._state_maker.board.now() if self._state_maker else None
        told = {} if state is None else {"state": state, "health": state.health, "stats": state.stats, "info": state.info}
        return {"config": public(self._config), "audit": audit, **told}

    def _link(self, outbox: Outbox, work: Work, calibrated: Calibrations, info: Info) -> MqttLink:
        mqtt = self._config.mqtt
        if self._broker is not None:
            own = self._broker.broker
            protocol = "3.1.1" if own.kind == "amqtt" else mqtt.protocol
            mqtt = msgspec.structs.replace(mqtt, url=own.url, protocol=protocol)

        def on_warning(code: str, message: str) -> None:
            self._say(message)
            self._recorder.event(code, "warning", message)

        takes_commands = takes_requests(self._config, own=self._broker is not None)
        found = discovery(
            self._config.homeassistant,
            outbox,
            labels=work.origin.labels,
            unit=sampling_kind(self._config.sampling.mode).unit,
            model=calibrated.instrument.name,
            buttons=BUTTONS if takes_commands else None,
        )
        on_request = self._requested if takes_commands else None
        return MqttLink(
            mqtt, parse_url(mqtt.url), outbox, info,
            on_warning=on_warning, delivery=self._config.delivery, discovery=found, on_request=on_request,
        )  # fmt: skip

    def _watch_camera(self, camera: Camera) -> None:
        """Tell what happens to a real camera."""
        if not isinstance(camera, SupervisedCamera):
            return

        def happened(event: CameraEvent) -> None:
            self._say(event.message)
            self._recorder.event(event.code, event.severity, event.message, event.value, "s" if event.value else None)

        self._camera, camera.on_event = camera, happened

    def _loop(
        self,
        origin: RecordProvenance,
        mode: Mode,
        sleeper: InterruptibleSleep,
        outbox: Outbox,
        link: MqttLink,
        maker: StateMaker,
    ) -> Work | None:
        """Sample; returns what to go on as, None where that was all."""
        sampling, loop_requests = self._config.sampling, self._loop_requests
        maker.wakes = wakes = self._wakes(sleeper, outbox)
        while not self._stopping.asked:
            self._steps.beat()
            if sampling.max_intervals and self._tally.intervals >= sampling.max_intervals:
                return None
            with self._steps.step("preflight", self._allowed.preflight_s):
                work = loop_requests.next_work(mode.under_way)
                work = work or self._mended_work()
            if work is not None:
                return work
            asked = loop_requests.sample_asked()
            if loop_requests.paused and not asked:
                self._settled()
                maker.at("paused", "sampling is stopped until somebody starts it")
                maker.pulse()
                self._stopping.wait(SLICE_S)
                continue
            try:
                if not self._take(origin, mode, None if asked or mode.under_way else wakes, outbox):
                    return None
                link.notify()
                maker.pulse()
                if sampling.pause_s and not mode.under_way:
                    sleeper.idle(sampling.pause_s)
            except StopError:
                return None
            except SleepInterruptedError:
                continue
        return None

    def _take(self, origin: RecordProvenance, mode: Mode, wakes: Wakes | None, outbox: Outbox) -> bool:
        """One interval, or its loss; False where there are no more frames."""
        try:
            state = self._woken(wakes)
            began = Beginning.at(outbox.clock)
            with self._steps.step("sampling", self._allowed.between_s):
                found = mode.take()
                if found is None:
                    return False
                found = self._model_keeper.judged(found)
                notices, kept = self._health_monitor.assess(found, outbox.clock.now())
            with self._steps.step("store", self._allowed.store_s, self._allowed.store_still_s):
                self._recorder.interval(origin, replace(found, notices=(*found.notices, *notices)), began, state | kept)
            self._retry_s = 1.0
        except CameraStuckError:
            raise
        except (HardwareError, TransientError) as error:
            with self._steps.step("store", self._allowed.store_s):
                self._recorder.lost(error)
            with self._steps.step(RETRYING, self._retry_s + self._allowed.between_s):
                self._stopping.wait(self._retry_s)
            self._retry_s = min(2 * self._retry_s, LONGEST_PAUSE_S)
        return True

    def _settled(self) -> None:
        """The loop waits for something else than a frame; a camera that is none is as good as there."""
        if self._camera is None:
            self._heart.ready()

    def _woken(self, wakes: Wakes | None) -> dict[str, str]:
        """Wait for the schedule, where there is one to wait for; the state to keep of it."""
        self._settled()
        return {} if wakes is None else {WAKE_STATE_KEY: wakes.wait().isoformat()}

    def _wakes(self, sleeper: InterruptibleSleep, outbox: Outbox) -> Wakes | None:
        """The schedule, where there is one; what it missed while the box was off is told."""
        schedule = schedule_of(self._config.sampling.schedule)
        if schedule is None:
            return None
        state = outbox.get_state(WAKE_STATE_KEY)
        wakes = Wakes(schedule, state=state, sleep=sleeper.idle, simulated=sleeper.simulated)
        if missed := wakes.missed():
            message = f"{missed} samples of the schedule were missed since {wakes.last}"
            self._say(message)
            self._recorder.event("samples_missed", "warning", message, float(missed))
        return wakes


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
