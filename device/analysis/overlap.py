"""Coincidence: particles that lie so close in projection that they are counted as one.

Each particle stretches the clump it falls on, so the loss is of the paralysable kind (Mueller 1973,
doi:10.1016/0029-554X(73)90773-8), in two dimensions: clumps of discs that lie at random. The other kind of dead time does not
arise here: the clock of the frames does not wait for particles, and a frame that comes late looks at no less volume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from device.analysis.roots import root_between

__all__ = ["Overlap", "clumps", "overlap_of"]

_USABLE = 0.6
"""Share of that peak up to which a count still tells the number behind it."""
_OWN_UNCERTAINTY = 0.25
"""Of the correction: real outlines are no discs, and those that touch are partly told apart."""


@dataclass(frozen=True)
class Overlap:
    """How a count stands to the particles that were in view."""

    factor: float = 1.0
    """Particles over counts, 1 or more."""
    relative_uncertainty: float = 0.0
    """One standard deviation of factor, relative."""
    crowded: bool = False
    """True where the correction is beyond what the count can bear: the factor is then a lower bound."""

    def among(self, covered_share: float) -> Overlap:
        """With a share of the particles on what lay there before them.

        They aren't lost: pollen and spores pass most light and shift its phase, and both are seen on top of each other. What
        an opaque one hides is in the uncertainty.
        """
        spread = math.hypot(self.relative_uncertainty, _OWN_UNCERTAINTY * covered_share)
        return Overlap(self.factor, spread, self.crowded)


def clumps(particles: float, disc_share: float) -> float:
    """Expected clumps less holes of discs at random places in a field.

    `disc_share` is the area of one disc over that of the field; two particles are one where their discs touch. Kellerer,
    On the number of clumps resulting from the overlap of randomly placed figures in a plane, J. Appl. Prob. 20, 126 (1983).
    """
    filled = particles * disc_share
    return particles * math.exp(-filled) * (1 - filled)


def overlap_of(counted_per_field: float, separation_um: float, field_um2: float) -> Overlap:
    """The correction for a mean count a field in which particles nearer than `separation_um` are taken for one."""
    disc_share = math.pi * (separation_um / 2) ** 2 / field_um2
    if counted_per_field <= 0 or disc_share <= 0:
        return Overlap()
    # d/dx of x exp(-x) (1 - x) is zero at x = (3 - sqrt 5) / 2.
    peak = (3 - math.sqrt(5)) / 2 / disc_share
    most = _USABLE * clumps(peak, disc_share)
    crowded = counted_per_field > most
    counted = min(counted_per_field, most)

    def excess(particles: float) -> float:
        return clumps(particles, disc_share) - counted

    particles = root_between(excess, counted, peak)
    factor = particles / counted
    return Overlap(factor, _OWN_UNCERTAINTY * (factor - 1) / factor, crowded)
