"""What limits resolution: closed forms, and the reference instruments."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from device.cli import main
from device.optics.coherence import Coherence
from device.optics.geometry import Geometry
from device.optics.resolution import resolution


def lines(coherence: Coherence, distance_um: float = 1000.0, shape: tuple[int, int] = (2048, 2048)) -> dict[str, float]:
    geometry = Geometry(wavelength_um=0.5, pitch_um=1.0, distance_um=distance_um, coherence=coherence)
    return {limit.cause: limit.line_um for limit in resolution(geometry, shape).limits}


def test_a_lasers_limits_are_pixel_and_frame() -> None:
    found = lines(Coherence())
    assert found["lamp bandwidth"] == found["lamp size"] == 0
    assert found["pixel"] == pytest.approx(1.0)
    assert found["frame"] == pytest.approx(0.5 * 0.5 / math.sin(math.atan(1024 / 1000)))


def test_a_band_blurs_by_the_root_of_distance_and_band() -> None:
    # exp(-(pi z f^2 b / 2.355)^2 / 2) falls to 0.08 at f^2 = 2.355 sqrt(2 ln 12.5) / (pi z b), for small angles
    band_um = 0.02
    expected = 0.5 / math.sqrt(2 * math.sqrt(2 * math.log(2)) * math.sqrt(2 * math.log(12.5)) / (math.pi * 4000 * band_um))
    assert lines(Coherence(bandwidth_um=band_um), 4000)["lamp bandwidth"] == pytest.approx(expected, rel=0.02)
    halved = lines(Coherence(bandwidth_um=band_um / 4), 4000)["lamp bandwidth"]
    assert lines(Coherence(bandwidth_um=band_um), 4000)["lamp bandwidth"] == pytest.approx(2 * halved, rel=0.03)


def test_a_lamps_image_ends_where_a_disc_does() -> None:
    # 2 J1(x) / x = 0.08 at x = 3.494, x = pi f D z / (L - z)
    found = lines(Coherence(source_diameter_um=400, source_distance_um=41_000), 1000)["lamp size"]
    assert found == pytest.approx(0.5 * np.pi * 10 / 3.494, rel=0.01)


def test_the_command_names_what_limits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--optics", "--instrument", "bioaerosol-imx219-850nm", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["limits"][0]["cause"] == "pixel"
    assert told["line_um"] == pytest.approx(1.12)
    assert main(["plan"]) == 0
    assert "resolution" in capsys.readouterr().out
    assert main(["plan", "--instrument", "bioaerosol-imx219-850nm"]) == 2
