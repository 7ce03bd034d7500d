"""A calibration that could mean something else doesn't pass: against the instrument file, and against a second reading of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calibration.cli import main
from tests.faults.ruling_distances import Case, is_wrong, measured, sampler

TALBOT_UM = 40.0**2 / 0.85
CASES = [
    Case(40.0, 4000.0, 40.0),
    *(Case(40.0, fraction * TALBOT_UM, 40.0) for fraction in (0.25, 0.5, 0.75, 1.0, 1.5)),
    Case(20.0, 4000.0, 20.0),
    Case(10.0, 4000.0, 10.0),
    Case(12.5, 1000.0, 12.5),
    Case(40.0, 4000.0, 120.0),
    Case(40.0, 4000.0, 39.0),
    Case(40.0, 4000.0, 40.0, file_pitch_um=10.35),
    Case(40.0, 0.5 * TALBOT_UM, 40.0, file_pitch_um=6.9),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_ruling_never_passes_a_wrong_pitch(case: Case) -> None:
    outcome = measured(case)
    assert outcome is None or not is_wrong(outcome)
    if not case.is_sound:
        assert outcome is None or not outcome.passed


def test_the_third_harmonic_of_the_default_ruling_is_taken_for_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    instrument = sampler(4000.0)
    lines = [
        f'name = "{instrument.name}"', "[sensor]", 'model = "IMX296"', "width_px = 1024", "height_px = 1024", "pitch_um = 3.45",
        "[lamp]", "wavelength_um = 0.85", "bandwidth_um = 0.008", "source_diameter_um = 100.0", "source_distance_um = 40000.0",
        "[optics]", "distance_um = 4000.0", "[fluidics]", 'kind = "impactor"', "flow_ml_min = 13000.0",
    ]  # fmt: skip
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    main(["pitch", "--instrument", str(tmp_path / "mine.toml"), "--out", str(tmp_path / "records"), "--yes", "--json"])
    record = json.loads(capsys.readouterr().out)
    pitch_um = record["values"]["pitch_um"]["value"]
    assert pitch_um == pytest.approx(3.45, rel=0.002)
    if record["verdict"] == "fail":
        assert any("could be" in reason for reason in record["reasons"])
