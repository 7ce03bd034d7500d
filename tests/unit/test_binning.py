"""Holograms sampled more finely than a network covers, analysed at coarser pixels."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from device.analysis.binning import binned, binning_for, coarser, spread
from device.analysis.pipeline import Pipeline, PipelineSettings
from device.frames import Hologram
from device.optics.geometry import Geometry
from device.optics.propagation import propagate
from device.records import Models

FINE = Geometry(wavelength_um=0.85, pitch_um=0.56, distance_um=500.0)
SHAPE = (801, 902)
PLACES_UM = [(100.0, 90.0), (300.0, 220.0), (420.0, 350.0)]


def _hologram() -> Hologram:
    """Dark discs 18 um across, no whole number of coarse pixels apart from the first pixel."""
    y_um, x_um = (a * FINE.pitch_um for a in np.mgrid[: SHAPE[0], : SHAPE[1]])
    density = sum(expit((9 - np.hypot(x_um - x, y_um - y)) / 0.4) for x, y in PLACES_UM)
    field = np.asarray(1 - 0.9 * density, np.complex64)
    at_sensor = propagate(field, pitch_um=FINE.pitch_um, wavelength_um=FINE.wavelength_um, distance_um=FINE.distance_um)
    intensity = np.abs(at_sensor) ** 2 * (1 + 0.02 * np.random.default_rng(1).standard_normal(SHAPE))
    return Hologram(intensity.astype(np.float32), FINE, 0.02, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("binning", [1, 2, 1 / 2])
def test_particles_come_back_in_the_sensors_pixels(binning: float) -> None:
    pipeline = Pipeline(PipelineSettings(min_esd_um=12), None, None, Models(), binning=binning)
    hologram = _hologram()
    analysis = pipeline.analyse(hologram)
    found = sorted((p.x_um, p.y_um) for p in analysis.particles)
    np.testing.assert_allclose(found, PLACES_UM, atol=0.3)
    assert analysis.reconstruction is not None
    assert analysis.reconstruction.field.shape == SHAPE
    for particle in analysis.particles:
        assert particle.esd_um == pytest.approx(18, rel=0.15)
        x, y, width, height = particle.bbox_px
        assert particle.mask.shape == particle.field_crop.shape == (height, width)
        assert (x + (width - 1) / 2) * FINE.pitch_um == pytest.approx(particle.x_um, abs=1.2 * max(binning, 1))
        assert (y + (height - 1) / 2) * FINE.pitch_um == pytest.approx(particle.y_um, abs=1.2 * max(binning, 1))
        here = analysis.reconstruction.field[y : y + height, x : x + width]
        assert np.abs(here - particle.field_crop)[particle.mask].mean() < 0.15
    assert (pipeline.id == replace(pipeline, binning=1).id) is (binning == 1)


def test_averaged_pixels_are_quieter_and_less_defocused() -> None:
    coarse = binned(_hologram(), 2)
    assert coarse.intensity.shape == (400, 451)
    assert coarse.noise == pytest.approx(0.01)
    assert coarse.geometry.defocus_number == pytest.approx(FINE.defocus_number / 4)
    assert coarse.intensity[0, 0] == pytest.approx(_hologram().intensity[:2, :2].mean())


@pytest.mark.parametrize(("most", "binning"), [(2000, 1), (700, 2), (340, 2), (330, 3), (22, 8), (20, None)])
def test_the_least_binning_that_is_covered_is_taken(most: float, binning: int | None) -> None:
    assert FINE.defocus_number == pytest.approx(1355, abs=1)
    assert binning_for(FINE, lambda geometry: geometry.defocus_number <= most) == binning


@pytest.mark.parametrize(("least", "binning"), [(1300, 1), (1400, 1 / 2), (5500, 1 / 3), (21_700, None)])
def test_pixels_too_coarse_are_interpolated(least: float, binning: float | None) -> None:
    assert binning_for(FINE, lambda geometry: geometry.defocus_number >= least and geometry.pitch_um < 0.6) == binning


def test_a_point_source_keeps_its_magnification() -> None:
    diverging = Geometry(0.532, 3.45, 9_000, source_distance_um=10_000)
    assert coarser(diverging, 2).total_magnification == diverging.total_magnification
    assert coarser(diverging, 2).object_pitch_um == pytest.approx(2 * diverging.object_pitch_um)


def test_a_field_keeps_its_place_when_it_is_spread() -> None:
    y, x = np.mgrid[:40, :60]
    blob: NDArray[np.complex64] = (1 - 0.5 * np.exp(-((x - 30) ** 2 + (y - 17) ** 2) / 20) * np.exp(1j)).astype(np.complex64)
    wide = spread(blob, (122, 185), 3)
    rows, columns = (a - 1 for a in np.mgrid[:122, :185])  # the middle of the first nine pixels is pixel 1
    contrast = np.abs(wide - 1)
    assert (contrast * columns).sum() / contrast.sum() / 3 == pytest.approx(30, abs=0.02)
    assert (contrast * rows).sum() / contrast.sum() / 3 == pytest.approx(17, abs=0.02)
    assert np.all(wide[121:] == 1)
