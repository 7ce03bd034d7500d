"""The descriptor of virtual colour."""

from __future__ import annotations

from typing import Any

from models.training.images import ImageRecipe
from models.training.unet import UNet

__all__ = ["RECIPES"]


def colour_loss(truth: Any, predicted: Any) -> Any:
    """Negative log-likelihood of the colours under a normal law of the mean and deviation predicted, each pixel's weighed by its deviation.

    So weighed (beta = 0.5 of M. Seitzer et al., ICLR 2022, arXiv:2203.09168), what is hard to tell isn't given up early. The
    deviations of `truth` take no part: of a real section nobody knows them.
    """
    from keras import ops

    log_deviation = ops.clip(4 * predicted[..., 3:] - 2, -4.6, 1.0)
    deviation = ops.exp(log_deviation)
    likely = 0.5 * ops.square((truth[..., :3] - predicted[..., :3]) / deviation) + log_deviation
    return ops.mean(truth[..., -1:] * ops.stop_gradient(deviation) * likely)


RECIPES = (
    ImageRecipe(
        name="virtual-colour",
        summary="the colours two dyes would give, from phase and absorption, with an uncertainty; research",
        package="virtual_colour",
        task="image",
        inputs=("phase_red", "phase_green", "phase_blue", "absorption_red", "absorption_green", "absorption_blue"),
        outputs=(
            "red_minus_1",
            "green_minus_1",
            "blue_minus_1",
            "red_log_deviation",
            "green_log_deviation",
            "blue_log_deviation",
        ),
        optics={
            "wavelength_um": (0.46, 0.63),
            "pitch_um": (0.3, 1.0),
            "distance_um": (50.0, 5000.0),
            "defocus_um": 0.0,
            "defocus_number": (1.0, 1000.0),
        },
        network=UNet((16, 24, 40, 64), bottleneck=2, inputs=6, outputs=6),
        loss=colour_loss,
        tile_px=96,
        capacity=2048,
        steps=4000,
        batch=8,
        peak_rate=2e-3,
        precision="float32",
        text={
            "task": "It can't know a structure's own chemistry: of the log uptake of its simulated dyes 0.68 bit is told by phase, and the rest "
            "is not in the input. Research: phase and absorption at three wavelengths to the mean colour of two dyes, and a deviation. "
            "Never on by default; every picture says 'computed' in itself. Not for diagnosis.",
            "data": "Simulated sections of ellipses and threads, their chemistry drawn at random (models/recipes/virtual_colour).",
            "scored": "Simulated sections of packed cells with lobed nuclei and wavy bands, by another generator, the chemistry the same. The "
            "ceiling is the mean of all sections that look alike. Intervals: split conformal, half of the sections set the width, the other half judges. "
            "Published similarities of 0.81 to 0.89 are of recorded tissue (not the same data).",
            "limits": "No recorded section took part: of real dyes nothing is known. The deviation is right on average over a section, not for "
            "every structure. A dye whose uptake leaves no trace in phase is shown at its mean, everywhere and plausibly.",
        },
        baselines=("linear colour regression", "quadratic colour regression", "ceiling: conditional mean"),
        cannot={"--frames": "there is no recorded pair of unstained and stained to learn from"},
    ),
)
