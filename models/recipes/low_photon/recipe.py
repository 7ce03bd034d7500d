"""HIDEF for 1 to 100 photons a pixel."""

from __future__ import annotations

from models.training.images import ImageRecipe
from models.training.unet import UNet

__all__ = ["PHOTONS", "RECIPES"]

PHOTONS = (0.8, 25.0)
"""Of the frames it is taken for: electrons a pixel that their noise is equivalent to. With fewer most of what is found isn't there; with more, refinement and its check see enough, and
the other model's frames are no longer too noisy to count."""

_TEXT = {
    "task": "One pass turns a back-propagated in-line hologram of few photons, and their number, into the field of all particles in focus. "
    "The box takes it where a frame's noise is that of so little light; nobody chooses it.",
    "data": "Simulated only: HIDEF's random scenes (models/recipes/hidef/scenes.py), each read out twice with 0.5 to 100 electrons a pixel "
    "and 0 to 3 electrons of read noise. What goes in is the amplitude that counts stand for, without the frequencies that hold nothing but "
    "noise (device/optics/photon_noise.py), and the base-10 logarithm of the photons that the measured noise is equivalent to.",
    "scored": "Fields of `multislice`, carried from particle to particle on a grid twice as fine, with the bioaerosol instrument's light; "
    "each counted photon by photon, with read noise. `ceiling` is this file on the same fields before they are counted. Simulated "
    "accuracy, not field accuracy. Published: one photon a pixel beats Gerchberg-Saxton (A. Goy et al. 2018, "
    "doi:10.1103/PhysRevLett.121.243902; not the same data).",
    "limits": "Electrons alone say little: read noise counts as photons that are missing, and 1 electron of it halves 1 photon. At 1 photon a "
    "third of what is found isn't there (two in five on recorded beads), at half a photon three in four: below 2.5 counts are suspect, below "
    "0.8 the frame is called too noisy, as ever. Weak structures go first: at 1 photon three of five inserted ones are erased. By eye "
    "strong bodies keep place, size and phase there, weak ones fade, and faint clouds stand between them: the ghosts. Sizes come out 6 % too large. Training was "
    "short; at 1 photon most of the gain is that of the amplitude and the band (the row `hidef, from counts`), and bars are missed. Particles of "
    "a frame of few photons are counted and measured, but not refined, not held against the hologram and not named: their records say so, and "
    "carry quality flag 2. A background of few photons is no help: the frame's own smooth light stands in for it, so dirt on "
    "the window is counted. Differences of two frames (the impactor's) aren't taken for few photons.",
}

RECIPES = (
    ImageRecipe(
        name="hidef-low-photon",
        summary="hidef for 1 to 100 photons a pixel: fast flow, dim lamp, weak strobe; chosen by the frame's noise",
        package="low_photon",
        task="low_photon",
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
        text=_TEXT,
        baselines=(
            "hidef, square root", "hidef, (1 + I) / 2", "hidef, from counts", "Gerchberg-Saxton, true support, told depth",
            "back-propagation, told depth", "ceiling: before it is counted",
        ),
        capacity=4096,
        batch=4,
        steps=1500,
        peak_rate=3e-4,
        precision="float32",
    ),
)  # fmt: skip
