"""Where propagation is exact to a part in a thousand: a map against the exact integral.

The truth is the field of a Gaussian spot with a curved and tilted phase by the first Rayleigh-Sommerfeld integral, summed
directly, in double precision, on a grid at least four times as fine as the pixels. The domain is mapped in wavelength /
pitch (which sets the largest angle) and the defocus number wavelength * distance / pitch^2, for the method that
`propagate` uses and for the single-transform Fresnel one.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.propagation_domain
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from device.optics.fresnel import fresnel_transform
from device.optics.propagation import choose_method, propagate

SIDE_PX = 256
RATIOS = (0.08, 0.15, 0.3, 0.55, 0.76, 1.0, 1.4)
DEFOCUS = (3.0, 10.0, 30.0, 100.0, 250.0, 600.0, 2_000.0, 10_000.0)
FINER = 4


def object_field(y_um: NDArray[np.floating], x_um: NDArray[np.floating], pitch_um: float) -> NDArray[np.complex128]:
    """A Gaussian spot of 3 pixels with a curved and tilted phase, small against the frame."""
    width = 3.0 * pitch_um
    squared = y_um**2 + x_um**2
    return np.exp(-squared / (2 * width**2) + 0.3j * squared / width**2 + 0.2j * x_um / pitch_um)


def rayleigh_sommerfeld(
    points_um: NDArray[np.float64], pitch_um: float, wavelength_um: float, z_um: float
) -> NDArray[np.complex128]:
    """First Rayleigh-Sommerfeld integral at points [n, 2] (y, x), the plane wave's own phase taken out."""
    # The spot's tails at five widths are 4e-6; the kernel's phase must be sampled over the largest angle to the points.
    extent = 15.0 * pitch_um
    sine = np.sin(np.arctan2(extent + np.abs(points_um).max(), z_um))
    step = min(pitch_um / FINER, wavelength_um / (2.5 * sine))
    half = int(np.ceil(extent / step))
    at = np.arange(-half, half + 1) * step
    y, x = np.meshgrid(at, at, indexing="ij")
    source = object_field(y, x, pitch_um) * step**2
    k = 2 * np.pi / wavelength_um
    answer = np.empty(len(points_um), np.complex128)
    for n, (py, px) in enumerate(points_um):
        r = np.sqrt((py - y) ** 2 + (px - x) ** 2 + z_um**2)
        kernel = z_um / (2 * np.pi * r**2) * (1 / r - 1j * k) * np.exp(1j * k * (r - z_um))
        answer[n] = (source * kernel).sum()
    return answer


def relative_error(ratio: float, defocus: float, *, method: str = "auto") -> float:
    """Largest error over the largest amplitude, along a line through the spot."""
    pitch_um = 1.0
    wavelength_um = ratio * pitch_um
    z_um = defocus * pitch_um**2 / wavelength_um
    at = (np.arange(SIDE_PX) - SIDE_PX // 2) * pitch_um
    field = object_field(at[:, None], at[None, :], pitch_um)
    if method == "fresnel":
        carried, pitches = fresnel_transform(field, pitch_um=pitch_um, wavelength_um=wavelength_um, distance_um=z_um)
    else:
        carried, pitches = (
            propagate(field, pitch_um=pitch_um, wavelength_um=wavelength_um, distance_um=z_um, border="zero"),
            (pitch_um, pitch_um),
        )
    columns = np.arange(SIDE_PX // 2 - 48, SIDE_PX // 2 + 49, 3)
    points = np.stack([np.full(len(columns), 3 * pitches[0]), (columns - SIDE_PX // 2) * pitches[1]], axis=1)
    truth = rayleigh_sommerfeld(points, pitch_um, wavelength_um, z_um)
    return float(np.abs(carried[SIDE_PX // 2 + 3, columns] - truth).max() / np.abs(truth).max())


def main() -> int:
    print("relative error against Rayleigh-Sommerfeld, the method chosen by `propagate`; * outside the declared domain")
    print(f"{'wavelength/pitch':>17s}" + "".join(f"{d:>11.0f}" for d in DEFOCUS) + "   defocus number")
    worst = 0.0
    for ratio in RATIOS:
        cells: list[str] = []
        for defocus in DEFOCUS:
            error = relative_error(ratio, defocus)
            declared = choose_method(SIDE_PX, 1.0, ratio, defocus / ratio) == "angular spectrum"
            worst = max(worst, error) if declared else worst
            cells.append(f"{error:>10.1e}{' ' if declared else '*'}")
        print(f"{ratio:17.2f}" + "".join(cells))
    print(f"worst inside the declared domain: {worst:.1e} (bar 1e-3)\n")
    print("single-transform Fresnel where the distance allows it")
    for ratio in RATIOS[:3]:
        errors = [
            f"{relative_error(ratio, d, method='fresnel'):>10.1e} " if d >= SIDE_PX else f"{'too near':>11s}" for d in DEFOCUS
        ]
        print(f"{ratio:17.2f}" + "".join(errors))
    return 0


if __name__ == "__main__":
    sys.exit(main())
