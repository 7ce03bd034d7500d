"""Recorded coherent noise: an off-axis background without its object, a known phase put into it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from device.analysis.denoise import denoise
from device.inference.networks import ImageNetwork
from device.inference.store import ModelStore
from device.optics import offaxis
from device.rig.models import ARTEFACTS

Complex = NDArray[np.complex64]


@pytest.fixture(scope="module")
def network() -> ImageNetwork:
    bundle, interpreter = ModelStore(ARTEFACTS).open("denoise")
    return ImageNetwork(interpreter, bundle.manifest)


def recorded_background(real_data: Path) -> Complex:
    """The HL60 cell's background hologram as a field, tilt and curvature off, less its border."""
    frame = np.asarray(np.load(real_data / "offaxis_dhm" / "hl60" / "hologram_cell.npz")["bg_data"], np.float64)
    field = offaxis.flatten(offaxis.demodulate(frame, offaxis.find_carrier(frame)), order=2)[8:-8, 8:-8]
    return np.asarray(field / np.median(np.abs(field)), np.complex64)


def smooth(field: Complex) -> Complex:
    """What is no speckle of it: light that varies over some grains."""
    return (cv2.GaussianBlur(field.real, (0, 0), 8.0) + 1j * cv2.GaussianBlur(field.imag, (0, 0), 8.0)).astype(np.complex64)


def cell(field: Complex, peak_rad: float) -> NDArray[np.float32]:
    y, x = np.mgrid[: field.shape[0], : field.shape[1]]
    return (peak_rad * np.sqrt(np.maximum(1 - ((x - 96) ** 2 + (y - 90) ** 2) / 40**2, 0))).astype(np.float32)


def test_recorded_speckle_is_halved(real_data: Path, network: ImageNetwork) -> None:
    background = recorded_background(real_data)
    found, speckle = denoise(background, network)
    assert 5 < speckle.grain_px < 7.5
    left, there = (float(np.std(field / smooth(field))) for field in (found, background))
    print(f"recorded speckle {there:.4f}, left {left:.4f}")
    assert left < there / 2


@pytest.mark.parametrize("peak_rad", [0.6, 1.5, 2.5])
def test_a_phase_in_recorded_speckle_isn_t_biased(real_data: Path, network: ImageNetwork, peak_rad: float) -> None:
    background = recorded_background(real_data)
    phase = cell(background, peak_rad)
    inside = phase > 0.2 * peak_rad
    found, _ = denoise((background * np.exp(1j * phase)).astype(np.complex64), network)
    off = np.angle(found * np.exp(-1j * phase) * np.conj(background))[inside]
    lost = -100 * off.sum() / phase[inside].sum()
    print(f"peak {peak_rad} rad: bias {off.mean():+.4f} rad, dry mass lost {lost:+.2f} %")
    assert abs(off.mean()) < 0.04
    assert abs(lost) < 4
