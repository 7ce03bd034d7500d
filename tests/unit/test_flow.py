"""The flow cytometer's bursts over the simulated instrument, and what is left on when one fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import pytest

from device.drivers.twin import TwinCamera, TwinLamp, TwinPump
from device.errors import HardwareError
from device.frames import Exposure, LampState, RawFrame
from device.instrument import Instrument, load_instrument
from device.sampling.flow.burst import BurstPhase, Flow
from device.sampling.flow.settings import FlowSettings
from device.twin.world import SimulatedTime, TwinWorld

FLOW_ML_MIN = 1.5
EXPOSURE = Exposure(200.0, lamp_current_ma=100.0)


def small_flow_instrument(side_px: int = 64) -> Instrument:
    whole = load_instrument("flow-imx296-530nm")
    return msgspec.structs.replace(whole, sensor=msgspec.structs.replace(whole.sensor, width_px=side_px, height_px=side_px))


@dataclass
class Watched:
    """The twin's camera with something done before a frame."""

    camera: TwinCamera
    before: Callable[[int], None] = lambda _: None
    last: int = 10_000
    taken: int = 0
    stamp_step_ns: int | None = None

    def start(self) -> None:
        self.camera.start()

    def capture(self, exposure: Exposure, lamp: LampState) -> RawFrame | None:
        self.before(self.taken)
        if self.taken >= self.last:
            return None
        frame = self.camera.capture(exposure, lamp)
        assert frame is not None
        self.taken += 1
        return frame if self.stamp_step_ns is None else replace(frame, sensor_timestamp_ns=self.taken * self.stamp_step_ns)

    def close(self) -> None:
        self.camera.close()


@dataclass
class Rig:
    world: TwinWorld
    lamp: TwinLamp
    pump: TwinPump
    camera: Watched
    flow: Flow


def rig(**settings: object) -> Rig:
    time = SimulatedTime()
    world = TwinWorld(small_flow_instrument(), {"giardia": 1e5}, monotonic=time.monotonic, sleep=time.sleep)
    lamp, pump, camera = TwinLamp(world), TwinPump(world), Watched(TwinCamera(world))
    camera.start()
    chosen = msgspec.structs.replace(FlowSettings(frames_per_interval=4, frame_interval_s=0.1, flush_s=1.0), **settings)
    flow = Flow(camera, lamp, pump, chosen, EXPOSURE, FLOW_ML_MIN, monotonic=time.monotonic, sleep=time.sleep)
    return Rig(world, lamp, pump, camera, flow)


def test_a_burst_knows_how_much_moved_before_each_frame() -> None:
    box = rig()
    burst = box.flow.take()
    assert burst is not None
    assert not burst.follows
    assert burst.moved_ml[1:] == pytest.approx([FLOW_ML_MIN / 60 * 0.1] * 3, rel=1e-3)
    assert burst.looked_s == pytest.approx(0.3, rel=1e-3)
    assert burst.elapsed_s == pytest.approx(1.3, abs=2e-3)


def test_between_bursts_the_pump_is_off_and_what_moved_is_not_forgotten() -> None:
    box = rig()
    first = box.flow.take()
    assert (box.pump.state.flow_ml_min, box.lamp.state.current_ma, box.flow.phase) == (0.0, 0.0, BurstPhase.IDLE)
    box.world.sleep(100.0)
    second = box.flow.take()
    assert first is not None
    assert second is not None
    assert second.follows
    assert second.moved_ml[0] == pytest.approx(FLOW_ML_MIN / 60 * 1.0, rel=0.01)
    assert second.elapsed_s == pytest.approx(101.3, abs=0.01)


@pytest.mark.parametrize(("light", "between_ma"), [("strobed", 0.0), ("continuous", 100.0)])
def test_the_lamp_is_on_for_each_frame_or_through_the_burst_and_off_after_it(light: str, between_ma: float) -> None:
    box, seen = rig(light=light), list[float]()
    sleep = box.world.sleep

    def watched(seconds: float) -> None:
        seen.append(box.lamp.state.current_ma)
        sleep(seconds)

    box.flow._sleep = watched
    assert box.flow.take() is not None
    assert seen[2:] == [between_ma] * 3
    assert box.lamp.state.current_ma == 0


def test_a_pump_that_stops_within_a_burst_spoils_it() -> None:
    box = rig()
    box.camera.before = lambda k: box.pump.close() if k == 2 else None
    with pytest.raises(HardwareError, match="through the burst"):
        box.flow.take()


@pytest.mark.parametrize("light", ["strobed", "continuous"])
def test_after_a_failure_everything_is_off_and_the_next_burst_knows_nothing_of_the_one_before(light: str) -> None:
    box = rig(light=light)
    box.flow.take()

    def fails(k: int) -> None:
        if k == 5:
            raise HardwareError("no frame")

    box.camera.before = fails
    with pytest.raises(HardwareError, match="no frame"):
        box.flow.take()
    assert (box.pump.state.flow_ml_min, box.lamp.state.current_ma, box.flow.phase) == (0.0, 0.0, BurstPhase.IDLE)
    box.camera.before = lambda _: None
    burst = box.flow.take()
    assert burst is not None
    assert not burst.follows


def test_time_stamps_that_stand_still_spoil_a_burst() -> None:
    box = rig()
    box.camera.stamp_step_ns = 0
    with pytest.raises(HardwareError, match="time stamps"):
        box.flow.take()


def test_a_recorded_camera_at_its_end_gives_no_burst() -> None:
    box = rig()
    box.camera.last = 2
    assert box.flow.take() is None
    assert (box.pump.state.flow_ml_min, box.lamp.state.current_ma) == (0.0, 0.0)


def test_what_flows_is_seen_moving_and_blurred_only_while_it_moves() -> None:
    box = rig(frames_per_interval=3)
    burst = box.flow.take()
    assert burst is not None
    first, second = (frame.pixels.astype(float) for frame in burst.frames[:2])
    assert not np.array_equal(first, second)
    assert box.world._surroundings().flow_um_s == 0
    box.world.set_flow(FLOW_ML_MIN)
    assert box.world._surroundings().flow_um_s == pytest.approx(FLOW_ML_MIN / 60 * 1e12 / (64 * 3.45 * 800))
