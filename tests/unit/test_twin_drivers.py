"""The twin's lamp and pump act on its world."""

from __future__ import annotations

import pytest

from device.drivers.twin import TwinCamera, TwinLamp, TwinPump
from device.frames import Exposure, LampState
from tests.worlds import small_world


def test_a_strobe_lights_a_frame_for_its_width_only_and_is_counted() -> None:
    world = small_world(side_px=64)
    lamp, camera = TwinLamp(world), TwinCamera(world)
    camera.start()

    def light() -> float:
        frame = camera.capture(Exposure(10_000.0, lamp_current_ma=2.0), lamp.set_current(2.0))
        assert frame is not None
        return float(frame.pixels.mean()) - world.instrument.sensor.dark_level_counts

    steady = light()
    lamp.set_strobe(100.0, 1000.0)
    assert light() == pytest.approx(steady / 10, rel=0.02)
    lamp.set_strobe(9900.0, 1000.0)
    assert light() == pytest.approx(steady / 100, rel=0.2), "the exposure ends before the pulse"
    assert (lamp.read().triggers, lamp.read().strobes) == (3, 2)


def test_what_a_lamp_lights_of_an_exposure() -> None:
    assert LampState(0, 20.0, True).lit_us(2000.0) == 2000.0
    assert LampState(0, 20.0, True, 0, 100.0, 500.0).lit_us(2000.0) == 500.0
    assert LampState(0, 20.0, True, 0, 1800.0, 500.0).lit_us(2000.0) == 200.0
    assert LampState(0, 20.0, True, 0, 3000.0, 500.0).lit_us(2000.0) == 0.0


def test_the_photodiode_sees_the_lamp_age() -> None:
    world = small_world(side_px=64)
    lamp = TwinLamp(world)
    lamp.set_current(20.0)
    new = lamp.read().photodiode_v
    assert new == pytest.approx(2.0, abs=0.05)
    world.change(lamp_ageing=0.8, fouling=0.5)
    assert lamp.read().photodiode_v == pytest.approx(0.8 * new), "the window's dirt is not in its sight"
    lamp.off()
    assert lamp.read().photodiode_v == 0


def test_the_air_follows_another_pump() -> None:
    world = small_world(side_px=64)
    pump = TwinPump(world)
    moved_ml = [0.0]
    world.follow_pump(lambda: moved_ml[0])
    pump.set_flow(6000.0)
    world.sleep(60.0)
    assert world.volume_ml() == 0
    moved_ml[0] = 250.0
    assert world.volume_ml() == 250.0
    moved_ml[0] = 400.0
    assert world.volume_ml() == 400.0
