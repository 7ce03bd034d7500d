"""The water classifier: algae, protists, cysts, rotifers, bubbles and detritus in the channel (instrument `flow-imx477-530nm`).

The pixels of `flow-imx296-530nm` are as large as an oocyst; its geometry isn't covered.
"""

from __future__ import annotations

from device.optics.geometry import Geometry
from device.twin.morphology import MORPHOLOGIES
from models.training.classify import ClassifierRecipe
from models.training.frames import Bench
from models.training.strangers import strangers

__all__ = ["RECIPE"]

RECIPE = ClassifierRecipe(
    name="water",
    classes=tuple(
        MORPHOLOGIES[name]
        for name in (
            "bubble", "centric-diatom", "cryptosporidium", "detritus", "euglena", "giardia", "pennate-diatom", "rotifer",
        )
    ),
    others={strangers((0.008, 0.22), (4.0, 110.0)): 1.0},
    never_seen=tuple(MORPHOLOGIES[name] for name in ("bead-in-water", "fibre", "ragweed", "alternaria")),
    look_alikes=(),
    bench=Bench(
        geometry=Geometry(0.53, 1.55, 1200.0, medium_index=1.33), depth_um=(800.0, 1600.0), bandwidth_um=(0.015, 0.030),
        source_diameter_um=(30.0, 60.0), source_distance_um=60000.0, full_well_e=8180.0, fill=(0.2, 0.65), per_field=24,
    ),
    optics={
        "wavelength_um": (0.51, 0.55), "pitch_um": (1.48, 1.6), "distance_um": (800.0, 1600.0), "defocus_um": 400.0,
        "defocus_number": (125.0, 290.0),
    },
    frames={"train": 180, "calibration": 14, "test": 20},
    limits="The light's band of 30 nm leaves detail of 6 um and more at 1.2 mm: a Cryptosporidium oocyst is a blob of one "
    "resolved spot, told from other small things by its size and contrast alone."
    " 'detritus' is a class of nearly any shape: what was never shown is told from the classes poorly, by its size and contrast "
    "rather than its shape; half of it comes out as unknown at the shipped thresholds, most of that because no class is probable, "
    "which costs the classes one particle in nine. A count of any class holds such things. "
    "1.1.0 learnt for 30 epochs; the ceiling for 16 more, from there.",
)  # fmt: skip
