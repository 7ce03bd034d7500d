"""`holonode-calibrate pitch` on ruled targets where it is easily misled: it must never pass a wrong figure.

An IMX296-class sampler of the twin. Rulings of 10 to 100 um at plain distances and near the fractional Talbot distances at which
the fundamental vanishes (wavelength * distance / period^2 = 1/4, 1/2, 3/4, 1, 3/2); rulings that aren't what was stated; instrument
files whose pitch isn't the sensor's. Figures right and passed are counted as well: refusing everything would be no answer.

    python -m tests.faults.ruling_distances [--quick]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from calibration.frames import capture
from calibration.procedures.outcome import ProcedureOutcome
from calibration.procedures.ruling import measure_ruled_pitch
from calibration.targets import put_ruling
from device.analysis.background import normalise
from device.config import load_config
from device.errors import InputError
from device.instrument import Instrument, load_instrument
from device.rig.build import build_rig
from device.rig.simulated import twin_world

SIDE_PX, PITCH_UM, WAVELENGTH_UM = 512, 3.45, 0.85
PERIODS_UM = (10.0, 12.5, 16.0, 20.0, 25.0, 33.3, 40.0, 50.0, 80.0, 100.0)
FRACTIONS = (0.25, 0.5, 0.75, 1.0, 1.5)
DISTANCES_UM = (500.0, 1000.0, 2000.0, 4000.0, 8000.0)
STATED_WRONG = (
    (40.0, 20.0),
    (40.0, 25.0),
    (40.0, 38.0),
    (40.0, 39.0),
    (40.0, 41.0),
    (40.0, 120.0),
    (20.0, 40.0),
    (20.0, 60.0),
    (25.0, 50.0),
)
"""True period and the one that was stated."""
FILE_WRONG_UM = (10.35, 6.9, 1.725, 1.15, 3.6, 3.3)
WORST_ERROR = 0.005
"""Relative, of a figure that may pass: three times what the file of the twin's sensor leaves open."""


@dataclass(frozen=True)
class Case:
    """One ruling before one sensor."""

    period_um: float
    distance_um: float
    stated_um: float
    file_pitch_um: float = PITCH_UM

    @property
    def is_sound(self) -> bool:
        return self.stated_um == self.period_um and self.file_pitch_um == PITCH_UM


def cases() -> Iterator[Case]:
    for period_um in PERIODS_UM:
        special = [fraction * period_um**2 / WAVELENGTH_UM for fraction in FRACTIONS]
        for distance_um in (*DISTANCES_UM, *special):
            if 300 <= distance_um <= 20_000:
                yield Case(period_um, distance_um, period_um)
    for period_um, stated_um in STATED_WRONG:
        for distance_um in (1000.0, 4000.0, 0.5 * period_um**2 / WAVELENGTH_UM):
            yield Case(period_um, distance_um, stated_um)
    for file_um in FILE_WRONG_UM:
        for distance_um in (1000.0, 4000.0, 0.5 * 40.0**2 / WAVELENGTH_UM):
            yield Case(40.0, distance_um, 40.0, file_um)


def sampler(distance_um: float, pitch_um: float = PITCH_UM) -> Instrument:
    """An IMX296 behind a sticky window, as its user describes it."""
    bare = load_instrument("bioaerosol-imx219-850nm")
    sensor = msgspec.structs.replace(
        bare.sensor,
        model="IMX296",
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        pitch_um=pitch_um,
        pitch_uncertainty_um=0.003,
        bayer="none",
    )
    optics = msgspec.structs.replace(bare.optics, distance_um=distance_um)
    return msgspec.structs.replace(bare, name="my-sampler", sensor=sensor, optics=optics)


def measured(case: Case) -> ProcedureOutcome | None:
    """What the procedure says; None where it refuses the ruling."""
    true = sampler(case.distance_um)
    config = load_config(None)
    config = msgspec.structs.replace(config, twin=msgspec.structs.replace(config.twin, realtime=False))
    world = twin_world(config, instrument=true)
    put_ruling(world, true, period_um=case.period_um)
    drivers = build_rig(config, true, world)
    try:
        shots = capture(config, true, drivers, 2, lamp=True)
    finally:
        drivers.close()
    frame = np.mean([np.maximum(f - np.float32(true.sensor.dark_level_counts), 0) for f in shots.frames], axis=0)
    try:
        return measure_ruled_pitch(
            normalise(frame).intensity, sampler(case.distance_um, case.file_pitch_um), case.stated_um, 0.005
        )
    except InputError:
        return None


def is_wrong(outcome: ProcedureOutcome) -> bool:
    """Whether it passed a figure that isn't the sensor's."""
    pitch = outcome.values["pitch_um"]
    apart_um = abs(pitch.value - PITCH_UM)
    return outcome.passed and (apart_um > WORST_ERROR * PITCH_UM or apart_um > 6 * pitch.uncertainty)


def main() -> int:
    """0 where no wrong figure passed and most sound ones did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every fifth case")
    chosen = list(cases())[:: 5 if parser.parse_args().quick else 1]
    passed = wrong = sound = 0
    for case in chosen:
        outcome = measured(case)
        sound += case.is_sound
        passed += case.is_sound and outcome is not None and outcome.passed
        bad = outcome is not None and is_wrong(outcome)
        wrong += bad
        said = (
            "refused"
            if outcome is None
            else f"{outcome.values['pitch_um'].value:.4f} um, {'; '.join(outcome.reasons) or 'pass'}"
        )
        if bad or case.is_sound:
            print(f"{'WRONG ' if bad else ''}{case.period_um:g} um at {case.distance_um:.0f} um: {said[:150]}", flush=True)
    print(f"{len(chosen)} rulings: {wrong} wrong figures passed; of {sound} as stated {passed} passed")
    return 0 if wrong == 0 and passed >= 0.6 * sound else 1


if __name__ == "__main__":
    sys.exit(main())
