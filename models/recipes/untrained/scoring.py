"""How the untrained fit scores: scenes of another forward model, and recordings with a measured field where they are at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.analysis.background import normalise
from device.analysis.two_fits import aligned, fit_twice
from device.drivers.recorded import read_frames
from device.frames import Hologram
from device.optics.geometry import Geometry
from device.optics.phase_retrieval import retrieve_single_shot, retrieve_transparent
from device.optics.propagation import backpropagate
from models.recipes.hidef.evaluation import GEOMETRY, field_metrics, scoring_fields
from models.training.tables import Bar, bar_lines, score_lines

__all__ = ["report"]

Complex = NDArray[np.complexfloating]

_CROP_PX = 192
_NOISE = 0.027
"""Of the scoring fields: 0.6 of the well of 4,700 electrons, frame and background."""
_BORDER_PX = 16
_RECORDINGS = {
    "beads": ("beads_multiheight_gt/fov1", ((9, 9000.0), (12, 12_000.0), (15, 14_850.0))),
    "tissue": ("tissue_gt/colon", ((26, 26_548.0),)),
}
"""Folder, and the heights (mm, as the files are named) with the true distance in um. 532 nm, 6.5 um."""
_LAID_PX = {"beads": (0, 0), "tissue": (1, 3)}
"""By how many pixels a measured field lies off its frames (tests/benchmarks/real_field.py finds it)."""


def report(count: int) -> list[str]:
    """Markdown: `count` simulated fields, and the recordings; the fits take a minute each."""
    lines: list[str] = [
        "Simulated, multi-slice, 850 nm, 1.12 um, particles within 5 um of the focal plane (crops of 192 px):",
        "",
    ]
    scores = _simulated(count)
    metrics = ["complex_correlation", "complex_error", "amplitude_psnr_db"]
    lines += [*score_lines(scores, metrics), ""]
    for kind in _RECORDINGS:
        recorded = _recorded(kind)
        if not recorded["untrained"]:
            lines += [f"Recorded {kind}: not scored, the recordings aren't at hand ($HOLONODE_REAL_DATA).", ""]
            continue
        least = 0.03 if kind == "tissue" else 0.0
        bar = Bar("untrained", "complex correlation", least=least, against="sparse iterative")
        lines += [f"Recorded {kind} with a measured field, one frame each:", ""]
        lines += [*score_lines(recorded, ["complex correlation", "ambiguity"]), "", *bar_lines([bar], recorded), ""]
    return lines


def _methods(hologram: Hologram) -> tuple[dict[str, Complex], float]:
    """Fields by every method, and the mean ambiguity of the untrained one."""
    intensity, geometry = hologram.intensity, hologram.geometry
    fits = fit_twice(hologram)
    fields: dict[str, Complex] = {
        "back-propagation": backpropagate(intensity, geometry),
        "sparse iterative": retrieve_single_shot(intensity, geometry),
        "transparent": retrieve_transparent(intensity, geometry),
        "untrained": fits.field,
        "untrained, the other fit": fits.other,
    }
    return fields, float(fits.ambiguity.mean())


def _simulated(count: int) -> dict[str, list[dict[str, float]]]:
    scores: dict[str, list[dict[str, float]]] = {}
    first = (512 - _CROP_PX) // 2
    middle = (slice(first, first + _CROP_PX),) * 2
    for scene in scoring_fields(count, 20_290, 0.0, per_field=24):
        hologram = Hologram(np.ascontiguousarray(scene.intensity[middle]), GEOMETRY, _NOISE, datetime.now(UTC))
        truth = scene.truth[middle]
        inner = (slice(_BORDER_PX, -_BORDER_PX),) * 2
        if float(np.abs(truth[inner] - 1).max()) < 0.1:
            continue
        fields, _ = _methods(hologram)
        for name, found in fields.items():
            field = aligned(found.astype(np.complex64), truth)
            scores.setdefault(name, []).append(field_metrics(field[inner], truth[inner]))
    return scores


def _recorded(kind: str) -> dict[str, list[dict[str, float]]]:
    scores: dict[str, list[dict[str, float]]] = {"untrained": []}
    for hologram, truth in _recordings(kind):
        fields, unsure = _methods(hologram)
        for name, field in fields.items():
            row = {"complex correlation": _correlation(field, truth)}
            scores.setdefault(name, []).append(row | ({"ambiguity": unsure} if name == "untrained" else {}))
    return scores


def _recordings(kind: str) -> Iterator[tuple[Hologram, Complex]]:
    import scipy.io

    folder_name, heights = _RECORDINGS[kind]
    root = Path(os.environ.get("HOLONODE_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
    folder = (root / "holograms" if (root / "holograms").is_dir() else root) / folder_name
    if not folder.is_dir():
        return
    amplitude, phase = (scipy.io.loadmat(str(folder / f"{name}.mat"))[name] for name in ("gt_amplitude", "gt_phase"))
    truth = np.roll(amplitude * np.exp(1j * phase), _LAID_PX[kind], (0, 1))
    for height_mm, distance_um in heights:
        ready = normalise(next(read_frames(folder / f"holo_{height_mm:02d}mm.mat")).pixels)
        yield Hologram(ready.intensity, Geometry(0.532, 6.5, distance_um), ready.noise, datetime.now(UTC)), truth


def _correlation(field: Complex, truth: Complex) -> float:
    """Modulus of the normalised inner product, means removed, without the border."""
    a, b = (f[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX] for f in (field, truth))
    a, b = a - a.mean(), b - b.mean()
    return float(abs((a * b.conj()).sum()) / (np.linalg.norm(a) * np.linalg.norm(b)))
