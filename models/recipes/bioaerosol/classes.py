"""The bioaerosol classifier: pollen, spores and dust on the impactor's window (instrument `bioaerosol-imx219-850nm`)."""

from __future__ import annotations

from device.optics.geometry import Geometry
from device.twin.morphology import MORPHOLOGIES
from models.training.classify import ClassifierRecipe
from models.training.frames import Bench
from models.training.strangers import strangers

__all__ = ["RECIPE"]

RECIPE = ClassifierRecipe(
    name="bioaerosol",
    classes=tuple(
        MORPHOLOGIES[name]
        for name in ("alternaria", "birch", "cladosporium", "dust", "grass", "oak", "penicillium", "ragweed")
    ),
    others={strangers((0.006, 0.25), (3.0, 90.0)): 4.0, MORPHOLOGIES["fibre"]: 0.5, MORPHOLOGIES["droplet"]: 0.5},
    never_seen=tuple(MORPHOLOGIES[name] for name in ("bead", "cluster", "euglena", "pennate-diatom")),
    look_alikes=(MORPHOLOGIES["olive"], MORPHOLOGIES["bermuda-grass"]),
    bench=Bench(
        geometry=Geometry(0.85, 1.12, 500.0), depth_um=(400.0, 600.0), bandwidth_um=(0.002, 0.014),
        source_diameter_um=(30.0, 160.0), source_distance_um=40000.0, full_well_e=4700.0, fill=(0.15, 0.65),
    ),
    optics={
        "wavelength_um": (0.82, 0.88), "pitch_um": (1.09, 1.15), "distance_um": (400.0, 600.0), "defocus_um": 100.0,
        "defocus_number": (240.0, 440.0),
    },
    frames={"train": 160, "calibration": 25, "test": 22, "look_alikes": 2},
    limits="Species are caricatures of themselves: eight shapes, no debris but dust, no broken or clumped grains. The smallest "
    "(Cladosporium, Aspergillus/Penicillium chains, fine dust) are three to six pixels wide, of which the light resolves two or "
    "three: the ceiling on crops of the true field says how far they can be told apart at all."
    " Another species of pollen (olive, Bermuda grass) is named as one of the classes, not rejected. 1.3.0 went on from the "
    "weights of 1.2.0 for nine epochs (`train bioaerosol --start-from bioaerosol-1.2.0 --epochs 9`), its ceiling too.",
)  # fmt: skip
