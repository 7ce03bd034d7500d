"""Bubbles told from what lives in water: exact waves of spheres, slices of the rest, through the sensor and the pipeline."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from device.analysis.background import normalise
from device.analysis.bubbles import is_bubble
from device.config import load_config
from device.frames import Exposure, Hologram, LampState
from device.instrument import load_instrument
from device.rig.models import build_pipeline, model_store
from device.twin.forward import scattered_wave
from device.twin.illumination import Illumination
from device.twin.mie_scattering import SPHERES
from device.twin.scene import SimulatedParticle, draw_particle
from device.twin.sensor import SensorModel

SIDE, PITCH_UM = 512, 3.45
INSTRUMENT = load_instrument("flow-imx296-530nm")


@pytest.fixture(scope="module")
def found() -> Counter[tuple[str, bool]]:
    """Particles that were found, by morphology and by whether they were called bubbles."""
    config = load_config("simulated-flow")
    pipeline, _ = build_pipeline(model_store(config), config.analysis, INSTRUMENT.geometry, instrument=INSTRUMENT)
    rng, counts = np.random.default_rng(11), Counter[tuple[str, bool]]()
    for label, diameter_um, count in (
        ("bubble", 30.0, 9), ("bubble", 60.0, 9), ("bead-in-water", 25.0, 9),
        ("giardia", None, 12), ("centric-diatom", None, 9), ("euglena", None, 9),
    ):  # fmt: skip
        particles = _apart(rng, label, diameter_um, count)
        hologram = _hologram(rng, particles)
        analysis = pipeline.analyse(hologram)
        assert analysis.reconstruction is not None
        for particle in analysis.particles:
            near = min(np.hypot(particle.x_um - p.x_um, particle.y_um - p.y_um) for p in particles)
            if near < 15:
                counts[label, is_bubble(particle, analysis.reconstruction.field, hologram.geometry)] += 1
    return counts


def _apart(rng: np.random.Generator, label: str, diameter_um: float | None, count: int) -> list[SimulatedParticle]:
    """Particles on a loose grid: this is of what they are, not of how they overlap."""
    side = int(np.ceil(count**0.5))
    step_um = SIDE * PITCH_UM / side
    drawn = []
    for k in range(count):
        p = draw_particle(rng, label, field_um=(1.0, 1.0), depth_um=(1700, 2300), voxel_um=PITCH_UM, diameter_um=diameter_um)
        x_px, y_px = (round((c + 0.5) * step_um / PITCH_UM) for c in (k % side, k // side))
        x_um, y_um = ((c + s) * PITCH_UM for c, s in zip((x_px, y_px), p.sub_px, strict=True))
        drawn.append(SimulatedParticle(label, x_um, y_um, p.z_um, p.volume, p.sub_px))
    return drawn


def _hologram(rng: np.random.Generator, particles: list[SimulatedParticle]) -> Hologram:
    lamp, n = INSTRUMENT.lamp, INSTRUMENT.optics.medium_index
    light = Illumination(lamp.wavelength_um / n, lamp.bandwidth_um / n, lamp.source_diameter_um, lamp.source_distance_um or 1e9)
    model = "lorenz-mie" if particles[0].label in SPHERES else "multislice"
    wave = scattered_wave((SIDE, SIDE), PITCH_UM, particles, light, model)
    sensor = SensorModel.draw(msgspec.structs.replace(INSTRUMENT.sensor, width_px=SIDE, height_px=SIDE), rng)
    exposure, on = Exposure(200.0, lamp_current_ma=100.0), LampState(0, 100.0, True)
    clean = np.mean([sensor.expose(np.ones((SIDE, SIDE), np.float32), exposure, on, rng) for _ in range(4)], axis=0)
    pixels = sensor.expose((np.abs(1 + wave) ** 2).astype(np.float32), exposure, on, rng)
    ready = normalise(pixels.astype(np.float32), clean.astype(np.float32), dark_counts=INSTRUMENT.sensor.dark_level_counts)
    return Hologram(ready.intensity, INSTRUMENT.geometry, ready.noise, datetime(2026, 1, 1, tzinfo=UTC))


def test_most_bubbles_are_called_bubbles(found: Counter[tuple[str, bool]]) -> None:
    assert found["bubble", True] > found["bubble", False]
    assert found["bubble", True] >= 10


@pytest.mark.parametrize("label", ["giardia", "centric-diatom", "euglena"])
def test_hardly_anything_alive_is_called_a_bubble(found: Counter[tuple[str, bool]], label: str) -> None:
    assert found[label, False] >= 6
    assert found[label, True] <= 1


def test_beads_as_dark_as_bubbles_are_told_by_what_they_do_to_light(found: Counter[tuple[str, bool]]) -> None:
    assert found["bead-in-water", False] > 2 * found["bead-in-water", True]
