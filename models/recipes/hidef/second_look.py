"""The weights of HIDEF's second look, fitted to particles of the scenes it learned from.

`python -m models.recipes.hidef.second_look hidef --version X.Y.Z` writes the bundle again, the same file, with the table in its
manifest. For every particle that the shipped file finds: what its field lacks, carried back to the particle's depth, in parts by
frequency and visibility; the weights under which their sum, kept on the support, comes nearest to what is missing of the truth.
Scores come from another forward model (models/recipes/hidef/evaluation.py); no recording takes part.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.analysis.depth import estimate_depth
from device.analysis.patches import (
    Patch,
    RefineSettings,
    box_overlap,
    fringe_visibility,
    make_patch,
    missing_wave,
    overlap,
    together,
    transfer_function,
)  # fmt: skip
from device.analysis.reconstruct import FieldNetwork, reconstruct
from device.analysis.second_look import knot_shares
from device.analysis.segment import segment
from device.frames import Hologram
from device.inference.manifest import SecondLook
from device.inference.networks import HidefNetwork
from device.inference.store import ModelBundle, ModelStore
from device.optics import fft
from device.optics.coherence import Coherence
from device.optics.geometry import Geometry
from device.optics.propagation import multiply
from models.recipes.hidef.recipe import RECIPES
from models.recipes.hidef.scenes import SCENE_PX, Recording, SceneRange, recordings
from models.training.export import check_free, second_look_lines

__all__ = ["fit_second_look", "write_with_second_look"]

Complex = NDArray[np.complex64]

CYCLES_PER_PX = tuple(round(0.05 * k, 2) for k in range(11))
VISIBILITY = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
SCENES = SceneRange(photons=(300.0, 30000.0), without_cutoff=1.0)
"""Light enough to tell, and no pupil that the optics' description doesn't know."""

_PITCH_UM = 2.0
"""Any: the scenes are in pixels."""
_BORDER_PX = 64
_LEAST_PX = 5.0
"""Smaller particles are smoothed away."""
_MARGIN_PX = 12
_SMOOTH = 3e-3
"""Weight of the table's second differences, over the mean curvature of the fit: knots that hardly a fringe lies at follow others."""
_MOST = 6.0


@dataclass(frozen=True)
class _Case:
    """One particle, in the support's pixels."""

    parts: Complex
    """complex64 [knots, pixels]: what is missing, by frequency and visibility."""
    lacking: Complex
    """complex64 [pixels]: truth less what the network gave."""


def fit_second_look(network: FieldNetwork, scenes: int = 140, seed: int = 177) -> SecondLook:
    """The table for a network, from so many scenes."""
    count = len(CYCLES_PER_PX) * len(VISIBILITY)
    curvature, right = np.zeros((count, count)), np.zeros(count)
    source = recordings(seed, SCENES)
    for _ in range(scenes):
        for case in _cases(next(source), network):
            weight = 1 / (len(case.lacking) + 50)
            curvature += weight * (case.parts.conj() @ case.parts.T).real
            right += weight * (case.parts.conj() @ case.lacking).real
    scale = np.trace(curvature) / count
    solved = np.linalg.solve(curvature + _SMOOTH * scale * _roughness() + 1e-4 * scale * np.eye(count), right)
    # Half of the wave was not measured: nothing lacks more than twice what is seen.
    most = np.minimum(2 / np.maximum(VISIBILITY, 1e-6), _MOST)
    table = np.clip(solved.reshape(len(CYCLES_PER_PX), len(VISIBILITY)), 0, most)
    return SecondLook(
        cycles_per_px=CYCLES_PER_PX, visibility=VISIBILITY, gain=tuple(tuple(round(float(v), 2) for v in row) for row in table)
    )


def _roughness() -> NDArray[np.float64]:
    """Quadratic form of the table's second differences along both axes."""
    rows, columns = (np.diff(np.eye(n), 2, axis=0) for n in (len(CYCLES_PER_PX), len(VISIBILITY)))
    down, along = rows.T @ rows, columns.T @ columns
    return np.kron(down, np.eye(len(VISIBILITY))) + np.kron(np.eye(len(CYCLES_PER_PX)), along)


def _geometry(scene: Recording) -> Geometry:
    wavelength_um = scene.wavelength_px * _PITCH_UM
    distance_um = scene.defocus_number * _PITCH_UM**2 / wavelength_um
    # A source twice as far as the object blurs by its own diameter.
    coherence = Coherence(scene.bandwidth_px * _PITCH_UM, scene.blur_px * _PITCH_UM, 2 * distance_um)
    return Geometry(wavelength_um, _PITCH_UM, distance_um, coherence=coherence)


def _cases(scene: Recording, network: FieldNetwork) -> Iterator[_Case]:
    """Of all particles that were found, each at its true depth, those nobody placed at their estimates."""
    geometry = _geometry(scene)
    intensity = scene.recorded / max(float(scene.recorded.mean()), 1e-3)
    result = reconstruct(Hologram(intensity, geometry, 0.0, datetime.now(UTC)), network, whole=True)
    unit_um = _PITCH_UM**2 / geometry.wavelength_medium_um
    settings = RefineSettings()
    patches: list[Patch] = []
    known: list[Patch] = []
    for part in segment(result.field, start=result.start):
        middle = part.x_px + part.mask.shape[1] / 2, part.y_px + part.mask.shape[0] / 2
        off = [np.hypot(p.x_px - middle[0], p.y_px - middle[1]) - max(p.diameter_px / 4, 2) for p in scene.particles]
        nearest = int(np.argmin(off)) if off else -1
        placed = nearest >= 0 and off[nearest] < 0
        depth_um = (
            scene.particles[nearest].defocus_number * unit_um
            if placed
            else estimate_depth(result.start, result.field, part, geometry).z_um
        )
        patches.append(make_patch(result.field, part, depth_um, geometry, settings))
        inside = all(_BORDER_PX <= m <= SCENE_PX - _BORDER_PX for m in middle)
        if placed and inside and scene.particles[nearest].diameter_px >= _LEAST_PX:
            known.append(patches[-1])
    amplitude = np.sqrt(np.maximum(intensity, 0)).astype(np.float32)
    wave = together(amplitude.shape, patches)
    for patch in known:
        yield _case(amplitude, wave, patch, scene.target, geometry)


def _case(amplitude: NDArray[np.float32], wave: Complex, patch: Patch, truth: Complex, geometry: Geometry) -> _Case:
    there, here = overlap(amplitude.shape, patch)
    seen = np.zeros((patch.side, patch.side), np.complex64)
    seen[here] = missing_wave(amplitude[there], wave[there])
    spectrum = fft.fft2(seen)
    multiply(spectrum, transfer_function(patch.side, patch.depth_um, geometry), conjugated=True)
    back = fft.ifft2(spectrum)
    rows, columns = patch.box
    height, width = patch.support.shape
    side = fft.next_fast_len(max(height, width) + 2 * _MARGIN_PX)
    top, left = rows.start + height // 2 - side // 2, columns.start + width // 2 - side // 2
    around = np.zeros((side, side), np.complex64)
    held = back[max(top, 0) : top + side, max(left, 0) : left + side]
    first = max(-top, 0), max(-left, 0)
    around[first[0] : first[0] + held.shape[0], first[1] : first[1] + held.shape[1]] = held
    spectrum = fft.fft2(around)
    own = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    there, here = box_overlap(truth.shape, patch)
    inside = np.zeros_like(patch.support)
    inside[here] = patch.support[here]
    true = np.zeros(patch.support.shape, np.complex64)
    true[here] = truth[there] - 1
    parts = fft.ifft2(spectrum[None] * _knots(side, geometry))[(slice(None), *own)][:, inside]
    return _Case(parts, true[inside] - patch.given[inside])


@lru_cache(maxsize=16)
def _knots(side: int, geometry: Geometry) -> NDArray[np.float32]:
    """Share of every knot at every frequency, float32 [knots, side, side]."""
    radius = np.hypot(fft.fftfreq(side)[:, None], fft.fftfreq(side)[None, :])
    at_frequency = knot_shares(radius, CYCLES_PER_PX)
    at_visibility = knot_shares(fringe_visibility(side, geometry), VISIBILITY)
    return (at_frequency[:, None] * at_visibility[None, :]).reshape(-1, side, side)


def write_with_second_look(old: ModelBundle, version: str, folder: Path, table: SecondLook) -> Path:
    """A bundle under another version, the same file, with the table in its manifest; InputError where that is taken."""
    name, before = old.manifest.name, old.manifest.version
    path = check_free(folder, name, version)
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in (".tflite", ".npz"):
        shutil.copyfile(old.model.with_suffix(suffix), path.with_suffix(suffix))
    text = old.model.with_suffix(".toml").read_text(encoding="utf-8").split("\n[second_look]")[0]
    renamed = text.replace(f'version = "{before}"', f'version = "{version}"', 1).rstrip("\n")
    path.with_suffix(".toml").write_text("\n".join([renamed, *second_look_lines(table)]) + "\n", encoding="utf-8")
    return path


def main(arguments: list[str] | None = None) -> int:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[recipe.name for recipe in RECIPES])
    parser.add_argument("--version", required=True, metavar="X.Y.Z")
    parser.add_argument("--artefacts", type=Path, default=Path(__file__).parents[2] / "artefacts", metavar="DIR")
    parser.add_argument("--scenes", type=int, default=140)
    args = parser.parse_args(arguments)
    store = ModelStore(args.artefacts)
    check_free(args.artefacts, args.name, args.version)
    bundle, interpreter = store.open(args.name)
    table = fit_second_look(HidefNetwork(interpreter, bundle.manifest), args.scenes)
    for cycles, row in zip(table.cycles_per_px, table.gain, strict=True):
        print(f"{cycles:.2f} c/px  " + "  ".join(f"{v:5.2f}" for v in row))
    print(write_with_second_look(bundle, args.version, args.artefacts, table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
