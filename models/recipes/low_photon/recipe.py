"""HIDEF for 1 to 100 photons a pixel."""

from __future__ import annotations

from models.training.images import ImageRecipe
from models.training.unet import UNet

__all__ = ["PHOTONS", "RECIPES"]

PHOTONS = (0.3, 100.0)
"""That a pixel's noise is equivalent to, one over the square of its relative standard deviation."""

RECIPES = (
    ImageRecipe(
        name="hidef-low-photon",
        summary="hidef for 1 to 100 photons a pixel: fast flow, dim lamp, weak strobe; chosen by the frame's noise",
        package="low_photon",
        task="reconstruction",
        inputs=("re_minus_1", "im", "log10_photons"),
        outputs=("re_minus_1", "im"),
        optics={
            "wavelength_um": (0.3, 1.1),
            "pitch_um": (0.3, 10.0),
            "distance_um": (50.0, 50000.0),
            "defocus_um": 100.0,
            "defocus_number": (20.0, 650.0),
            "photons": PHOTONS,
        },
        network=UNet((32, 56, 96, 160), inputs=3),
        text={},
        baselines=(),
        capacity=4096,
        batch=4,
        steps=1500,
        peak_rate=3e-4,
        precision="float32",
    ),
)
