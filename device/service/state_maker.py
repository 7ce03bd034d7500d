"""Makes the state, in the loop's thread, and says of it what is due: `stats` and `health` on MQTT are parts of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Protocol

from device import __version__
from device.drivers.supervised_camera import SupervisedCamera
from device.frames import RawFrame
from device.messaging.broker_keeper import BrokerKeeper
from device.messaging.link import LinkState, MqttLink
from device.messaging.payloads import Info, Stats
from device.parts import Parts
from device.records import iso_time
from device.rig.rig import Rig
from device.service.announce import stats_of
from device.service.health_monitor import HealthMonitor
from device.service.loop_requests import LoopRequests
from device.service.output_status import OutputStatus
from device.service.recorder import Recorder
from device.service.request_dispatcher import RequestDispatcher
from device.service.state import Activity, LampAcknowledged, LastFrame, PumpAcknowledged, State, StateBoard
from device.storage.outbox import Outbox
from device.storage.review import ReviewQueue

__all__ = ["RETRYING", "StateMaker", "Waker"]

STATS_EVERY_S = 60.0
RETRYING = "waiting to try again"
"""The step of a loop whose sample came to nothing."""

_AT: dict[str, tuple[Activity, str]] = {
    "starting": ("starting", "starts"),
    "sampling": ("sampling", "takes a sample"),
    "camera": ("sampling", "takes a frame"),
    "analysis": ("analysing", "looks for particles in a frame"),
    "store": ("analysing", "keeps what it found"),
    "waiting": ("waiting", "waits for the next sample"),
    RETRYING: ("failed", "the last sample came to nothing; tries again"),
}
"""What the box is at, by the loop's step; a step that isn't here changes nothing."""


class Waker(Protocol):
    """As `sampling.wakes.Wakes`."""

    @property
    def upcoming(self) -> datetime | None:
        """The wake that is waited for; None: none is."""
        ...


class StateMaker:
    """Everything is called from the loop's thread; the board is for all."""

    def __init__(
        self,
        info: Info,
        parts: Parts,
        outbox: Outbox,
        link: MqttLink,
        recorder: Recorder,
        monitor: HealthMonitor,
        loop_requests: LoopRequests,
        drivers: Rig,
        *,
        review: ReviewQueue | None = None,
        camera: SupervisedCamera | None = None,
        broker: BrokerKeeper | None = None,
        console: OutputStatus | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monitor = monitor
        self.dispatcher: RequestDispatcher | None = None
        self.wakes: Waker | None = None
        self._outbox, self._link, self._recorder = outbox, link, recorder
        self._loop_requests, self._drivers = loop_requests, drivers
        self._review, self._camera, self._broker, self._console = review, camera, broker, console
        self._monotonic, self._started_s = monotonic, monotonic()
        self._stats_at_s = 0.0
        self._stats_said = True
        self._idle_until: datetime | None = None
        now = iso_time(outbox.clock.now())
        doing, words = _AT["starting"]
        first = State(
            at=now, device_id=outbox.device_id, boot_id=outbox.boot_id, version=__version__, started_at=now, doing=doing,
            doing_words=words, doing_since=now, info=info, last_interval=recorder.last_interval, link=link.state.value,
            simulated=parts.simulated,
        )  # fmt: skip
        self.board = StateBoard(first, monotonic)

    def at_step(self, steps: Sequence[str]) -> None:
        """The loop is at these steps, the innermost last."""
        last = steps[-1]
        if "starting" in steps:
            last = "starting"
        elif last == "waiting" and "sampling" in steps:
            last = "sampling"
        if (found := _AT.get(last)) and self.board.now().doing != "stopping":
            self.at(*found)

    def at(self, doing: Activity, words: str) -> None:
        """What the box does; everything that costs nothing to look at is looked at."""
        before = self.board.now()
        now = self._outbox.clock.now()
        at = iso_time(now)
        upcoming = self.wakes.upcoming if self.wakes else None
        next_at = (upcoming or self._idle_until) if doing == "waiting" else None
        self.board.change(
            at=at,
            doing=doing,
            doing_words=words,
            doing_since=before.doing_since if before.doing == doing else at,
            next_at=None if next_at is None else iso_time(next_at),
            lamp=LampAcknowledged.of(self._drivers.lamp.state),
            pump=PumpAcknowledged.of(self._drivers.pump.state),
            last_interval=self._recorder.last_interval,
            link=self._link.state.value,
        )

    def idle(self, seconds: float | None) -> None:
        """The loop sleeps so long between two samples; None: not any more."""
        self._idle_until = None if seconds is None else self._outbox.clock.now() + timedelta(seconds=seconds)

    def saw(self, frame: RawFrame) -> None:
        """The camera gave a frame."""
        self.board.change(camera=LastFrame.of(frame))

    def works_as(self, info: Info, monitor: HealthMonitor) -> None:
        """Settings or models changed."""
        self._monitor = monitor
        self._link.publish_info(info)
        self.board.change(info=info)

    def pulse(self) -> None:
        """`stats` and `health`, made and said where they are due."""
        now_s = self._monotonic()
        if (stats := self._due_stats(now_s)) is not None:
            self.board.change(stats=stats)
            if self._stats_said:
                self._link.publish("stats", stats)
        if (health := self._monitor.due(self._link, now_s)) is not None:
            self.board.change(health=health)
            self._link.publish("health", health, retain=True, qos=1)

    def _due_stats(self, now_s: float) -> Stats | None:
        """Once a minute, and as soon as somebody can hear what nobody could."""
        connected = self._link.state is LinkState.CONNECTED
        if now_s < self._stats_at_s and (self._stats_said or not connected):
            return None
        self._stats_at_s, self._stats_said = now_s + STATS_EVERY_S, connected
        return self.stats()

    def stats(self) -> Stats:
        """As they are now."""
        return Stats(
            uptime_s=round(self._monotonic() - self._started_s, 1),
            **stats_of(self._recorder.tally, self._outbox, self._link, self._drivers.environment),
            review=asdict(self._review.counters) if self._review else None,
            camera=self._camera.stats if self._camera else None,
            optics=self._monitor.optics.values(),
            sampling="stopped" if self._loop_requests.paused else "started",
            commands=asdict(self.dispatcher.counts) if self.dispatcher else None,
            lines_not_printed=self._console.lost if self._console else None,
            own_broker=asdict(self._broker.counts) if self._broker else None,
        )
