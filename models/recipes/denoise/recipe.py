"""The descriptor of the denoiser."""

from __future__ import annotations

from models.training.images import ImageRecipe
from models.training.losses import whitened_field_loss
from models.training.unet import UNet

__all__ = ["RECIPES"]

RECIPES = (
    ImageRecipe(
        name="denoise", summary="speckle and coherent noise off a complex field, its phase unbiased", package="denoise", task="image",
        inputs=("re_minus_1", "im"), outputs=("re_minus_1", "im"),
        optics={
            "wavelength_um": (0.3, 1.1), "pitch_um": (0.05, 10.0), "distance_um": (1.0, 1e6), "defocus_um": 0.0,
            "defocus_number": (0.001, 1e6),
        },
        network=UNet((16, 32, 56, 96)), loss=whitened_field_loss, tile_px=128, capacity=6144, steps=700, batch=16, peak_rate=8e-4, precision="float32",
        text={
            "task": "A complex field with a laser diode's speckle in it goes in, the clean field comes out. `holonode reconstruct --denoise` takes "
            "it for a guess alone, and weighs the measured field by it (device/analysis/denoise.py), so that the phase isn't biased.",
            "data": "Simulated only (models/recipes/denoise/scenes.py): thin grains of HIDEF's species, cells' walls, fibres and smooth "
            "textures; circular Gaussian speckle of a Gaussian pupil before and behind them, 1 to 4 looks, grains of 1.1 to 4.4 pixels, "
            "0.01 to 0.8 of the direct light; up to 0.3 of the twin image, out of focus; white noise.",
            "scored": "Another generator (models/recipes/denoise/scoring.py): light through two ground surfaces by propagation, a round hard pupil, "
            "some of it scattered twice; water organisms and a pollen by the `multislice` model, none of them in the training, and thin "
            "cells whose phase is known without a wrap. Medians over scenes with 95 % intervals; simulated accuracy. The filters are told "
            "a sample of the noise alone and their best strength on four other scenes; the network is told nothing. `object_psnr_db`, "
            "error and phase are of where the object is, `phase_bias_rad` the mean of found less true, `dry_mass_lost_percent` what is missing of "
            "the phase's sum. The ceiling of the phase's mean is the speckle's own luck: 'as it came' has it too.",
            "limits": "Trained for 477 steps from hidef-small's weights, too short. Over the whole field it beats the filters; where the object is, "
            "block matching that is told the noise is still better in amplitude, error and phase. Half of the inserted strange structures are shown "
            "by less than half: don't use it where small faint things count. Steep organisms lose most. Texture of the grain's size "
            "goes with the speckle (rings from 0.2 cycles a pixel hold a third of the power). On recorded coherent noise, one off-axis background "
            "(tests/real/test_denoise_real.py), 0.081 of the light became 0.021 with a known phase put in biased by -0.014 to -0.007 rad "
            "and 3.4, 1.2 and 0.4 % of its sum lost at peaks of 0.6, 1.5 and 2.5 rad; there are no repeated frames to score on. Grains outside 1 to 7.5 pixels "
            "are refused, those above 4.5 are looked at on coarser pixels. Without direct light there is no phase to find. Speckle that lies still "
            "is better divided out by a background frame: do that first. Published: the review quotes no figure for this task. 9.8 kMAC a pixel, not 6.",
        },
        baselines=("non-local means", "windowed Fourier filter", "BM3D, complex", "four looks averaged"),
    ),
)  # fmt: skip
