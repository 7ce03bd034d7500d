"""The flow cytometer: bursts of frames of what streams by, and how much of it moved from each to the next.

A small state machine over the ports; clock and sleep are injected. The pump runs for the length of a burst and is off while its
frames are analysed, so that no sample is lost to a slow processor; what stays in view is known by how far it moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from device.drivers.ports import Camera, Lamp, Pump
from device.errors import HardwareError
from device.frames import Exposure, RawFrame
from device.sampling.flow.settings import FlowSettings
from device.sampling.lit_frame import captured, light_on, lit_frame
from device.sampling.steps import all_off, moved

__all__ = ["Burst", "BurstPhase", "Flow"]


class BurstPhase(Enum):
    """Where a burst stands."""

    IDLE = "idle"
    FLUSHING = "flushing"
    LOOKING = "looking"


_MOVES: dict[BurstPhase, set[BurstPhase]] = {
    BurstPhase.IDLE: {BurstPhase.FLUSHING},
    BurstPhase.FLUSHING: {BurstPhase.LOOKING, BurstPhase.IDLE},
    BurstPhase.LOOKING: {BurstPhase.IDLE},
}


@dataclass(frozen=True)
class Burst:
    """One interval's frames."""

    frames: tuple[RawFrame, ...]
    moved_ml: tuple[float, ...]
    """Volume that moved before each frame since the one before it; before the first, since the last of the burst before."""
    follows: bool
    """Whether the burst before is known: False where nothing in view can be told from what was counted."""
    looked_s: float
    """From the first frame to the last."""
    elapsed_s: float
    """From the end of the burst before (or the start of this) to the end of this one."""


class Flow:
    """Takes bursts, one after the other."""

    def __init__(
        self,
        camera: Camera,
        lamp: Lamp,
        pump: Pump,
        settings: FlowSettings,
        exposure: Exposure,
        flow_ml_min: float,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.phase = BurstPhase.IDLE
        self._camera, self._lamp, self._pump = camera, lamp, pump
        self._settings, self._exposure, self._flow_ml_min = settings, exposure, flow_ml_min
        self._monotonic, self._sleep = monotonic, sleep
        self._last_ml: float | None = None
        self._last_s: float | None = None

    def take(self) -> Burst | None:
        """One burst; None where a recorded camera has no more frames.

        HardwareError where lamp, camera or pump failed; all are then off, and the next burst knows nothing of the one before.
        """
        try:
            return self._take()
        except BaseException:
            self._last_ml = None
            self._abandon()
            raise

    def _take(self) -> Burst | None:
        started_s = self._monotonic() if self._last_s is None else self._last_s
        self._move(BurstPhase.FLUSHING)
        if not self._pump.set_flow(self._flow_ml_min).acknowledged:
            raise HardwareError("the pump didn't confirm that it runs", remedy="Check the controller's cable and supply.")
        self._sleep(self._settings.flush_s)
        self._move(BurstPhase.LOOKING)
        seen = self._look()
        self._held()
        self._pump.set_flow(0.0)
        self._move(BurstPhase.IDLE)
        if seen is None:
            return None
        frames, first_ml, last_ml = seen
        before_ml, follows = (0.0, False) if self._last_ml is None else (first_ml - self._last_ml, True)
        stamps_ns = [frame.sensor_timestamp_ns for frame in frames]
        steps_s = [(b - a) * 1e-9 for a, b in pairwise(stamps_ns)]
        if any(step <= 0 for step in steps_s):
            raise HardwareError("the sensor's time stamps don't rise", got=stamps_ns, remedy="The burst was not used.")
        looked_s = sum(steps_s)
        # The pump's volume over the burst, shared out by the sensor's own clock: polls of the pump come late by milliseconds.
        moved = tuple((last_ml - first_ml) * step / looked_s for step in steps_s)
        # What runs out after the last frame, until the pump stands, counts to the next burst.
        self._last_ml, self._last_s = last_ml, self._monotonic()
        return Burst(tuple(frames), (before_ml, *moved), follows, looked_s, self._last_s - started_s)

    def _look(self) -> tuple[list[RawFrame], float, float] | None:
        """The frames, and the pump's volume at the first and at the last of them."""
        frames: list[RawFrame] = []
        volumes_ml: list[float] = []
        start_s, steady = self._monotonic(), self._settings.light == "continuous"
        lit = light_on(self._lamp, self._exposure) if steady else None
        try:
            for k in range(self._settings.frames_per_interval):
                self._sleep(max(start_s + k * self._settings.frame_interval_s - self._monotonic(), 0.0))
                frame = (
                    captured(self._camera, self._lamp, self._exposure, lit)
                    if lit is not None
                    else lit_frame(self._camera, self._lamp, self._exposure)
                )
                if frame is None:
                    return None
                frames.append(frame)
                volumes_ml.append(self._pump.volume_ml())
        finally:
            if steady:
                self._lamp.off()
        return frames, volumes_ml[0], volumes_ml[-1]

    def _held(self) -> None:
        """Whether the pump ran through the burst."""
        held = self._pump.state
        if not (held.acknowledged and held.flow_ml_min > 0):
            raise HardwareError(
                "the pump didn't run through the burst", expected=f"{self._flow_ml_min:g} mL/min, acknowledged",
                got=f"{held.flow_ml_min:g} mL/min, {'acknowledged' if held.acknowledged else 'not acknowledged'}",
                remedy="The frames were not used. Check the controller's cable and supply.",
            )  # fmt: skip

    def _move(self, phase: BurstPhase) -> None:
        self.phase = moved(_MOVES, self.phase, phase)

    def _abandon(self) -> None:
        self.phase = BurstPhase.IDLE
        all_off(self._pump, self._lamp)
