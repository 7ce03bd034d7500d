"""The biosensor's chamber over the simulated instrument, and what is left on when a step fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from device.drivers.twin import TwinCamera, TwinLamp, TwinPump
from device.errors import HardwareError
from device.frames import Exposure, LampState, RawFrame
from device.sampling.assay.chamber import Assay, AssayPhase
from device.sampling.assay.mode import look_times_s
from device.sampling.assay.settings import AssaySettings
from device.twin.aggregation import BeadSuspension
from device.twin.world import SimulatedTime, TwinWorld
from tests.worlds import small_assay_instrument

EXPOSURE = Exposure(1500.0, lamp_current_ma=20.0)


@dataclass
class Watched:
    """The twin's camera with something done before a frame."""

    camera: TwinCamera
    before: Callable[[int], None] = lambda _: None
    last: int = 10_000
    taken: int = 0

    def start(self) -> None:
        self.camera.start()

    def capture(self, exposure: Exposure, lamp: LampState) -> RawFrame | None:
        self.before(self.taken)
        if self.taken >= self.last:
            return None
        self.taken += 1
        return self.camera.capture(exposure, lamp)

    def close(self) -> None:
        self.camera.close()


@dataclass
class Rig:
    world: TwinWorld
    lamp: TwinLamp
    pump: TwinPump
    camera: Watched
    assay: Assay

    @property
    def is_off(self) -> bool:
        return (self.pump.state.flow_ml_min, self.lamp.state.current_ma, self.assay.phase) == (0.0, 0.0, AssayPhase.IDLE)


def rig(**settings: object) -> Rig:
    time = SimulatedTime()
    world = TwinWorld(
        small_assay_instrument(96), {}, monotonic=time.monotonic, sleep=time.sleep, sample=BeadSuspension(beads_per_ul=2000.0)
    )
    lamp, pump, camera = TwinLamp(world), TwinPump(world), Watched(TwinCamera(world))
    camera.start()
    chosen = msgspec.structs.replace(AssaySettings(empty_frames=3, fill_ml=0.05, settle_s=2.0), **settings)
    assay = Assay(camera, lamp, pump, chosen, EXPOSURE, 0.5, monotonic=time.monotonic, sleep=time.sleep)
    return Rig(world, lamp, pump, camera, assay)


def test_the_chamber_is_empty_until_it_is_filled() -> None:
    box = rig()
    empty = box.assay.empty()
    assert empty is not None
    assert len(empty) == 3
    assert box.assay.fill() == pytest.approx(0.05)
    seen = box.assay.look(0.0)
    assert seen is not None
    scatter = [float(np.std(frame.pixels.astype(float) - empty[0].pixels)) for frame in (empty[1], seen)]
    assert scatter[1] > 2 * scatter[0]
    assert box.is_off


def test_filling_takes_as_long_as_the_pump_needs_and_the_beads_settle() -> None:
    box = rig()
    before_s = box.world.monotonic()
    box.assay.fill()
    assert box.world.monotonic() - before_s == pytest.approx(6.0 + 2.0)


def test_a_look_waits_and_never_backwards() -> None:
    box = rig()
    box.assay.fill()
    before_s = box.world.monotonic()
    box.assay.look(300.0)
    box.assay.look(-5.0)
    assert box.world.monotonic() - before_s == pytest.approx(300.0, abs=0.1)


def test_a_person_may_fill_the_chamber() -> None:
    box = rig(fill_ml=0.0)
    assert box.assay.fill() == 0.0


def test_a_pump_that_stops_on_the_way_spoils_the_filling() -> None:
    box = rig()
    sleep = box.assay.sleep

    def stops(seconds: float) -> None:
        sleep(seconds)
        box.pump._state = msgspec.convert({"flow_ml_min": 0.0, "acknowledged": False}, type(box.pump.state))

    box.assay.sleep = stops
    with pytest.raises(HardwareError, match="didn't run through"):
        box.assay.fill()
    assert box.assay.phase is AssayPhase.IDLE


@pytest.mark.parametrize("step", ["empty", "look"])
def test_after_a_camera_that_failed_everything_is_off_and_the_next_step_is_as_any(step: str) -> None:
    box = rig()
    box.assay.fill()

    def fails(_: int) -> None:
        raise HardwareError("no frame")

    box.camera.before = fails
    with pytest.raises(HardwareError, match="no frame"):
        box.assay.empty() if step == "empty" else box.assay.look(1.0)
    assert box.is_off
    box.camera.before = lambda _: None
    assert box.assay.look(1.0) is not None


def test_a_recorded_camera_at_its_end_gives_neither_empty_frames_nor_a_look() -> None:
    box = rig()
    box.camera.last = 1
    assert box.assay.empty() is None
    assert box.assay.look(0.0) is None
    assert box.is_off


@pytest.mark.parametrize(
    ("duration_s", "every_s", "expected"),
    [
        (1200.0, 300.0, [0.0, 300.0, 600.0, 900.0, 1200.0]),
        (1000.0, 300.0, [0.0, 300.0, 600.0, 900.0, 1000.0]),
        (100.0, 300.0, [0.0, 100.0]),
    ],
)
def test_an_assay_looks_first_at_once_and_last_at_its_end(duration_s: float, every_s: float, expected: list[float]) -> None:
    assert look_times_s(duration_s, every_s) == expected


def test_a_twin_that_is_started_again_finds_the_chamber_as_it_was_left_and_a_fresh_one_is_empty(tmp_path: Path) -> None:
    def world() -> TwinWorld:
        clock = SimulatedTime()
        return TwinWorld(
            small_assay_instrument(96), {}, monotonic=clock.monotonic, sleep=clock.sleep,
            sample=BeadSuspension(beads_per_ul=4000.0, analyte_per_ul=400.0), chamber_file=tmp_path / "chamber.json",
        )  # fmt: skip

    first = world()
    first.set_flow(0.5)
    first.sleep(6.0)
    first.set_flow(0.0)
    for _ in range(2):
        first.sleep(300.0)
        first.expose(EXPOSURE)
    assert first._chamber is not None
    left = first._chamber.in_field()
    assert any(beads > 1 for beads, _, _ in left)
    again = world()
    assert again._chamber is not None
    assert again._chamber.in_field() == left
    again.sleep(300.0)
    again.expose(EXPOSURE)
    assert sum(beads for beads, *_ in world()._chamber.in_field()) > 0.5 * sum(beads for beads, *_ in left)
    again.advance_window()
    assert world()._chamber is None
