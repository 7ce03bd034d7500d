"""HIDEF on real beads against the measured field: `python -m tests.benchmarks.real_field`.

One frame at a time, through the shipped int8 file. Complex correlation with the independently measured field (mean
removed, 16 px border left out), at the stated distance and up to 4 mm off it; beside back-propagation, and beside the
correlation with the conjugate field, which tells how far the sign of the phase is known. Below, a tissue section beside
back-propagation and sparse iterative retrieval.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray

from device.analysis.background import normalise
from device.analysis.reconstruct import reconstruct
from device.app import ARTEFACTS
from device.drivers.recorded import read_frames
from device.frames import Hologram
from device.inference.networks import HidefNetwork
from device.inference.store import ModelStore
from device.optics.geometry import Geometry
from device.optics.phase_retrieval import retrieve_single_shot
from tests.benchmarks.real_beads import BEAD_PITCH_UM, BEAD_WAVELENGTH_UM, DISTANCES_UM
from tests.conftest import real_data_folder

COLON_STATED_UM, COLON_REGISTERED_UM = 26_200.0, 26_548.0
"""The catalogue's distance, and the one that its measured field itself says (device/decisions, multi-height)."""
OFFSETS_UM = (0.0, 1000.0, 2000.0, 4000.0)


def correlation(field: NDArray[np.complex64], truth: NDArray[np.complex128], border: int = 16) -> float:
    """Modulus of the normalised inner product of two fields, their means removed."""
    a, b = (f[border:-border, border:-border] for f in (field, truth))
    a, b = a - a.mean(), b - b.mean()
    return float(abs((a * b.conj()).sum()) / (np.linalg.norm(a) * np.linalg.norm(b)))


def measured_field(folder: Path) -> NDArray[np.complex128]:
    """The independently measured field beside recordings, complex128 [height, width]."""
    amplitude, phase = (scipy.io.loadmat(str(folder / f"{name}.mat"))[name] for name in ("gt_amplitude", "gt_phase"))
    return amplitude * np.exp(1j * phase)


def tissue(network: HidefNetwork) -> None:
    """Print the colon section's line."""
    folder = real_data_folder() / "tissue_gt" / "colon"
    truth, frame = measured_field(folder), next(read_frames(folder / "holo_26mm.mat"))
    ready = normalise(frame.pixels)
    for name, distance_um in (("stated", COLON_STATED_UM), ("registered", COLON_REGISTERED_UM)):
        geometry = Geometry(BEAD_WAVELENGTH_UM, BEAD_PITCH_UM, distance_um)
        result = reconstruct(Hologram(ready.intensity, geometry, ready.noise, datetime.now(UTC)), network, whole=True)
        sparse = retrieve_single_shot(ready.intensity, geometry)
        figures = [correlation(field, truth) for field in (result.start, sparse, result.field)]
        print(
            f"colon, {name:10s} {distance_um:.0f} um: back-propagation {figures[0]:.3f}, sparse {figures[1]:.3f}, hidef {figures[2]:.3f}"
        )


def main() -> int:
    """Print the tables."""
    folder = real_data_folder() / "beads_multiheight_gt" / "fov1"
    truth = measured_field(folder)
    bundle, interpreter = ModelStore(ARTEFACTS).open("hidef")
    network = HidefNetwork(interpreter, bundle.manifest)
    print("frame   back-propagation   hidef int8 at 0, 1, 2, 4 mm off   conjugate")
    table = []
    for nominal_mm, distance_um in DISTANCES_UM.items():
        frame = next(read_frames(Path(folder) / f"holo_{nominal_mm:02d}mm.mat"))
        ready = normalise(frame.pixels)
        row = []
        for offset_um in OFFSETS_UM:
            geometry = Geometry(BEAD_WAVELENGTH_UM, BEAD_PITCH_UM, distance_um + offset_um)
            result = reconstruct(Hologram(ready.intensity, geometry, ready.noise, datetime.now(UTC)), network, whole=True)
            row.append(correlation(result.field, truth))
            if offset_um == 0:
                plain, conjugate = correlation(result.start, truth), correlation(result.field.conj(), truth)
        table.append(row)
        print(f"{nominal_mm:2d} mm   {plain:.3f}              " + "  ".join(f"{v:.3f}" for v in row) + f"   {conjugate:.3f}")
    print("median                     " + "  ".join(f"{v:.3f}" for v in np.median(table, axis=0)))
    tissue(network)
    return 0


if __name__ == "__main__":
    sys.exit(main())
