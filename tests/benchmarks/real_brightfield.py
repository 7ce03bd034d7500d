"""The brightfield view of recorded plankton, by the microscope's physics and by the network, beside brightfield pictures of plankton:
`python -m tests.benchmarks.real_brightfield`.

Holograms and pictures are of the same culture and not of the same cells (holo2bright, Bachimanchi et al., eLife 11, e79760 (2022)), so
that distributions are compared: the kernel distance (KID; M. Binkowski et al., ICLR 2018, arXiv:1801.01401) of simple features of
patches of 32 pixels about what stands out most: power in eight rings of frequencies (log), brightest and darkest, skewness. Smaller is nearer;
halves of the brightfield pictures against each other are the floor. Neither wavelength nor pitch of the recordings is known: the
one defocus number at which all of them are sharpest is found first, and the microscope of those pictures is unlike the view's
(its light comes from one side). An anecdote, therefore. --pictures DIR writes hologram, refocused intensity and view side by side.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.background import smooth_light
from device.analysis.views import grey_picture, marked_computed
from device.config import load_config
from device.inference.networks import ImageNetwork
from device.optics.microscope import Microscope, brightfield_image, condenser_directions
from device.optics.propagation import propagate
from device.rig.models import model_store
from models.recipes.brightfield.scenes import CONDENSER_SHARE, OBJECTIVE_PER_PX
from models.recipes.brightfield.scoring import network_view
from tests.conftest import real_data_folder

Picture = NDArray[np.float32]

_WAVELENGTH_PX = 0.3
"""Of no weight: at these angles the defocus number alone counts."""
_NUMBERS = np.geomspace(8, 400, 24)
_PATCH_PX, _PATCHES = 32, 6


def _levelled(path: Path) -> Picture:
    grey = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.float32)
    return (grey / smooth_light(grey, 4)).astype(np.float32)


def _refocused(hologram: Picture, number: float) -> NDArray[np.complex64]:
    amplitude = np.sqrt(np.maximum(hologram, 0))
    return propagate(amplitude, pitch_um=1.0, wavelength_um=_WAVELENGTH_PX, distance_um=-number / _WAVELENGTH_PX)


def _sharpness(number: float, holograms: Sequence[Picture]) -> float:
    """Fourth moment of the amplitude's gradient over its squared second: edges, not rings."""
    found: list[float] = []
    for hologram in holograms:
        amplitude = np.abs(_refocused(hologram, number)).astype(np.float64)
        gradient = np.hypot(cv2.Sobel(amplitude, -1, 1, 0), cv2.Sobel(amplitude, -1, 0, 1))
        found.append(float(np.mean(gradient**4) / np.mean(gradient**2) ** 2))
    return float(np.median(found))


def _features(picture: Picture) -> NDArray[np.float64]:
    """Float64 [_PATCHES, 11], of the patches with the most contrast, none over another."""
    contrast = cv2.GaussianBlur((picture - 1) ** 2, (0, 0), 6)
    edge, rows = _PATCH_PX // 2, []
    contrast[:edge] = contrast[-edge:] = contrast[:, :edge] = contrast[:, -edge:] = 0
    radius = np.hypot(np.fft.fftfreq(_PATCH_PX)[:, None], np.fft.fftfreq(_PATCH_PX)[None, :])
    window = np.hanning(_PATCH_PX)[:, None] * np.hanning(_PATCH_PX)[None, :]
    for _ in range(_PATCHES):
        y, x = np.unravel_index(int(np.argmax(contrast)), contrast.shape)
        patch = picture[y - edge : y + edge, x - edge : x + edge].astype(np.float64) - 1
        contrast[max(y - edge, 0) : y + edge, max(x - edge, 0) : x + edge] = 0
        power = np.abs(np.fft.fft2(patch * window)) ** 2
        rings = [np.log(power[(radius >= k / 16) & (radius < (k + 1) / 16)].mean() + 1e-6) for k in range(8)]
        spread = patch.std() + 1e-6
        rows.append([*rings, *np.percentile(patch, (2, 98)) / spread, float(np.mean((patch / spread) ** 3))])
    return np.array(rows)


def kernel_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Unbiased squared maximum mean discrepancy of rows, kernel (x y / d + 1)^3."""

    def kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        return (x @ y.T / x.shape[1] + 1) ** 3

    n, m = len(a), len(b)
    own, other = kernel(a, a), kernel(b, b)
    within = (own.sum() - np.trace(own)) / (n * (n - 1)) + (other.sum() - np.trace(other)) / (m * (m - 1))
    return float(within - 2 * kernel(a, b).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, metavar="DIR")
    args = parser.parse_args()
    folder = real_data_folder() / "plankton_holo2bright"
    holograms = [_levelled(path) for path in sorted((folder / "holography").glob("*.png"))]
    truth = [_features(_levelled(path)) for path in sorted((folder / "brightfield").glob("*.png"))]
    bundle, interpreter = model_store(load_config(None)).open("brightfield")
    network = ImageNetwork(interpreter, bundle.manifest)
    number = float(max(_NUMBERS, key=lambda n: _sharpness(n, holograms[:16])))
    print(f"sharpest at a defocus number of {number:.0f}; {len(holograms)} holograms, {len(truth)} pictures\n")
    fields = [_refocused(hologram, number) for hologram in holograms]
    objective = OBJECTIVE_PER_PX * _WAVELENGTH_PX
    microscope = Microscope(_WAVELENGTH_PX, objective, CONDENSER_SHARE * objective)
    directions = condenser_directions(microscope, 60)
    views = [brightfield_image(field, 1.0, microscope, directions) for field in fields]
    methods = {
        "as recorded": holograms, "back-propagated intensity": [np.abs(f) ** 2 for f in fields], "brightfield view": views,
        "network": [network_view(field, network) for field in fields],
    }  # fmt: skip
    described = {name: [_features(picture) for picture in pictures] for name, pictures in methods.items()}
    everything = np.concatenate(truth)
    mean, spread = everything.mean(axis=0), everything.std(axis=0)
    rng = np.random.default_rng(1)
    print("| method | n | kernel distance |\n|---|---|---|")
    halves = truth[::2], truth[1::2]
    for name, (ours, theirs) in {**{k: (v, truth) for k, v in described.items()}, "brightfield, halves": halves}.items():
        drawn: list[float] = []
        for _ in range(200):
            # Whole pictures are drawn: patches of one aren't independent.
            a, b = (np.concatenate([of[i] for i in rng.choice(len(of), len(of) // 2, replace=False)]) for of in (ours, theirs))
            drawn.append(kernel_distance((a - mean) / spread, (b - mean) / spread))
        middle, low, high = np.percentile(drawn, (50, 2.5, 97.5))
        print(f"| {name} | {len(ours)} | {middle:.2f} ({low:.2f} to {high:.2f}) |")
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
        for k in range(0, len(holograms), 8):
            panes = [
                grey_picture(p).repeat(2, axis=0).repeat(2, axis=1) for p in (holograms[k], np.abs(fields[k]) ** 2, views[k])
            ]
            cv2.imwrite(str(args.pictures / f"plankton-{k:02d}.png"), np.hstack([*panes[:2], marked_computed(panes[2])]))


if __name__ == "__main__":
    main()
