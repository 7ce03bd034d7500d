"""How beads clump: Smoluchowski's coagulation, bond by bond.

The sample is rocked; its shear brings beads together, every pair of clusters as often as two single beads: the constant kernel
4/3 * shear * (2 * radius)^3 (Smoluchowski, Z. Phys. Chem. 92, 129 (1918), doi:10.1515/zpch-1918-9209). Larger clusters meet more
often and are torn apart more often; both are left out. A meeting ends in a bond by a background of its own, or where a particle
of the analyte that sits on one bead meets a free place of the other (bridging); each of these makes one bond and is used up.
Clusters are few enough to be followed one by one (the Marcus-Lushnikov process), so that counts scatter as they do in a chamber.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["BeadSuspension", "Coagulation"]


@dataclass(frozen=True)
class BeadSuspension:
    """Beads, what they look for, and how they stick."""

    analyte_per_ul: float = 0.0
    """Dose: particles of the analyte, all of them caught by beads."""
    beads_per_ul: float = 200.0
    bead_um: float = 10.0
    """Diameter."""
    bead_contrast: float = 0.12
    """Silica in water."""
    shear_per_s: float = 18.0
    """Of the rocked chamber."""
    background_sticking: float = 0.0015
    """Share of meetings that end in a bond without any analyte."""
    bridging: float = 0.5
    """Chance that a particle of the analyte on one of two beads that meet bridges them."""

    @property
    def meetings_per_s(self) -> float:
        """Of one bead with all others, before any clump."""
        return 4 / 3 * self.shear_per_s * self.bead_um**3 * self.beads_per_ul * 1e-9

    def sticking(self, analyte_per_bead: float) -> tuple[float, float]:
        """Share of meetings that end in a bond, by the analyte and by the background."""
        bridged = 1 - math.exp(-self.bridging * analyte_per_bead)
        return bridged, (1 - bridged) * self.background_sticking


@dataclass
class Coagulation:
    """The number of clusters in a volume, from bond to bond."""

    sample: BeadSuspension
    beads: int
    """In the volume."""
    free: int
    """Particles of the analyte that bridge nothing yet."""
    rng: np.random.Generator
    clusters: int = 0

    def __post_init__(self) -> None:
        self.clusters = self.clusters or self.beads

    def bonds(self, seconds: float) -> int:
        """How many form in a time; what they leave is kept."""
        made, left_s = 0, seconds
        while self.clusters > 1:
            bridged, background = self.sample.sticking(self.free / self.beads)
            pairs = self.clusters * (self.clusters - 1) / 2
            rate_per_s = pairs * self.sample.meetings_per_s / self.beads * (bridged + background)
            left_s -= self.rng.exponential(1 / rate_per_s) if rate_per_s > 0 else math.inf
            if left_s < 0:
                break
            self.free -= int(self.rng.random() * (bridged + background) < bridged)
            self.clusters -= 1
            made += 1
        return made
