"""What a field holds, and what speaks against counts of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from device.analysis.depth import Depth
from device.analysis.locate import is_empty
from device.analysis.scene import KINDS, FieldScene, fringes_of, in_pieces, off_focus, off_plane, scene_of
from device.analysis.segment import Segment
from device.optics.autofocus import FocusEstimate
from device.optics.geometry import Geometry
from tests.foreign_fields import FULL_FIELDS, OPTICS, canvas_px, recorded

NOISE = 0.02
SHAPE = (256, 320)
GEOMETRY = Geometry(wavelength_um=0.532, pitch_um=6.5, distance_um=9000.0)
DEPTH_OF_FIELD_UM = 4 * 6.5**2 / 0.532


def _noisy(amplitude: np.ndarray, seed: int = 1) -> np.ndarray:
    return (amplitude + NOISE / 2 * np.random.default_rng(seed).standard_normal(SHAPE)).astype(np.float32)


def _rings(strength: float) -> np.ndarray:
    """Fringes in the left half of the frame."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    squared = (x - 80.0) ** 2 + (y - 128.0) ** 2
    return (1 + strength * np.cos(squared / 90) * (x < 160)).astype(np.float32)


def _scene(measured: np.ndarray, predicted: np.ndarray | None, found: int, covered: float = 0.0) -> FieldScene:
    fringes = fringes_of(measured, predicted, NOISE)
    cover = np.random.default_rng(2).random(SHAPE) < covered
    return scene_of(fringes, fringes, cover, found, "network")


def _kinds(scene: FieldScene) -> set[str]:
    return {kind for kind, share in scene.shares.items() if share > 0}


def test_nothing_stands_out_of_noise_and_slow_light() -> None:
    slow = 1 + 0.03 * np.linspace(-1, 1, SHAPE[1], dtype=np.float32)[None, :] * np.ones(SHAPE, np.float32)
    scene = _scene(_noisy(slow), None, 0)
    assert _kinds(scene) == {"empty"}
    assert (scene.explained, scene.verdicts, scene.at(10.0, 10.0)) == (None, (), None)


def test_fringes_that_are_predicted_are_of_particles_and_the_rest_of_the_frame_is_empty() -> None:
    fringes = _rings(0.1)
    scene = _scene(_noisy(fringes), fringes, 1, covered=0.01)
    assert _kinds(scene) == {"empty", "sparse"}
    assert scene.shares["empty"] == pytest.approx(0.5, abs=0.15)
    assert scene.explained == pytest.approx(1.0, abs=0.02)
    assert scene.verdicts == ()
    assert scene.at(80.0, 128.0) == pytest.approx(1.0, abs=0.05)
    assert scene.at(300.0, 128.0) is None
    assert _kinds(_scene(_noisy(fringes), fringes, 9, covered=0.1)) == {"empty", "dense"}


def test_a_share_of_the_amplitude_that_is_missed_is_that_share_squared_of_the_energy() -> None:
    scene = _scene(_noisy(_rings(0.2)), _rings(0.1), 1)
    assert scene.explained == pytest.approx(0.75, abs=0.02)


def test_fringes_that_nothing_predicts_are_no_particles() -> None:
    scene = _scene(_noisy(_rings(0.1)), np.ones(SHAPE, np.float32), 5)
    assert "extended" in _kinds(scene)
    assert scene.fails
    assert any("not a particle field" in verdict.reason for verdict in scene.verdicts)


def test_a_full_field_in_which_nothing_was_found_is_no_zero() -> None:
    scene = _scene(_noisy(_rings(0.1)), None, 0)
    assert scene.fails
    assert "nothing was found" in scene.verdicts[0].reason


def test_light_that_is_scattered_as_a_whole_is_too_strong_whatever_is_predicted() -> None:
    rng = np.random.default_rng(3)
    wave = 1 + 0.6 * (rng.standard_normal(SHAPE) + 1j * rng.standard_normal(SHAPE)) / np.sqrt(2)
    speckle = np.abs(wave).astype(np.float32) / np.float32(np.sqrt(1.36))
    scene = _scene(speckle, speckle, 5)
    assert "too strong" in _kinds(scene)
    assert scene.fails


def test_one_hologram_does_not_tell_a_field_that_is_covered() -> None:
    fringes = _rings(0.1)
    assert _scene(_noisy(fringes), fringes, 50, covered=0.4).fails
    assert [verdict.level for verdict in _scene(_noisy(fringes), fringes, 50, covered=0.3).verdicts] == ["suspect"]


def _parts(boxes: list[tuple[int, int, int, int]]) -> tuple[list[Segment], np.ndarray]:
    covered = np.zeros((300, 300), np.bool_)
    for x, y, width, height in boxes:
        covered[y : y + height, x : x + width] = True
    return [Segment(x, y, np.ones((height, width), np.bool_), touches_edge=False) for x, y, width, height in boxes], covered


def test_pieces_of_a_thread_are_told_and_grains_that_touch_are_not() -> None:
    thread, covered = _parts([(20 + 46 * k, 100, 43, 8) for k in range(5)])
    verdicts = in_pieces(thread, covered, GEOMETRY)
    assert [verdict.level for verdict in verdicts] == ["suspect"]
    assert "5 pieces" in verdicts[0].reason
    assert in_pieces(*_parts([(20, 100, 230, 8)]), GEOMETRY) == []
    assert in_pieces(*_parts([(20, 100, 60, 60), (81, 100, 60, 60)]), GEOMETRY) == []
    assert in_pieces(*_parts([(20 + 60 * k, 100, 43, 8) for k in range(4)]), GEOMETRY) == []


@pytest.mark.parametrize(
    ("off_dof", "spread_dof", "half_range_um", "said"),
    [(0, 0.2, 0, False), (2, 0.2, 0, False), (5, 0.5, 0, True), (-5, 0.5, 0, True), (5, 5, 0, False), (5, 0.5, 2000, False)],
)
def test_a_plane_of_particles_elsewhere_says_that_the_distance_is_wrong(
    off_dof: float, spread_dof: float, half_range_um: float, said: bool
) -> None:
    shifts = off_dof + spread_dof * np.random.default_rng(4).standard_normal(40)
    depths = [Depth(9000.0 + DEPTH_OF_FIELD_UM * float(shift), 300.0) for shift in shifts]
    verdicts = off_plane(depths, GEOMETRY, calibration_um=180.0, half_range_um=half_range_um)
    assert bool(verdicts) == said


def test_the_distance_of_a_diverging_recording_is_judged_at_its_own_scale() -> None:
    diverging = replace(GEOMETRY, distance_um=15_000.0, source_distance_um=20_000.0)
    equivalent = diverging.propagation_um + 10 * 4 * diverging.object_pitch_um**2 / diverging.wavelength_um
    depths = [
        Depth(diverging.distance_of(equivalent / (diverging.propagation_um / diverging.equivalent_um(15_000.0))), 10.0)
    ] * 9
    assert off_plane(depths, diverging, calibration_um=1.0, half_range_um=0.0)


def _focus(off_dof: float, reason: str = "") -> FocusEstimate:
    there_um = 9000.0 + off_dof * DEPTH_OF_FIELD_UM
    return FocusEstimate(there_um, 120.0, (there_um - 235, there_um + 235), reason, (), np.array([]), np.array([]))


@pytest.mark.parametrize(
    ("particles_dof", "focus_dof", "reason", "said"),
    [
        (0.5, 0.0, "", None),
        (0.0, 5.0, "", "what was found"),
        (3.0, -2.0, "", "what was found"),
        (5.0, 5.0, "", "stated"),
        (0.0, 5.0, "the criteria disagree", None),
    ],
)
def test_the_frame_s_own_focus_contradicts_particles_or_the_stated_distance(
    particles_dof: float, focus_dof: float, reason: str, said: str | None
) -> None:
    shifts = particles_dof + 0.2 * np.random.default_rng(4).standard_normal(12)
    depths = [Depth(9000.0 + DEPTH_OF_FIELD_UM * float(shift), 160.0) for shift in shifts]
    verdicts = off_focus(depths, _focus(focus_dof, reason), GEOMETRY, calibration_um=180.0)
    assert [verdict.level for verdict in verdicts] == (["suspect"] if said else [])
    assert all(said in verdict.reason for verdict in verdicts if said)
    assert off_focus([], _focus(focus_dof, reason), GEOMETRY, calibration_um=180.0) == []


def test_speckle_as_fine_as_the_pixels_is_no_empty_field() -> None:
    rng = np.random.default_rng(0)
    hologram = recorded(FULL_FIELDS["speckle"].draw(rng, canvas_px(192)), OPTICS[0], rng)
    assert FieldScene.empty(SHAPE, hologram.noise).fails
    assert not FieldScene.empty(SHAPE, 0.1).fails


def test_an_empty_scene_says_so() -> None:
    scene = FieldScene.empty(SHAPE)
    assert scene.shares == {kind: float(kind == "empty") for kind in KINDS}
    assert not scene.fails


@pytest.mark.parametrize("kind", sorted(FULL_FIELDS))
def test_a_full_field_never_reads_as_empty(kind: str) -> None:
    for seed, geometry in enumerate(OPTICS):
        rng = np.random.default_rng(seed)
        hologram = recorded(FULL_FIELDS[kind].draw(rng, canvas_px(192)), geometry, rng)
        if FieldScene.empty(hologram.intensity.shape, hologram.noise).fails:
            continue  # speckle as fine as the pixels
        assert not is_empty(hologram.intensity, hologram.noise)
        fringes = fringes_of(np.sqrt(hologram.intensity), None, hologram.noise)
        assert fringes.lit.mean() > 0.9
