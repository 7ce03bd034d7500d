"""Recorded off-axis holograms: the phase against the published one, after piston, tilt and sign.

The published picture has eight bits and was compensated for tilt alone, so ours is too. Printed for the whole frame and
without a border, where filters ring.

    python -m tests.benchmarks.real_offaxis [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.optics.offaxis import demodulate, find_carrier, flatten
from device.optics.unwrapping import unwrap
from tests.conftest import real_data_folder


def phase_of(frame: NDArray[np.floating]) -> NDArray[np.float32]:
    return unwrap(np.angle(flatten(demodulate(frame, find_carrier(frame)))))


def correlation(phase: NDArray[np.floating], published: NDArray[np.floating], border_px: int = 0) -> float:
    """Absolute value of Pearson's, a plane taken off both."""
    height, width = phase.shape
    y, x = np.mgrid[:height, :width]
    window = (slice(border_px, height - border_px), slice(border_px, width - border_px))
    design = np.stack([np.ones_like(y)[window].ravel(), y[window].ravel(), x[window].ravel()], axis=1).astype(float)

    def level(values: NDArray[np.floating]) -> NDArray[np.floating]:
        flat = values[window].ravel().astype(float)
        return flat - design @ np.linalg.lstsq(design, flat, rcond=None)[0]

    return float(abs(np.corrcoef(level(phase), level(published))[0, 1]))


def usaf(data: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    folder = data / "offaxis_dhm" / "usaf20x"
    frame, published = (cv2.imread(str(folder / n), cv2.IMREAD_GRAYSCALE) for n in ("hologram.bmp", "published_phase.tif"))
    return phase_of(frame.astype(np.float64)), published.astype(np.float64)


def main() -> int:
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else real_data_folder()
    phase, published = usaf(data)
    print(f"USAF target: correlation {correlation(phase, published):.4f} over the whole frame, ", end="")
    print(f"{correlation(phase, published, 40):.4f} without 40 px of border (bar 0.99)")
    cell = np.load(data / "offaxis_dhm" / "hl60" / "hologram_cell.npz")
    carrier = find_carrier(cell["data"].astype(float))
    field, background = (demodulate(cell[key].astype(float), carrier) for key in ("data", "bg_data"))
    quotient = unwrap(np.angle(flatten(field / background)))
    inside = np.abs(quotient) > 0.5 * np.abs(quotient).max()
    print(
        f"HL60 cell over its background hologram: phase range {np.ptp(quotient):.1f} rad, cell covers {inside.mean():.0%}, ",
        end="",
    )
    print(f"background scatter {np.std(quotient[:, :20]):.2f} rad")
    return 0


if __name__ == "__main__":
    sys.exit(main())
