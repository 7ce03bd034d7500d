"""The pulse that lights a frame: as configured, part of what the lamp acknowledges, and within the exposure."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from device.config import Config, load_config
from device.errors import HardwareError, InputError
from device.frames import Exposure
from device.instrument import load_instrument
from device.rig.build import build_rig
from device.rig.rig import Rig
from device.sampling.lit_frame import captured, light_on, lit_frame
from device.twin.world import TwinWorld
from tests.worlds import small_instrument

EXPOSURE_US = 1000.0


def configured(**strobe_us: float) -> Config:
    config = load_config()
    return msgspec.structs.replace(
        config,
        camera=msgspec.structs.replace(config.camera, exposure_us=EXPOSURE_US),
        lamp=msgspec.structs.replace(config.lamp, **strobe_us),
    )


def opened(**strobe_us: float) -> Rig:
    drivers = build_rig(
        configured(**strobe_us), load_instrument("bioaerosol-imx219-850nm"), TwinWorld(small_instrument(64), {})
    )
    drivers.camera.start()
    return drivers


def brightness(drivers: Rig) -> float:
    frame = lit_frame(drivers.camera, drivers.lamp, Exposure(EXPOSURE_US, lamp_current_ma=20.0))
    assert frame is not None
    return float(frame.pixels.mean()) - small_instrument(64).sensor.dark_level_counts


@pytest.mark.parametrize("width_us", [100.0, 250.0, 900.0])
def test_a_frame_gets_the_light_of_the_strobe(width_us: float) -> None:
    steady = brightness(opened())
    assert brightness(opened(strobe_width_us=width_us)) == pytest.approx(steady * width_us / EXPOSURE_US, rel=0.03)


def test_every_frame_says_how_long_it_was_lit() -> None:
    drivers = opened(strobe_width_us=200.0, strobe_delay_us=50.0)
    for _ in range(2):
        frame = lit_frame(drivers.camera, drivers.lamp, Exposure(EXPOSURE_US))
        assert frame is not None
        assert (frame.lamp.strobe_delay_us, frame.lamp.strobe_width_us) == (50.0, 200.0)


def test_a_strobe_that_outlasts_the_exposure_is_refused() -> None:
    with pytest.raises(InputError, match="outlasts the exposure"):
        opened(strobe_width_us=800.0, strobe_delay_us=300.0)


def test_a_frame_whose_strobe_changed_meanwhile_is_refused() -> None:
    drivers = opened(strobe_width_us=200.0)
    exposure = Exposure(EXPOSURE_US)
    lit = light_on(drivers.lamp, exposure)
    with pytest.raises(HardwareError, match="state during the frame isn't known"):
        captured(drivers.camera, drivers.lamp, exposure, replace(lit, strobe_width_us=0.0))
