"""The impactor with a clock of its own: what a sample is, and what is left on when it fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pytest

from device.config import SamplingConfig
from device.drivers.ports import PumpState
from device.errors import HardwareError
from device.frames import Exposure, LampState, RawFrame
from device.sampling.impactor.sampler import Impactor, ImpactorPhase

FLOW_ML_MIN = 6000.0


@dataclass
class Box:
    """Lamp, camera and pump that share one clock; a step named in `fail` fails once."""

    now_s: float = 0.0
    fail: set[str] = field(default_factory=set)
    lost_acknowledgement: bool = False
    frames_left: int = 100
    lamp: LampState = field(default_factory=lambda: LampState(0, 0.0, True))
    flow_ml_min: float = 0.0
    moved_ml: float = 0.0
    advanced: int = 0
    captured: int = 0
    gives: float = 1.0
    """Of the flow that the pump acknowledges."""

    def _step(self, name: str) -> None:
        if name in self.fail:
            self.fail.discard(name)
            raise HardwareError(name)

    def sleep(self, seconds: float) -> None:
        self._step("sleep")
        self.moved_ml += self.gives * self.flow_ml_min * seconds / 60
        self.now_s += seconds

    def advance(self) -> None:
        self._step("advance")
        self.advanced += 1

    @property
    def state(self) -> LampState:
        return LampState(0, self.lamp.current_ma, False) if self.lost_acknowledgement else self.lamp

    def set_current(self, current_ma: float, channel: int = 0) -> LampState:
        self._step("lamp")
        self.lamp = LampState(channel, current_ma, True)
        return self.lamp

    def off(self) -> LampState:
        self.lamp = LampState(0, 0.0, True)
        return self.lamp

    def start(self) -> None: ...

    def capture(self, exposure: Exposure, lamp: LampState) -> RawFrame | None:
        self._step(f"capture {self.captured}")
        assert self.flow_ml_min == 0, "no frame is taken while the pump runs"
        if not self.frames_left:
            return None
        self.frames_left -= 1
        self.captured += 1
        pixels = np.zeros((2, 2), np.uint16)
        return RawFrame(pixels, 10, exposure, lamp, self.captured, datetime(2026, 1, 1, tzinfo=UTC), index=self.captured)

    def close(self) -> None: ...


class BoxPump:
    """The box's pump."""

    def __init__(self, box: Box) -> None:
        self._box = box

    @property
    def state(self) -> PumpState:
        if "stalled" in self._box.fail:
            return PumpState(0.0, True)
        return PumpState(self._box.flow_ml_min, "lost" not in self._box.fail)

    def set_flow(self, flow_ml_min: float) -> PumpState:
        self._box.flow_ml_min = flow_ml_min
        return PumpState(flow_ml_min, "unconfirmed" not in self._box.fail or flow_ml_min == 0)

    def volume_ml(self) -> float:
        return self._box.moved_ml

    def close(self) -> None: ...


def impactor(box: Box, current_ma: float = 20.0, window: int = 2) -> Impactor:
    settings = SamplingConfig(sample_volume_l=1.0, settle_s=0.5, window_intervals=window)
    exposure = Exposure(2000.0, lamp_current_ma=current_ma)
    return Impactor(
        box, box, BoxPump(box), settings, exposure, FLOW_ML_MIN,
        monotonic=lambda: box.now_s, sleep=box.sleep, advance_window=box.advance,
    )  # fmt: skip


def test_a_sample_holds_the_wanted_volume_and_the_time_without_air() -> None:
    sample = impactor(Box()).take()
    assert sample is not None
    assert sample.volume_ml == pytest.approx(1000)
    assert sample.dead_time_s == pytest.approx(0.5)
    assert (sample.before.index, sample.after.index) == (1, 2)


def test_a_samples_volume_is_what_the_pump_metered_in_it_not_what_was_asked() -> None:
    box = Box(gives=0.8)
    sampler = impactor(box)
    volumes_ml = [sample.volume_ml for sample in (sampler.take(), sampler.take()) if sample]
    assert volumes_ml == [pytest.approx(800), pytest.approx(800)]


def test_the_frame_after_is_the_next_samples_frame_before_until_the_window_is_full() -> None:
    box = Box()
    sampler = impactor(box)
    taken = [sampler.take() for _ in range(3)]
    assert [(s.before.index, s.after.index) for s in taken if s] == [(1, 2), (2, 3), (4, 5)]
    assert box.advanced == 1


def test_a_window_that_does_not_advance_is_tried_again_and_never_sampled_on() -> None:
    box = Box()
    sampler = impactor(box, window=1)
    sampler.take()
    moved_ml = box.moved_ml
    box.fail.add("advance")
    with pytest.raises(HardwareError, match="advance"):
        sampler.take()
    assert box.moved_ml == moved_ml
    assert sampler.take() is not None
    assert box.advanced == 1


@pytest.mark.parametrize("failing", ["lamp", "capture 0", "capture 1", "sleep", "unconfirmed", "stalled", "lost"])
def test_after_any_failure_lamp_and_pump_are_off_and_the_next_sample_starts_afresh(failing: str) -> None:
    box = Box(fail={failing})
    sampler = impactor(box)
    with pytest.raises(HardwareError):
        sampler.take()
    assert (box.lamp.current_ma, box.flow_ml_min, sampler.phase) == (0.0, 0.0, ImpactorPhase.IDLE)
    box.fail.clear()
    already = box.captured
    sample = sampler.take()
    assert sample is not None
    assert sample.before.index == already + 1
    assert sampler.on_window == 1


def test_what_a_failed_sample_left_on_the_window_is_not_in_the_next_ones_air() -> None:
    box = Box()
    sampler = impactor(box, window=9)
    first = sampler.take()
    assert first is not None
    box.fail.add("lost")
    with pytest.raises(HardwareError, match="didn't run through"):
        sampler.take()
    box.fail.clear()
    third = sampler.take()
    assert third is not None
    assert third.before.index > first.after.index


def test_a_frame_whose_lamp_lost_its_acknowledgement_is_not_used() -> None:
    box = Box(lost_acknowledgement=True)
    with pytest.raises(HardwareError, match="lamp's state"):
        impactor(box).take()
    assert box.moved_ml == 0


@pytest.mark.parametrize("failing", ["stalled", "lost"])
def test_air_that_the_pump_did_not_surely_move_is_no_sample(failing: str) -> None:
    with pytest.raises(HardwareError, match="didn't run through the sample"):
        impactor(Box(fail={failing})).take()


def test_a_dark_lamp_gives_no_sample() -> None:
    with pytest.raises(HardwareError, match="lamp's state"):
        impactor(Box(), current_ma=0.0).take()


@pytest.mark.parametrize("frames", [0, 1])
def test_a_recorded_camera_at_its_end_gives_no_sample(frames: int) -> None:
    box = Box(frames_left=frames)
    assert impactor(box).take() is None
    assert (box.lamp.current_ma, box.flow_ml_min) == (0.0, 0.0)
