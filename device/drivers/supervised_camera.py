"""A camera that is watched: what goes wrong with it is found, counted, told, and mended by starting it anew.

Every call into the driver has a limit, for a driver may hang inside its library. One that does is left to itself and a new
driver is built; a library that can't be left (it holds the device) ends the process, and the service manager starts it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any, Literal, TypeVar

from device.drivers.bounded import Bounded, StuckError, Threads
from device.drivers.ports import Camera, NoFrameError, RepeatedFrameError
from device.errors import HardwareError, HolonodeError
from device.frames import Exposure, LampState, RawFrame

__all__ = ["CameraEvent", "CameraState", "CameraStuckError", "SupervisedCamera"]

T = TypeVar("T")

# The driver's own limit comes first, so that its better message is the one that is read.
_GRACE_S = 0.5

# Exposures that a frame may take: those in the pipeline, and some for the new controls to take effect.
_PIPELINE_EXPOSURES = 10

# A healthy camera closes in some tenths of a second and opens in one to three seconds, on the smallest boards.
_CLOSE_LIMIT_S = 3.0
_START_LIMIT_S = 10.0

# A camera that is lost this long while a call is stuck in its library won't come back in this process.
_GIVE_UP_S = 15.0


class CameraStuckError(HardwareError):
    """The camera's library is stuck: only a restart of the process frees the camera."""


class CameraState(Enum):
    """Where the camera stands."""

    CLOSED = "closed"
    RUNNING = "running"
    LOST = "lost"


_MOVES: dict[CameraState, set[CameraState]] = {
    CameraState.CLOSED: {CameraState.RUNNING, CameraState.LOST},
    CameraState.RUNNING: {CameraState.LOST, CameraState.CLOSED},
    CameraState.LOST: {CameraState.RUNNING, CameraState.CLOSED},
}


@dataclass(frozen=True)
class CameraEvent:
    """Something about the camera that a person may need to know."""

    code: Literal["camera_lost", "camera_recovered", "camera_slow_close", "camera_close_failed"]
    severity: Literal["info", "warning", "alarm"]
    message: str
    value: float | None = None
    """Seconds, where there is one."""


@dataclass
class _CameraCounters:
    frames: int = 0
    exceptions: int = 0
    silences: int = 0
    repeats: int = 0
    slow_closes: int = 0
    restarts: int = 0
    lost: int = 0
    recovered: int = 0


class SupervisedCamera:
    """See `ports.Camera`; `build` makes a driver that is not started."""

    def __init__(self, build: Callable[[], Camera], *, timeout_s: float, threads: Threads | None = None) -> None:
        self._build, self._timeout_s = build, timeout_s
        self._threads = threads or Threads()
        self._bounded = Bounded(self._threads)
        self._camera: Camera | None = None
        self._counters = _CameraCounters()
        self._last_ns: int | None = None
        self._lost_at_s = 0.0
        self.state = CameraState.CLOSED
        self.on_event: Callable[[CameraEvent], None] | None = None
        """Hears of a lost camera, a recovered one, and one that doesn't close; called in the thread that captures."""

    @property
    def stats(self) -> dict[str, Any]:
        """Counts since construction, and how it stands."""
        return {
            "state": self.state.value,
            **asdict(self._counters),
            "calls_abandoned": self._bounded.abandoned,
            "calls_stuck": self._bounded.stuck,
        }

    def start(self) -> None:
        """See `ports.Camera`; a camera that isn't there is told and tried again with every frame."""
        if self.state is not CameraState.CLOSED:
            return
        try:
            self._open()
        except HardwareError as error:
            self._lose(error)
        else:
            self._move(CameraState.RUNNING)

    def capture(self, exposure: Exposure, lamp: LampState) -> RawFrame | None:
        """See `ports.Camera`; a camera that fails is started anew once, within the call.

        CameraStuckError where only a restart of the process helps.
        """
        if self.state is CameraState.CLOSED:
            raise HardwareError("the camera isn't started", remedy="Call start() first.")
        if self.state is CameraState.RUNNING:
            try:
                return self._take(exposure, lamp)
            except HardwareError as error:
                self._lose(error)
        try:
            self._restart()
            frame = self._take(exposure, lamp)
        except CameraStuckError:
            raise
        except HardwareError as error:
            self._lose(error)
            raise
        self._recover()
        return frame

    def close(self) -> None:
        """See `ports.Camera`; comes back in bounded time."""
        if self.state is not CameraState.CLOSED:
            self._discard()
            self._move(CameraState.CLOSED)

    def _open(self) -> None:
        camera = self._build()
        # A start that comes back after all must not keep the camera from the next one.
        self._call("starting", camera.start, _START_LIMIT_S, late=camera.close)
        self._camera = camera

    def _call(self, what: str, work: Callable[[], T], limit_s: float, late: Callable[[], None] | None = None) -> T:
        """Bounded; whatever the driver's library raises is one clear error."""
        try:
            return self._bounded.call(what, work, limit_s, late)
        except HolonodeError:
            raise
        except Exception as error:  # a driver's library raises what it likes
            raise HardwareError(f"the camera fails: {what}", got=f"{type(error).__name__}: {error}") from error

    def _take(self, exposure: Exposure, lamp: LampState) -> RawFrame | None:
        camera = self._camera
        if camera is None:
            raise HardwareError("the camera isn't started", remedy="Call start() first.")
        limit_s = self._timeout_s + _GRACE_S + _PIPELINE_EXPOSURES * exposure.exposure_us * 1e-6
        frame = self._call("a frame", lambda: camera.capture(exposure, lamp), limit_s)
        if frame is None:
            return None
        if self._last_ns is not None and frame.sensor_timestamp_ns <= self._last_ns:
            raise RepeatedFrameError(
                "the camera repeats a frame", expected=f"a time stamp after {self._last_ns} ns",
                got=f"{frame.sensor_timestamp_ns} ns", remedy="It is restarted.",
            )  # fmt: skip
        self._last_ns = frame.sensor_timestamp_ns
        number, self._counters.frames = self._counters.frames, self._counters.frames + 1
        # A new driver counts from 0 again; names must not repeat.
        return replace(frame, index=number, name=f"frame-{number:06d}")

    def _lose(self, error: HardwareError) -> None:
        """Count what happened, tell it once, and let the driver go."""
        if isinstance(error, NoFrameError):
            self._counters.silences += 1
        elif isinstance(error, RepeatedFrameError):
            self._counters.repeats += 1
        else:
            self._counters.exceptions += 1
        if self.state is not CameraState.LOST:
            self._move(CameraState.LOST)
            self._lost_at_s = self._threads.monotonic()
            self._counters.lost += 1
            self._tell(CameraEvent("camera_lost", "alarm", str(error)))
        self._discard()

    def _discard(self) -> None:
        """Close the driver in bounded time; whatever it raises, it isn't used again."""
        camera, self._camera = self._camera, None
        if camera is None:
            return
        try:
            self._call("closing", camera.close, _CLOSE_LIMIT_S)
        except StuckError as error:
            self._counters.slow_closes += 1
            self._tell(CameraEvent("camera_slow_close", "warning", str(error), _CLOSE_LIMIT_S))
        except HolonodeError as error:
            self._counters.exceptions += 1
            self._tell(CameraEvent("camera_close_failed", "warning", str(error)))

    def _restart(self) -> None:
        lost_s = self._threads.monotonic() - self._lost_at_s
        if lost_s > _GIVE_UP_S and self._bounded.stuck:
            raise CameraStuckError(
                "the camera's library is stuck", expected="it to let go of the camera",
                got=f"{self._bounded.stuck} calls that don't come back, {lost_s:.0f} s after the camera was lost",
                remedy="The process ends so that the service manager starts it anew; if it comes again, power-cycle the box.",
            )  # fmt: skip
        self._discard()
        self._counters.restarts += 1
        self._open()

    def _recover(self) -> None:
        self._move(CameraState.RUNNING)
        self._counters.recovered += 1
        lost_s = self._threads.monotonic() - self._lost_at_s
        self._tell(CameraEvent("camera_recovered", "info", f"the camera gives frames again after {lost_s:.1f} s", lost_s))

    def _tell(self, event: CameraEvent) -> None:
        if self.on_event is not None:
            self.on_event(event)

    def _move(self, state: CameraState) -> None:
        if state not in _MOVES[self.state]:
            raise HardwareError("the camera is out of step", expected=[s.value for s in _MOVES[self.state]], got=state.value)
        self.state = state
