"""The biosensor's chamber: looked at empty, filled, and looked at again while its beads clump.

A small state machine over the ports; clock and sleep are injected. No frame is accepted unless the lamp acknowledged its state
before the exposure and still holds it after.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TypeVar

from device.drivers.ports import Camera, Lamp, Pump
from device.frames import Exposure, RawFrame
from device.sampling.assay.settings import AssaySettings
from device.sampling.lit_frame import lit_frame
from device.sampling.steps import all_off, moved, pumped_ml

__all__ = ["Assay", "AssayPhase"]


Done = TypeVar("Done")


class AssayPhase(Enum):
    """Where an assay stands."""

    IDLE = "idle"
    EMPTY = "empty frames"
    FILLING = "filling"
    SETTLING = "settling"
    WAITING = "waiting"
    LOOKING = "looking"


_MOVES: dict[AssayPhase, set[AssayPhase]] = {
    AssayPhase.IDLE: {AssayPhase.EMPTY, AssayPhase.FILLING, AssayPhase.WAITING},
    AssayPhase.EMPTY: {AssayPhase.IDLE},
    AssayPhase.FILLING: {AssayPhase.SETTLING, AssayPhase.IDLE},
    AssayPhase.SETTLING: {AssayPhase.IDLE},
    AssayPhase.WAITING: {AssayPhase.LOOKING, AssayPhase.IDLE},
    AssayPhase.LOOKING: {AssayPhase.IDLE},
}


class Assay:
    """Moves of one chamber; which comes when is the mode's to know. After any failure pump and lamp are off."""

    def __init__(
        self,
        camera: Camera,
        lamp: Lamp,
        pump: Pump,
        settings: AssaySettings,
        exposure: Exposure,
        flow_ml_min: float,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.phase = AssayPhase.IDLE
        self.monotonic = monotonic
        """Seconds."""
        self._camera, self._lamp, self._pump = camera, lamp, pump
        self._settings, self._exposure, self._flow_ml_min = settings, exposure, flow_ml_min
        self.sleep = sleep
        """May be cut short by raising."""

    def empty(self) -> list[RawFrame] | None:
        """Frames of the empty chamber; None where a recorded camera has no more; HardwareError where lamp or camera failed."""

        def look() -> list[RawFrame] | None:
            self._move(AssayPhase.EMPTY)
            frames: list[RawFrame] = []
            for _ in range(self._settings.empty_frames):
                frame = lit_frame(self._camera, self._lamp, self._exposure)
                if frame is None:
                    return None
                frames.append(frame)
            return frames

        return self._guarded(look)

    def fill(self) -> float:
        """Bring the sample in; the volume pumped in millilitres. HardwareError where the pump didn't run through."""

        def pump() -> float:
            self._move(AssayPhase.FILLING)
            volume_ml = 0.0
            if self._settings.fill_ml > 0:
                volume_ml = pumped_ml(self._pump, self._flow_ml_min, self._settings.fill_ml, self.sleep)
            self._move(AssayPhase.SETTLING)
            self.sleep(self._settings.settle_s)
            return volume_ml

        return self._guarded(pump)

    def look(self, wait_s: float) -> RawFrame | None:
        """A frame after a wait; None where a recorded camera has no more; HardwareError where lamp or camera failed."""

        def wait_and_look() -> RawFrame | None:
            self._move(AssayPhase.WAITING)
            self.sleep(max(wait_s, 0.0))
            self._move(AssayPhase.LOOKING)
            return lit_frame(self._camera, self._lamp, self._exposure)

        return self._guarded(wait_and_look)

    def _guarded(self, step: Callable[[], Done]) -> Done:
        try:
            done = step()
            self._move(AssayPhase.IDLE)
        except BaseException:
            self.phase = AssayPhase.IDLE
            all_off(self._pump, self._lamp)
            raise
        return done

    def _move(self, phase: AssayPhase) -> None:
        self.phase = moved(_MOVES, self.phase, phase)
