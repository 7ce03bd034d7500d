"""The flow through a channel, and what the simulated one carries."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from device.duct_flow import Duct, duct_of
from device.errors import InputError
from device.instrument import load_instrument
from device.twin.channel import Channel

DUCT = Duct(3500.0, 800.0)


def grid(duct: Duct, n: int = 400) -> np.ndarray:
    y = ((np.arange(n) + 0.5) / n - 0.5) * duct.width_um
    z = ((np.arange(n) + 0.5) / n - 0.5) * duct.height_um
    return duct.relative_speed(y[:, None], z[None, :])


@pytest.mark.parametrize("duct", [DUCT, Duct(800.0, 800.0), Duct(80_000.0, 800.0)])
def test_the_speeds_of_all_places_average_to_the_mean_speed(duct: Duct) -> None:
    assert grid(duct).mean() == pytest.approx(1, abs=2e-3)


def test_between_far_walls_the_profile_is_the_parabola() -> None:
    z_um = np.array([-399.0, -200.0, 0.0, 100.0])
    found = Duct(800_000.0, 800.0).relative_speed(0.0, z_um)
    assert found == pytest.approx(1.5 * (1 - (z_um / 400) ** 2), rel=3e-3, abs=2e-4)


def test_in_a_square_channel_the_middle_goes_2_096_times_the_mean() -> None:
    assert Duct(500.0, 500.0).fastest() == pytest.approx(2.096, abs=2e-3)


def test_the_water_at_the_walls_stands_still() -> None:
    assert DUCT.relative_speed([0.0, 1750.0, 1800.0], [400.0, 0.0, 0.0]) == pytest.approx(0, abs=1e-9)


def test_little_volume_is_all_new_and_much_fills_the_view_once() -> None:
    assert DUCT.swept_ml(1e-4, 3000.0, (-1750.0, 1750.0)) == pytest.approx(1e-4, rel=1e-3)
    view_ml = 3000 * 3500 * 800e-12
    assert DUCT.swept_ml(10.0, 3000.0, (-1750.0, 1750.0)) == pytest.approx(view_ml, rel=0.01)


def test_an_instrument_without_a_channel_has_no_duct() -> None:
    with pytest.raises(InputError, match="no channel"):
        duct_of(load_instrument("bioaerosol-imx219-850nm"))


def test_a_channel_width_is_part_of_what_the_instrument_is_only_where_it_is_given() -> None:
    flow = load_instrument("flow-imx296-530nm")
    assert duct_of(flow).width_um == pytest.approx(1024 * 3.45)
    wide = msgspec.structs.replace(flow, fluidics=msgspec.structs.replace(flow.fluidics, channel_width_um=5000.0))
    assert duct_of(wide).width_um == 5000
    assert wide.id != flow.id


def simulated(per_ml: float = 4000.0, seed: int = 1) -> Channel:
    return Channel(DUCT, (3500.0, 3500.0), 2000.0, 3.45, {"bead-in-water": per_ml}, np.random.default_rng(seed))


def test_the_channel_holds_what_its_water_held_however_it_is_moved() -> None:
    channel = simulated()
    expected = 4000.0 * (3500 + 600) * DUCT.section_um2 * 1e-12
    held = [len(channel.number)]
    for moved_ml in (1e-5, 1e-3, 3e-3, 0.1, 1e-3, 5e-3) * 8:
        channel.advance(moved_ml)
        held.append(len(channel.number))
    assert np.mean(held) == pytest.approx(expected, rel=0.1)
    assert np.all(np.diff(channel.number) > 0)


def test_as_many_particles_come_into_view_as_the_swept_volume_holds() -> None:
    channel, seen, swept_ml = simulated(), set[int](), 0.0
    view = (0.0, 3500.0)
    for _ in range(40):
        channel.advance(4e-3)
        swept_ml += DUCT.swept_ml(4e-3, 3500.0, (-1750.0, 1750.0))
        inside = (channel.places_um[:, 0] >= view[0]) & (channel.places_um[:, 0] < view[1])
        seen.update(channel.number[inside].tolist())
    volume_ml = swept_ml + 3500 * DUCT.section_um2 * 1e-12
    assert len(seen) == pytest.approx(4000 * volume_ml, abs=4 * (4000 * volume_ml) ** 0.5)


def test_a_particle_goes_at_the_speed_of_its_place() -> None:
    channel = simulated()
    before = dict(zip(channel.number.tolist(), channel.places_um.copy(), strict=True))
    channel.advance(1e-3)
    for number, place in zip(channel.number.tolist(), channel.places_um, strict=True):
        if number in before:
            y_um, z_um = before[number][1] - 1750, before[number][2]
            travel_um = float(DUCT.relative_speed(y_um, z_um)) * DUCT.mean_travel_um(1e-3)
            assert place[0] - before[number][0] == pytest.approx(travel_um, abs=1e-6)


def test_a_particle_keeps_its_body_as_it_moves() -> None:
    channel = simulated(400.0)
    first = dict(channel.in_reach())
    channel.advance(2e-4)
    for number, particle in channel.in_reach():
        if number in first:
            assert particle.volume is first[number].volume
            assert particle.z_um == first[number].z_um
