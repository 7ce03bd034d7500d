"""HIDEF on real beads against the measured field: `python -m tests.benchmarks.real_field`.

One frame at a time, through the shipped int8 file: one pass, and refined as the box does it. Complex correlation with the
independently measured field (mean removed, 16 px border left out), at the stated distance and up to 4 mm off it; beside
back-propagation and sparse iterative retrieval.

Three things limit or blur that figure, and are printed beside it. The reference wave is tilted and bent in the measured field,
which one hologram doesn't hold: 'level' is the correlation after a second-order phase is taken off the measured field, and what
the levelled field itself reaches against the raw one bounds any method that is blind to it. The modulus of a correlation is
blind to a constant phase: a bead whose field is one complex number correlates as well with its conjugate, whatever is known of
the sign. So the conjugate's is given as a modulus ('sign': field less conjugate; the measured field against its own conjugate
bounds it) and as a real part ('signed'), which tells a bead that delays from one that advances.

Below, a tissue section beside back-propagation, sparse iterative retrieval, and what is held if it absorbs nothing. Its measured
field doesn't lie on its frame: the field, carried to the sensor, says by how many pixels, and both correlations are printed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import scipy.io
from numpy.typing import NDArray

from device.analysis.background import normalise
from device.analysis.pipeline import Pipeline
from device.analysis.reconstruct import reconstruct
from device.config import load_config
from device.drivers.recorded import read_frames
from device.frames import Hologram
from device.optics.geometry import Geometry
from device.optics.phase_retrieval import retrieve_single_shot, retrieve_transparent
from device.optics.propagation import propagate
from device.records import QARTOD_PASS
from device.rig.models import build_pipeline, model_store
from tests.benchmarks.real_beads import BEAD_PITCH_UM, BEAD_WAVELENGTH_UM, DISTANCES_UM
from tests.conftest import real_data_folder

COLON_STATED_UM, COLON_REGISTERED_UM = 26_200.0, 26_548.0
"""The catalogue's distance, and the one that its measured field itself says (device/decisions, multi-height)."""
OFFSETS_UM = (0.0, 1000.0, 2000.0, 4000.0)


def correlation(field: NDArray[np.complexfloating], truth: NDArray[np.complex128], border: int = 16) -> float:
    """Modulus of the normalised inner product of two fields, their means removed."""
    a, b = (f[border:-border, border:-border] for f in (field, truth))
    a, b = a - a.mean(), b - b.mean()
    return float(abs((a * b.conj()).sum()) / (np.linalg.norm(a) * np.linalg.norm(b)))


def measured_field(folder: Path) -> NDArray[np.complex128]:
    """The independently measured field beside recordings, complex128 [height, width]."""
    amplitude, phase = (scipy.io.loadmat(str(folder / f"{name}.mat"))[name] for name in ("gt_amplitude", "gt_phase"))
    return amplitude * np.exp(1j * phase)


def tissue(pipeline: Pipeline) -> None:
    """Print the colon section's lines: as the files lie, and with the measured field laid on the frame."""
    folder = real_data_folder() / "tissue_gt" / "colon"
    truth, frame = measured_field(folder), next(read_frames(folder / "holo_26mm.mat"))
    ready = normalise(frame.pixels)
    for name, distance_um in (("stated", COLON_STATED_UM), ("registered", COLON_REGISTERED_UM)):
        geometry = Geometry(BEAD_WAVELENGTH_UM, BEAD_PITCH_UM, distance_um)
        result = reconstruct(Hologram(ready.intensity, geometry, ready.noise, datetime.now(UTC)), pipeline.network, whole=True)
        sparse = retrieve_single_shot(ready.intensity, geometry)
        fields = {
            "back-propagation": result.start, "sparse": sparse, "hidef": result.field,
            "transparent": retrieve_transparent(ready.intensity, geometry),
        }  # fmt: skip
        for where, laid in (("as it lies", truth), ("laid on the frame", laid_on(truth, ready.intensity, geometry))):
            figures = ", ".join(f"{method} {correlation(field, laid):.3f}" for method, field in fields.items())
            print(f"colon, {name:10s} {distance_um:.0f} um, {where:17s}: {figures}")


def laid_on(
    truth: NDArray[np.complex128], intensity: NDArray[np.float32], geometry: Geometry, most_px: int = 6, border: int = 40
) -> NDArray[np.complex128]:
    """A measured field, moved by whole pixels to where its own fringes best match the frame's."""
    carried = propagate(
        truth.astype(np.complex64), pitch_um=geometry.pitch_um, wavelength_um=geometry.wavelength_um,
        distance_um=geometry.distance_um,
    )  # fmt: skip
    inner = (slice(border, -border),) * 2
    predicted, measured = np.abs(carried), np.sqrt(np.maximum(intensity, 0))[inner]

    def match(shift: tuple[int, int]) -> float:
        return float(np.corrcoef(np.roll(predicted, shift, (0, 1))[inner].ravel(), measured.ravel())[0, 1])

    reach = range(-most_px, most_px + 1)
    best = max(((down, right) for down in reach for right in reach), key=match)
    print(f"  the measured field's fringes match the frame's by {match((0, 0)):.3f}, moved by {best} px by {match(best):.3f}")
    return np.roll(truth, best, (0, 1))


def levelled(field: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """A field without the second-order phase of its background, the pixels within 0.6 rad of zero."""
    height, width = field.shape
    y, x = np.mgrid[:height, :width] / max(field.shape)
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)
    phase = np.angle(field)
    flat = np.abs(phase) < 0.6
    coefficients = np.linalg.lstsq(terms[flat], phase[flat], rcond=None)[0]
    return field * np.exp(-1j * (terms @ coefficients))


def signed(field: NDArray[np.complexfloating], truth: NDArray[np.complex128], border: int = 16) -> float:
    """Real part of the correlation with the field less that with its conjugate; no phase is free."""
    a, b = (f[border:-border, border:-border] for f in (field, truth))
    a, b = a - a.mean(), b - b.mean()
    return float(((a * b.conj()).sum() - (a * b).sum()).real / (np.linalg.norm(a) * np.linalg.norm(b)))


def beads(pipeline: Pipeline) -> None:
    """Print the beads' table."""
    folder = real_data_folder() / "beads_multiheight_gt" / "fov1"
    truth = measured_field(folder)
    flat = levelled(truth)
    print(
        f"bounds: level field against raw {correlation(flat, truth):.3f}; sign {1 - correlation(truth.conj(), truth):.3f}, "
        f"signed {signed(truth, truth):.3f}"
    )
    print(
        "frame   back-prop  sparse   one pass at 0, 1, 2, 4 mm off   refined at 0, 1, 2, 4 mm off   level  sign  signed  passed"
    )
    rows = []
    for nominal_mm, distance_um in DISTANCES_UM.items():
        ready = normalise(next(read_frames(folder / f"holo_{nominal_mm:02d}mm.mat")).pixels)
        passes, refined = [], []
        figures: tuple[float, ...] = ()
        for offset_um in OFFSETS_UM:
            geometry = Geometry(BEAD_WAVELENGTH_UM, BEAD_PITCH_UM, distance_um + offset_um)
            hologram = Hologram(ready.intensity, geometry, ready.noise, datetime.now(UTC))
            result = reconstruct(hologram, pipeline.network, whole=True)
            better = pipeline.whole_field(hologram)
            passes.append(correlation(result.field, truth))
            refined.append(correlation(better, truth))
            if offset_um == 0:
                judged = pipeline.analyse(hologram).consistencies
                figures = (
                    correlation(result.start, truth), correlation(retrieve_single_shot(ready.intensity, geometry), truth),
                    correlation(better, flat), correlation(better, truth) - correlation(better.conj(), truth),
                    signed(better, truth), float(np.mean([c.flag == QARTOD_PASS for c in judged])),
                )  # fmt: skip
        rows.append((*figures[:2], *passes, *refined, *figures[2:]))
        print(f"{nominal_mm:2d} mm   {_line(rows[-1])}")
    print(f"median  {_line(np.median(rows, axis=0))}")


def _line(row: Sequence[float] | NDArray[np.float64]) -> str:
    groups = (row[:1], row[1:2], row[2:6], row[6:10], row[10:11], row[11:12], row[12:13], row[13:])
    return "     ".join("  ".join(f"{v:.3f}" for v in group) for group in groups)


def main() -> int:
    """Print the tables."""
    config = load_config(None)
    settings = msgspec.structs.replace(config.analysis, classifier_model="", min_esd_um=0.0, max_esd_um=1e6)
    pipeline, _ = build_pipeline(model_store(config), settings, Geometry(BEAD_WAVELENGTH_UM, BEAD_PITCH_UM, 12_000.0))
    beads(pipeline)
    tissue(pipeline)
    return 0


if __name__ == "__main__":
    sys.exit(main())
