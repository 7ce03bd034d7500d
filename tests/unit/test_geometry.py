"""Distances and pitches of one recording told in those of another."""

from __future__ import annotations

import msgspec
import pytest

from device.instrument import load_instrument
from device.optics.geometry import Geometry


def test_defocus_is_counted_in_wavelengths_of_the_medium() -> None:
    air, water = (Geometry(0.66, 2.0, 900.0, medium_index=index) for index in (1.0, 1.33))
    assert air.defocus_number == pytest.approx(0.66 * 900 / 4)
    assert water.defocus_number == pytest.approx(air.defocus_number / 1.33)


@pytest.mark.parametrize("distance_um", [2000.0, 4000.0, 5000.0])
def test_a_particle_off_the_nominal_depth_of_a_point_source_recording_has_its_chirp(distance_um: float) -> None:
    """At the sensor its fringes are a chirp of z L / (L - z), and a grid's distances scale with its pitch squared."""
    source_um, nominal_um = 6000.0, 4000.0
    geometry = Geometry(0.5, 6.0, nominal_um, source_distance_um=source_um)
    chirp_um = distance_um * source_um / (source_um - distance_um)
    magnification = source_um / (source_um - nominal_um)
    assert geometry.equivalent_um(distance_um) == pytest.approx(chirp_um / magnification**2)
    assert geometry.distance_of(geometry.equivalent_um(distance_um)) == pytest.approx(distance_um)


def test_the_nominal_depth_focuses_where_the_geometry_says() -> None:
    geometry = Geometry(0.5, 6.0, 4000.0, source_distance_um=6000.0)
    assert geometry.equivalent_um(4000.0) == pytest.approx(geometry.propagation_um)


def test_an_instruments_source_magnifies_only_where_its_wave_diverges_and_its_medium_counts() -> None:
    instrument = load_instrument("flow-imx296-530nm")
    assert instrument.lamp.source_distance_um is not None
    assert instrument.geometry.object_pitch_um == instrument.sensor.pitch_um
    assert instrument.geometry.wavelength_medium_um == pytest.approx(0.53 / 1.33)
    diverging = msgspec.structs.replace(instrument, lamp=msgspec.structs.replace(instrument.lamp, diverging=True))
    source_um, distance_um = instrument.lamp.source_distance_um, instrument.optics.distance_um
    assert diverging.geometry.total_magnification == pytest.approx(source_um / (source_um - distance_um))
