"""What a training is made to look at."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

if importlib.util.find_spec("keras") is None:
    pytest.skip("needs the training extra", allow_module_level=True)

from models.training.losses import weighted_field_loss, whitened_field_loss


def _truth_and_without_fine_detail() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    radius = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None, :])
    spectrum = np.fft.fft2(rng.standard_normal((64, 64))) / (1 + (radius / 0.04) ** 2)
    truth = np.zeros((1, 64, 64, 3), np.float32)
    truth[0, ..., 0] = np.fft.ifft2(spectrum).real
    truth[..., 2] = 6
    coarse = np.zeros((1, 64, 64, 2), np.float32)
    coarse[0, ..., 0] = np.fft.ifft2(spectrum * (radius < 0.2)).real
    return truth, coarse


def test_the_whitened_loss_misses_the_detail_that_the_plain_one_hardly_sees() -> None:
    truth, coarse = _truth_and_without_fine_detail()
    nothing = np.zeros_like(coarse)
    plain, whitened = (
        float(loss(truth, coarse)) / float(loss(truth, nothing)) for loss in (weighted_field_loss, whitened_field_loss)
    )
    assert whitened > 1.5 * plain
    assert float(whitened_field_loss(truth, truth[..., :2])) == pytest.approx(
        float(weighted_field_loss(truth, truth[..., :2])), abs=1e-4
    )
