"""Figures of the optics on rendered frames: each fault moves its own."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from device.analysis.background import normalise
from device.analysis.optical_health import BackgroundFigures, Sharpness, background_figures, sharpness
from device.frames import Exposure, LampState
from device.instrument import SensorSpec
from device.records import Particle
from device.twin.scene import draw_particle
from device.twin.world import SimulatedTime, TwinWorld
from tests.worlds import small_instrument, small_world

EXPOSURE = Exposure(1000.0, 1.0, 0, 20.0)


def lit(world: TwinWorld, exposure: Exposure = EXPOSURE) -> np.ndarray:
    world.lamp = LampState(0, exposure.lamp_current_ma, acknowledged=True)
    return world.expose(exposure)


def figures(world: TwinWorld, exposure: Exposure = EXPOSURE) -> BackgroundFigures:
    return background_figures(lit(world, exposure), world.instrument.sensor)


def test_a_sound_box_has_light_and_nothing_else() -> None:
    seen = figures(small_world(side_px=1024))
    assert seen.level == pytest.approx(0.28, abs=0.02)
    assert seen.saturated == 0
    assert seen.dirt < 0.01
    assert seen.fringes < 0.002


def test_an_ageing_lamp_dims_the_level_by_its_share() -> None:
    world = small_world(side_px=512)
    before = figures(world)
    world.change(lamp_ageing=0.7)
    after = figures(world)
    assert after.level / before.level == pytest.approx(0.7, abs=0.005)
    assert after.dirt == pytest.approx(before.dirt, abs=0.002)


@pytest.mark.parametrize("contrast", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("seed", [1, 2])
def test_straight_fringes_are_measured_at_their_contrast_and_are_no_dirt(contrast: float, seed: int) -> None:
    world = small_world(seed, side_px=1024)
    clean = figures(world)
    world.change(fringe_contrast=contrast)
    seen = figures(world)
    assert seen.fringes == pytest.approx(contrast, rel=0.12, abs=0.001)
    assert seen.dirt < clean.dirt + 0.15 * contrast


def test_fouling_is_dirt_of_the_contrast_that_its_two_tones_have() -> None:
    world = small_world(side_px=512)
    world.change(fouling=0.2)
    seen = figures(world)
    # Two levels 0.35 apart in shares 0.2 and 0.8, over the mean.
    expected = 0.35 * np.sqrt(0.2 * 0.8) / (1 - 0.35 * 0.2)
    assert seen.dirt == pytest.approx(expected, rel=0.25)
    assert seen.fringes < expected / 2


def test_too_long_an_exposure_is_saturation() -> None:
    assert figures(small_world(), Exposure(4000.0, 1.0, 0, 20.0)).saturated > 0.5


def test_a_dark_frame_is_no_light_and_no_error() -> None:
    world = small_world()
    world.lamp = LampState(0, 0.0, acknowledged=True)
    seen = background_figures(world.expose(EXPOSURE), world.instrument.sensor)
    assert abs(seen.level) < 0.001
    assert not seen.marks.any()


def test_marks_lie_where_particles_lie_row_0_at_the_top() -> None:
    world = small_world(side_px=512)
    empty = figures(world).marks
    world._land_expected({"birch": 1.0})
    while not world.deposits:
        world._land_expected({"birch": 1.0})
    new = figures(world).marks & ~empty
    cell_um = 512 / 32 * world.instrument.sensor.pitch_um
    for particle in world.deposits:
        row, column = int(particle.y_um / cell_um), int(particle.x_um / cell_um)
        assert new[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].any()
    rows = np.nonzero(new)[0].mean() * cell_um
    assert rows == pytest.approx(np.mean([p.y_um for p in world.deposits]), abs=4 * cell_um)


@pytest.mark.parametrize("shape", [(256, 512), (300, 340), (128, 128), (2464, 3280)])
def test_frames_of_any_shape_have_figures(shape: tuple[int, int]) -> None:
    sensor = SensorSpec(model="any", width_px=shape[1], height_px=shape[0], pitch_um=1.0)
    pixels = np.random.default_rng(0).poisson(400, shape).astype(np.uint16)
    seen = background_figures(pixels, sensor)
    assert seen.level == pytest.approx((400 - 64) / (1023 - 64), rel=0.01)
    assert background_figures(pixels.astype(np.float32), sensor).level == pytest.approx(seen.level, rel=0.01)


def sharp(seed: int, *, side_px: int = 512, apart_px: float = 240.0, label: str = "birch", **lamp: float) -> Sharpness | None:
    """Of particles on a grid, rendered under another lamp than the instrument file names; places and sizes are the truth's."""
    plain = small_instrument(side_px)
    other = msgspec.structs.replace(plain, lamp=msgspec.structs.replace(plain.lamp, **lamp))
    time = SimulatedTime()
    world = TwinWorld(other, {}, seed, monotonic=time.monotonic, sleep=time.sleep)
    before = lit(world)
    spots_um = (np.arange(apart_px / 2, side_px, apart_px) + 1) * plain.sensor.pitch_um
    for y_um in spots_um:
        for x_um in spots_um:
            drawn = draw_particle(
                world._rng, label, field_um=(1.0, 1.0), depth_um=(450.0, 550.0), voxel_um=plain.sensor.pitch_um
            )
            world.deposit([replace(drawn, x_um=float(x_um), y_um=float(y_um))])
    after = lit(world)
    ready = normalise(after.astype(np.float32), before.astype(np.float32), dark_counts=plain.sensor.dark_level_counts)
    nothing = np.zeros((1, 1), bool)
    places = [
        Particle(p.x_um, p.y_um, p.z_um, 5.0, (0, 0, 1, 1), p.esd_um, 1.0, {}, nothing, nothing.astype(np.complex64))
        for p in world.deposits
    ]
    return sharpness(ready.intensity, places, plain.geometry, ready.noise)


def mean_sharpness(**lamp: float) -> float:
    values = [seen.value for seed in range(3) if (seen := sharp(seed, **lamp)) is not None]
    assert len(values) == 3
    return float(np.mean(values))


def test_a_wider_source_and_a_broader_spectrum_take_sharpness_away_step_by_step() -> None:
    nominal = mean_sharpness()
    wide = [mean_sharpness(source_diameter_um=d) for d in (250.0, 400.0)]
    broad = [mean_sharpness(bandwidth_um=b) for b in (0.03, 0.06)]
    assert nominal > 1.1 * wide[0] > 1.2 * wide[1]
    assert nominal > 1.05 * broad[0] > 1.1 * broad[1]


def test_particles_that_do_not_lie_alone_tell_nothing_of_sharpness() -> None:
    assert sharp(1, apart_px=80.0, side_px=256) is None
    alone = sharp(1)
    assert alone is not None
    assert alone.particles == 4


def test_without_particles_nothing_is_said_of_sharpness() -> None:
    plain = small_instrument()
    assert sharpness(np.ones((256, 256), np.float32), [], plain.geometry, 0.01) is None
