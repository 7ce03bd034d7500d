"""The impactor: what lies on the window after the air that did not lie there before it.

A small state machine over the ports; clock and sleep are injected. No frame is accepted unless the lamp acknowledged
its state before the exposure and still holds it after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from device.config import SamplingConfig
from device.drivers.ports import Camera, Lamp, Pump
from device.frames import Exposure, RawFrame
from device.sampling.lit_frame import lit_frame
from device.sampling.steps import all_off, moved, pumped_ml

__all__ = ["Impactor", "ImpactorPhase", "ImpactorSample"]


class ImpactorPhase(Enum):
    """Where a sample stands."""

    IDLE = "idle"
    BEFORE = "frame before"
    PUMPING = "pumping"
    SETTLING = "settling"
    AFTER = "frame after"


_MOVES: dict[ImpactorPhase, set[ImpactorPhase]] = {
    ImpactorPhase.IDLE: {ImpactorPhase.BEFORE, ImpactorPhase.PUMPING},
    ImpactorPhase.BEFORE: {ImpactorPhase.PUMPING, ImpactorPhase.IDLE},
    ImpactorPhase.PUMPING: {ImpactorPhase.SETTLING, ImpactorPhase.IDLE},
    ImpactorPhase.SETTLING: {ImpactorPhase.AFTER, ImpactorPhase.IDLE},
    ImpactorPhase.AFTER: {ImpactorPhase.IDLE},
}


@dataclass(frozen=True)
class ImpactorSample:
    """One interval's frames and volume."""

    before: RawFrame
    """The window before the air."""
    after: RawFrame
    """The window after it."""
    volume_ml: float
    """Air that the pump moved."""
    dead_time_s: float
    """Part of the interval in which no air was sampled."""


class Impactor:
    """Takes samples, one after the other, on the same window until it is full.

    `advance_window` brings a clean one; None where a person has to: the window then goes on being sampled.
    """

    def __init__(
        self,
        camera: Camera,
        lamp: Lamp,
        pump: Pump,
        settings: SamplingConfig,
        exposure: Exposure,
        flow_ml_min: float,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        advance_window: Callable[[], None] | None,
    ) -> None:
        self.phase = ImpactorPhase.IDLE
        self.on_window = 0
        """Samples that lie on this window."""
        self.full = False
        """Whether the window is to be advanced before its samples are up."""
        self._camera, self._lamp, self._pump = camera, lamp, pump
        self._settings, self._exposure, self._flow_ml_min = settings, exposure, flow_ml_min
        self._monotonic, self._sleep, self._advance_window = monotonic, sleep, advance_window
        self._before: RawFrame | None = None

    def take(self) -> ImpactorSample | None:
        """One sample; None where a recorded camera has no more frames.

        HardwareError where lamp or camera failed; pump and lamp are then off and the next sample starts with a fresh
        frame of the window.
        """
        try:
            return self._take()
        except BaseException:
            self._before = None
            self._abandon()
            raise

    def renewed(self) -> None:
        """There is a clean window."""
        self._before, self.on_window, self.full = None, 0, False

    def _take(self) -> ImpactorSample | None:
        started_s = self._monotonic()
        if self._advance_window is not None and (self.full or self.on_window >= self._settings.window_intervals):
            self._advance_window()
            self.renewed()
        before = self._before
        if before is None:
            self._move(ImpactorPhase.BEFORE)
            before = self._frame()
            if before is None:
                self._move(ImpactorPhase.IDLE)
                return None
        self._move(ImpactorPhase.PUMPING)
        volume_ml, pumped_s = self._pump_air()
        self._move(ImpactorPhase.SETTLING)
        self._sleep(self._settings.settle_s)
        self._move(ImpactorPhase.AFTER)
        after = self._frame()
        self._move(ImpactorPhase.IDLE)
        if after is None:
            return None
        self._before = after
        self.on_window += 1
        return ImpactorSample(before, after, volume_ml, self._monotonic() - started_s - pumped_s)

    def _pump_air(self) -> tuple[float, float]:
        """(volume moved in mL, seconds it took)."""
        started_s = self._monotonic()
        moved_ml = pumped_ml(self._pump, self._flow_ml_min, self._settings.sample_volume_l * 1000, self._sleep)
        return moved_ml, self._monotonic() - started_s

    def _frame(self) -> RawFrame | None:
        return lit_frame(self._camera, self._lamp, self._exposure)

    def _move(self, phase: ImpactorPhase) -> None:
        self.phase = moved(_MOVES, self.phase, phase)

    def _abandon(self) -> None:
        self.phase = ImpactorPhase.IDLE
        all_off(self._pump, self._lamp)
