"""The flow cytometer's interval from a burst: what is counted, in which volume, and what speaks against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from device.analysis.overlap import overlap_of
from device.analysis.pipeline import FrameAnalysis, Pipeline
from device.duct_flow import Duct, duct_of
from device.frames import Exposure, Hologram, LampState, RawFrame
from device.instrument import Instrument, load_instrument
from device.records import Particle
from device.sampling.findings import Findings
from device.sampling.flow.burst import Burst, Flow
from device.sampling.flow.mode import FlowMode, view_of
from tests.analyses import analysis, particle

SIDE_PX, PITCH_UM = 512, 3.45
MIDDLE_UM = (SIDE_PX - 1) / 2 * PITCH_UM
BORDER_UM = 20 * PITCH_UM


def instrument(flow_relative_uncertainty: float = 0.05) -> Instrument:
    whole = load_instrument("flow-imx296-530nm")
    return msgspec.structs.replace(
        whole,
        sensor=msgspec.structs.replace(whole.sensor, width_px=SIDE_PX, height_px=SIDE_PX),
        fluidics=msgspec.structs.replace(whole.fluidics, flow_relative_uncertainty=flow_relative_uncertainty),
    )


DUCT: Duct = duct_of(instrument())
VIEW = view_of(instrument(), DUCT)


@dataclass
class Sees:
    """A pipeline that finds these, frame by frame."""

    frames: list[FrameAnalysis]

    def analyse(self, _hologram: Hologram) -> FrameAnalysis:
        return self.frames.pop(0)


@dataclass
class Gives:
    """A sampler of one burst."""

    burst: Burst

    def take(self) -> Burst:
        return self.burst


def frame(index: int) -> RawFrame:
    pixels = np.random.default_rng(index).normal(500, 5, (SIDE_PX, SIDE_PX)).astype(np.uint16)
    return RawFrame(
        pixels, 10, Exposure(200.0), LampState(0, 100.0, True), index + 1, datetime(2026, 1, 1, tzinfo=UTC), index=index
    )


def found(
    frames: Sequence[FrameAnalysis], moved_ml: float, *, looked_s: float = 1.0, elapsed_s: float = 10.0,
    pump_uncertainty: float = 0.05,
) -> Findings:  # fmt: skip
    """The interval of a first burst, `moved_ml` between any two of its frames."""
    moved = (0.0, *[moved_ml] * (len(frames) - 1))
    burst = Burst(tuple(frame(k) for k in range(len(frames))), moved, False, looked_s, elapsed_s)
    flow, pipeline = cast("Flow", Gives(burst)), cast("Pipeline", Sees(list(frames)))
    findings = FlowMode(flow, pipeline, instrument(pump_uncertainty), None).take()
    assert findings is not None
    return findings


def counted(findings: Findings) -> int:
    return sum(len(look.analysis.particles) for look in findings.frames)


def carried(seen: Particle, moved_ml: float, pace: float = 1.0) -> Particle:
    speed = float(DUCT.relative_speed(seen.y_um - MIDDLE_UM, seen.z_um - 2000.0))
    return replace(seen, x_um=seen.x_um + pace * speed * DUCT.mean_travel_um(moved_ml))


def row(count: int = 10, x_um: float = 200.0) -> list[Particle]:
    """In the channel's middle depth, across the flow."""
    return [particle(x_um, 300.0 + 120.0 * k, 2000.0) for k in range(count)]


def moved_by_um(distance_um: float) -> float:
    """Volume that moves while the mean speed goes so far."""
    return distance_um / DUCT.mean_travel_um(1.0)


def test_what_lies_in_the_border_is_left_to_the_field_beyond() -> None:
    ends = (BORDER_UM - 5, BORDER_UM + 5, (SIDE_PX - 21) * PITCH_UM - 5, (SIDE_PX - 21) * PITCH_UM + 5)
    along = [particle(x, MIDDLE_UM, 2000.0) for x in ends]
    across = [particle(MIDDLE_UM, y, 2000.0) for y in ends]
    assert counted(found([analysis([*along, *across])], 0.0)) == 4


def test_a_first_frame_looks_at_all_that_is_in_view() -> None:
    side_mm = (SIDE_PX - 1 - 2 * 20) * PITCH_UM / 1000
    volume = found([analysis([])], 0.0).volume
    assert volume.value == pytest.approx(side_mm**2 * DUCT.height_um / 1000 / 1000)
    assert volume.unit == "mL^-1"


def test_each_further_frame_looks_at_what_came_into_view_since() -> None:
    moved_ml = moved_by_um(300.0)
    new_ml = found([analysis([])] * 3, moved_ml).volume.value - found([analysis([])], 0.0).volume.value
    assert new_ml == pytest.approx(2 * DUCT.swept_ml(moved_ml, VIEW.length_um, VIEW.across_um))
    assert new_ml < 2 * moved_ml


def test_a_volume_is_as_uncertain_as_the_pump_where_the_pump_makes_it() -> None:
    sure, unsure = (
        found([analysis([])] * 20, moved_by_um(300.0), pump_uncertainty=u).volume.relative_uncertainty for u in (0.0, 0.2)
    )
    assert sure < 0.01
    assert 0.1 < unsure < 0.2


def test_what_passes_between_two_frames_is_dead_time() -> None:
    gapless, gaps = (found([analysis([])] * 4, moved_by_um(um)).dead_time_s for um in (100.0, 20_000.0))
    assert gapless == pytest.approx(9.0, abs=0.05)
    assert 9.8 < gaps < 10.0


def test_over_a_frame_that_could_not_be_searched_particles_and_volume_go_on() -> None:
    moved_ml = moved_by_um(150.0)
    first = row()
    frames = [analysis(first), analysis([], obstructed=1.0), analysis([carried(p, 2 * moved_ml) for p in first])]
    findings = found(frames, moved_ml)
    assert (findings.taken.captured, findings.taken.analysed, findings.taken.dropped) == (3, 2, 1)
    assert counted(findings) == len(first)
    whole_ml = found([analysis([])], 0.0).volume.value + DUCT.swept_ml(2 * moved_ml, VIEW.length_um, VIEW.across_um)
    assert findings.volume.value == pytest.approx(whole_ml)


def test_a_stream_that_goes_as_the_pump_says_is_not_suspect() -> None:
    moved_ml, first = moved_by_um(150.0), row()
    findings = found([analysis(first), analysis([carried(p, moved_ml) for p in first])], moved_ml)
    assert (findings.notices, findings.suspect, counted(findings)) == ((), False, len(first))


def test_a_stream_that_goes_at_another_pace_than_the_pump_says_is_told_and_suspect() -> None:
    moved_ml, first = moved_by_um(150.0), row()
    findings = found([analysis(first), analysis([carried(p, moved_ml, pace=0.5) for p in first])], moved_ml)
    assert [notice.code for notice in findings.notices] == ["flow_differs"]
    assert findings.notices[0].value == pytest.approx(0.5, abs=0.05)
    assert findings.suspect


def test_counts_that_the_frames_at_once_contradict_are_told_and_suspect() -> None:
    rng = np.random.default_rng(3)
    frames = [analysis([particle(float(x), float(y), 2000.0) for x, y in rng.uniform(200, 1500, (5, 2))]) for _ in range(12)]
    findings = found(frames, moved_by_um(1.0))
    assert counted(findings) > 45
    assert [notice.code for notice in findings.notices] == ["counts_disagree"]
    assert findings.suspect


def test_as_many_hide_as_are_in_view_however_few_of_them_are_new() -> None:
    standing: Any = [analysis(row())] * 4
    findings = found(standing, 0.0)
    assert counted(findings) == 10
    expected = overlap_of(10.0, 15.0 + 12 * PITCH_UM, VIEW.area_um2)
    assert findings.losses.overlap.factor == pytest.approx(expected.factor)


def test_regions_that_no_particle_explains_are_summed_over_the_burst() -> None:
    assert found([analysis([], unexplained=2), analysis([], unexplained=1)], 0.0).unexplained == 3
