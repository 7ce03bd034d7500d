"""The descriptor of the preview."""

from __future__ import annotations

from models.training.images import ImageRecipe
from models.training.unet import UNet

__all__ = ["RECIPES"]

RECIPES = (
    ImageRecipe(
        name="preview", summary="a hologram's field in one pass without back-propagation, for one instrument", package="preview",
        task="image", inputs=("amplitude_minus_1",), outputs=("re_minus_1", "im"),
        optics={
            "wavelength_um": (0.84, 0.86), "pitch_um": (1.1, 1.14), "distance_um": (490.0, 510.0), "defocus_um": 100.0,
            "defocus_number": (329.0, 349.0),
        },
        # Five levels: at a quarter cycle a pixel this distance's fringes lie 85 pixels from what made them.
        network=UNet((8, 18, 32, 48, 64), inputs=1, bottleneck=2), steps=8000, capacity=4096,
        text={"task": "", "data": "", "scored": "", "limits": ""},
        baselines=("hidef-small",),
    ),
)  # fmt: skip
