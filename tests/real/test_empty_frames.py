"""Real frames without particles, and frames that something blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.empty_frames import OPTICS, Optics, particles_by_frame


@pytest.mark.parametrize("optics", [OPTICS[0], OPTICS[1], OPTICS[4]], ids=str)
def test_nothing_is_found_where_there_is_nothing(real_data: Path, optics: Optics) -> None:
    empty = sorted((real_data / "microplastics_labelled" / "none").glob("*.jpg"))
    found = particles_by_frame(empty, "median", optics)
    assert len(found) == len(empty) == 6
    assert sum(found.values()) == 0, found


def test_the_same_settings_see_plastic_when_large_particles_are_allowed(real_data: Path) -> None:
    folder = real_data / "microplastics_labelled"
    full = [folder / "PS" / "21.jpg", folder / "mixed" / "21.jpg"]
    found = particles_by_frame(full, str(folder / "none" / "031.jpg"), OPTICS[1], largest_um=6000)
    assert all(count > 0 for count in found.values()), found
