"""The descriptor of the brightfield view."""

from __future__ import annotations

from typing import Any

from models.training.images import ImageRecipe
from models.training.losses import weighted_image_loss
from models.training.unet import UNet

__all__ = ["RECIPES"]

_SIMILARITY_SHARE = 0.3
"""Weight of what structures lack in likeness: about half of the rest at the end of a training."""


def picture_loss(truth: Any, predicted: Any) -> Any:
    """The weighted error, and what the structural similarity (doi:10.1109/TIP.2003.819861, windows of 7 pixels) lacks of 1.

    Similarity is of contrast and structure: the mean error of a faint object is small whatever is drawn there.
    """
    from keras import ops

    def mean(image: Any) -> Any:
        return ops.average_pool(image, 7, strides=1, padding="same")

    true, weight = truth[..., :1], truth[..., 1:]
    means = mean(true), mean(predicted)
    variances = [ops.maximum(mean(ops.square(x)) - ops.square(m), 0.0) for x, m in zip((true, predicted), means, strict=True)]
    covariance = mean(true * predicted) - means[0] * means[1]
    levels = (2 * means[0] * means[1] + 2 * (means[0] + means[1]) + 2.0001) / (
        ops.square(1 + means[0]) + ops.square(1 + means[1]) + 1e-4
    )
    likeness = levels * (2 * covariance + 9e-4) / (variances[0] + variances[1] + 9e-4)
    return weighted_image_loss(truth, predicted) + _SIMILARITY_SHARE * ops.sum(weight * (1 - likeness)) / ops.sum(weight)


RECIPES = (
    ImageRecipe(
        name="brightfield",
        summary="a refocused hologram as a brightfield microscope would show it, for people who label",
        package="brightfield",
        task="image",
        inputs=("re_minus_1", "im"),
        outputs=("intensity_minus_1",),
        optics={
            "wavelength_um": (0.3, 1.1),
            "pitch_um": (0.3, 10.0),
            "distance_um": (50.0, 50000.0),
            "defocus_um": 0.0,
            "defocus_number": (25.0, 400.0),
        },
        network=UNet((16, 32, 56, 96), outputs=1),
        loss=picture_loss,
        tile_px=128,
        capacity=4096,
        steps=3000,
        batch=8,
        precision="float32",
        text={
            "task": "Computed, not photographed: from a refocused in-line hologram, what a 10x/0.25 brightfield microscope (condenser 0.8 of "
            "that) would show of the plane, for people who label. Never an input of counts; every picture says 'computed' in itself.",
            "data": "Simulated only: random particles in slabs, imaged through 16 condenser directions by multislice and recorded "
            "in-line (models/recipes/brightfield/scenes.py); in flat scenes also the field that hidef-small makes of the recording. "
            "Begun from hidef-small 1.1.0; 469 steps of 8 tiles are a short training, and longer ones weren't tried.",
            "scored": "Simulated accuracy: other particles, `multislice_hologram` on a grid twice as fine, 37 directions in rings "
            "(models/recipes/brightfield/world.py). A ghost is what is shown of a particle out of focus beyond what the microscope itself "
            "shows, over its contrast in focus. Published (Wu et al. 2019, doi:10.1038/s41377-019-0139-9): recorded pollen against a scanning "
            "microscope (not the same data).",
            "limits": "A recipe, used by no page and no command: on the crops' own field (hidef-small's) the microscope's physics alone is nearer to the "
            "truth, so that the view that people see is made by it. What the network knows of particles may be in the picture. Outside defocus numbers 25 to 400 it was never trained. Where "
            "a crop's pixels are finer than the sensor's the picture is of a microscope for the crop's pixels, and soft. Thick particles "
            "that delay by several turns, and what lies within one depth of field of the plane, are drawn by habit. No recorded brightfield "
            "picture is registered to a hologram here: of real particles its accuracy isn't known.",
        },
        baselines=(
            "back-propagated intensity",
            "back-propagated field through the microscope",
            "sparse planes through the microscope",
            "hidef-small's field through the microscope",
        ),
        cannot={"--frames": "it isn't adapted to an instrument: it learns in units of pixels"},
    ),
)
