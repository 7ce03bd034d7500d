"""Particles of a stream counted once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from device.analysis.tracking import CountingFrame, Tracker, TrackerSettings
from device.duct_flow import Duct
from device.records import Particle
from device.twin.channel import Channel

DUCT = Duct(3500.0, 800.0)
VIEW = CountingFrame((70.0, 3430.0), (70.0, 3430.0), (1750.0, 2000.0))
VIEW_ML = VIEW.area_um2 * DUCT.height_um * 1e-12


def particle(x_um: float, y_um: float, z_um: float, esd_um: float = 15.0) -> Particle:
    return Particle(
        x_um, y_um, z_um, 30.0, (0, 0, 1, 1), esd_um, 1.0, {}, np.ones((1, 1), np.bool_), np.ones((1, 1), np.complex64)
    )


def carried(seen: Particle, moved_ml: float) -> Particle:
    speed = float(DUCT.relative_speed(seen.y_um - 1750, seen.z_um - 2000))
    return replace(seen, x_um=seen.x_um + speed * DUCT.mean_travel_um(moved_ml))


def test_a_particle_that_comes_to_where_its_depth_says_is_the_same_one() -> None:
    tracker, first = Tracker(DUCT, VIEW), [particle(300, 1000, 2000), particle(300, 2000, 2300)]
    assert tracker.look(first, 0.0).all()
    second = [carried(p, 1e-3) for p in first]
    assert not tracker.look(second, 1e-3).any()
    assert not tracker.look([carried(p, 1e-3) for p in second], 1e-3).any()


def test_a_particle_where_none_can_have_come_to_is_another_one() -> None:
    tracker = Tracker(DUCT, VIEW)
    tracker.look([particle(1000, 1000, 2000)], 0.0)
    assert tracker.look([particle(980, 1300, 2000)], 1e-3).all()
    assert tracker.look([particle(100, 1000, 2000)], 1e-3).all()


def test_a_particle_that_one_frame_missed_is_not_counted_again() -> None:
    tracker, first = Tracker(DUCT, VIEW), particle(300, 1000, 2100)
    tracker.look([first], 0.0)
    tracker.look([], 1e-3)
    assert not tracker.look([carried(first, 2e-3)], 1e-3).any()


def test_a_wrong_depth_costs_a_match_only_where_many_could_be_it() -> None:
    tracker, first = Tracker(DUCT, VIEW), particle(300, 1000, 2000)
    tracker.look([replace(first, z_um=2350.0)], 0.0)
    assert not tracker.look([carried(first, 1e-3)], 1e-3).any()


@pytest.mark.parametrize("y_um", [150.0, 900.0, 1750.0, 3200.0])
def test_how_fast_a_particle_is_expected_to_go_is_told_by_its_place_from_the_channels_middle(y_um: float) -> None:
    tracker, first = Tracker(DUCT, VIEW), particle(300, y_um, 2000)
    tracker.look([first], 0.0)
    assert not tracker.look([carried(first, 1e-3)], 1e-3).any()
    assert tracker.speed_ratios == [pytest.approx(1, abs=0.05)]


def test_after_the_view_was_flushed_everything_is_new() -> None:
    tracker = Tracker(DUCT, VIEW)
    tracker.look([particle(300, 1000, 2000)], 0.0)
    assert tracker.look([particle(300, 1000, 2000)], 1.0).all()


def test_forgetting_makes_everything_new() -> None:
    tracker = Tracker(DUCT, VIEW)
    tracker.look([particle(300, 1000, 2000)], 0.0)
    tracker.forget()
    assert tracker.look([particle(300, 1000, 2000)], 0.0).all()


def counted(
    per_ml: float, moved_ml: float, frames: int, recall: float, flow_error: float = 1.0, seed: int = 4
) -> tuple[int, float, Tracker]:
    """Particles counted, volume looked at, tracker: detections drawn from a simulated stream with errors of place and depth."""
    rng = np.random.default_rng(seed)
    channel = Channel(DUCT, (3500.0, 3500.0), 2000.0, 3.45, {"bead-in-water": per_ml}, rng)
    tracker, total, volume_ml = Tracker(DUCT, VIEW, TrackerSettings()), 0, VIEW_ML
    for k in range(frames):
        if k:
            channel.advance(moved_ml * flow_error)
            volume_ml += DUCT.swept_ml(moved_ml, VIEW.length_um, VIEW.across_um)
        seen = []
        for number, (x_um, y_um, z_um) in zip(channel.number, channel.places_um, strict=True):
            wrong = 200.0 if rng.random() < 0.1 else 30.0
            size = 15.0 * np.exp(0.3 * np.sin(number) + 0.1 * rng.normal())
            seen.append(particle(x_um + rng.normal(0, 4), y_um + rng.normal(0, 4), 2000 + z_um + rng.normal(0, wrong), size))
        seen = [p for p in seen if VIEW.holds(p) and rng.random() < recall]
        total += int(tracker.look(seen, moved_ml if k else 0.0).sum())
    return total, volume_ml, tracker


@pytest.mark.parametrize("moved_ml", [2.5e-3, 10e-3, 40e-3])
@pytest.mark.parametrize("per_ml", [300.0, 3000.0])
def test_gapless_or_with_gaps_the_concentration_comes_out(moved_ml: float, per_ml: float) -> None:
    total, volume_ml, _ = counted(per_ml, moved_ml, frames=round(0.5 / moved_ml) if moved_ml > 5e-3 else 100, recall=1.0)
    expected = per_ml * volume_ml
    assert total == pytest.approx(expected, abs=3.5 * expected**0.5 + 0.04 * expected)


def test_the_particles_own_speed_tells_that_the_flow_is_not_what_the_pump_says() -> None:
    right, wrong = (counted(1000.0, 2.5e-3, 20, 0.95, flow_error=error)[2].speed_ratios for error in (1.0, 1.3))
    assert np.median(right) == pytest.approx(1.0, abs=0.07)
    assert np.median(wrong) == pytest.approx(1.3, abs=0.1)
