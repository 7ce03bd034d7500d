"""Recorded off-axis holograms: the phase against the published one, after piston, tilt and curvature, its sign counted.

The published picture has eight bits, and 1.7 rad of the optics' curvature in it, which ours takes off: both are compared without.
Printed for the whole frame, without a border, where filters ring, and by quarters; and with the curvature left in both.

    python -m tests.benchmarks.real_offaxis [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.lensless_offaxis import fresnel_image, sharpest_distance_um
from device.optics.offaxis import background_spread_rad
from device.optics.offaxis_reconstruction import reconstruct_offaxis
from tests.conftest import real_data_folder


def correlation(phase: NDArray[np.floating], published: NDArray[np.floating], border_px: int = 0, *, order: int = 2) -> float:
    """Pearson's, a plane (`order` 1) or a paraboloid (2) taken off both."""
    height, width = phase.shape
    y, x = np.mgrid[:height, :width]
    window = (slice(border_px, height - border_px), slice(border_px, width - border_px))
    y, x = (a[window].ravel() / a.max() for a in (y, x))
    terms = [y**p * x**q for p in range(order + 1) for q in range(order + 1 - p)]
    design = np.stack(terms, axis=1).astype(float)

    def level(values: NDArray[np.floating]) -> NDArray[np.floating]:
        flat = values[window].ravel().astype(float)
        return flat - design @ np.linalg.lstsq(design, flat, rcond=None)[0]

    return float(np.corrcoef(level(phase), level(published))[0, 1])


def usaf(data: Path, order: int | None = None) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Our phase, and the published one in its own grey values."""
    folder = data / "offaxis_dhm" / "usaf20x"
    found = reconstruct_offaxis(_picture(folder / "hologram.bmp"), order=order)
    return found.phase_rad, _picture(folder / "published_phase.tif")


def far_dice(data: Path) -> tuple[float, float]:
    """Sharpest distance in micrometres of the far dice, and how much brighter they are than their surroundings."""
    frame = _picture(data / "offaxis_dhm" / "dice_fresnel" / "ulf7.bmp")
    optics = {"wavelength_um": 0.6328, "pitch_um": 6.8}
    distance_um = sharpest_distance_um(frame, np.arange(0.70e6, 1.5e6, 0.04e6), **optics)
    image = cv2.GaussianBlur(np.abs(fresnel_image(frame, distance_um=distance_um, **optics).field) ** 2, (0, 0), 4.0)
    return distance_um, float(image.max() / np.median(image))


def _picture(path: Path) -> NDArray[np.float64]:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise InputError("not a picture", where=path)
    return image.astype(np.float64)


def _cell(data: Path) -> None:
    cell = np.load(data / "offaxis_dhm" / "hl60" / "hologram_cell.npz")
    for name, background in (("alone", None), ("over its background hologram", cell["bg_data"])):
        found = reconstruct_offaxis(cell["data"], background)
        phase = np.abs(found.phase_rad)
        middle = cv2.GaussianBlur(phase, (0, 0), 2)
        inside = middle > 0.5 * middle.max()
        print(
            f"HL60 cell {name}: {np.median(phase[inside]):.2f} rad inside, covers {inside.mean():.0%}, left border scatters "
            f"{np.std(found.phase_rad[:, :20]):.3f} rad; {found.quality.residue_density:.0e} residues per pixel"
        )


def main() -> int:
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else real_data_folder()
    phase, published = usaf(data)
    height, width = (n // 2 for n in phase.shape)
    print(f"USAF target: correlation {correlation(phase, published):.4f} over the whole frame (bar 0.99), ", end="")
    print(f"{correlation(phase, published, 40):.4f} without 40 px of border", end="")
    print(f"; curvature left in both: {correlation(*usaf(data, order=1), order=1):.4f}")
    print(f"  half of the field lies within {background_spread_rad(phase):.2f} rad", end="")
    print(f" ({background_spread_rad(usaf(data, order=1)[0]):.2f} with the curvature)")
    quarters = [
        correlation(phase[top : top + height, left : left + width], published[top : top + height, left : left + width])
        for top in (0, height)
        for left in (0, width)
    ]
    print("  its quarters, each with a plane of its own: " + ", ".join(f"{q:.4f}" for q in quarters))
    _cell(data)
    distance_um, contrast = far_dice(data)
    print(f"far dice: sharpest at {distance_um / 1e6:.2f} m (stated: about 1 m), {contrast:.0f} times the plane's median")
    return 0


if __name__ == "__main__":
    sys.exit(main())
