"""The impactor's window: what lies on it, how much of what lands next falls on that, and when it is to be changed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from msgspec import Struct

__all__ = ["BLUR_UM", "Window", "window_from_state"]

BLUR_UM = 2.0
"""Added to the distance of contact: the blur of a reconstruction joins what nearly touches."""


class Window(Struct, frozen=True, kw_only=True):
    """What lies on the window; survives power loss in the store."""

    samples: int = 0
    """That were taken on it."""
    particles: float = 0.0
    """That were seen to land on it."""
    diameters_um: float = 0.0
    """Sum of their diameters."""
    squares_um2: float = 0.0
    """Sum of their squares."""
    under_way: bool = False
    """A sample was begun: what it brought lies there, seen or not."""
    told: str = ""
    """The last notice of this window's state."""

    def with_sample(self, sizes_um: Sequence[float]) -> Window:
        """After a sample that brought particles of these diameters."""
        return msgspec.structs.replace(
            self,
            samples=self.samples + 1,
            particles=self.particles + len(sizes_um),
            diameters_um=self.diameters_um + sum(sizes_um),
            squares_um2=self.squares_um2 + sum(d * d for d in sizes_um),
            under_way=False,
        )

    def recovered(self) -> Window:
        """After a power loss: a sample that was under way is taken to have brought what the others brought on average."""
        if not self.under_way:
            return self
        grown = (self.samples + 1) / self.samples if self.samples else 1.0
        return msgspec.structs.replace(
            self,
            samples=self.samples + 1,
            particles=self.particles * grown,
            diameters_um=self.diameters_um * grown,
            squares_um2=self.squares_um2 * grown,
            under_way=False,
        )

    def covered_share(self, field_um2: float, diameter_um: float | None = None) -> float:
        """Share of the particles landing next, of one diameter (default: as those that lie there), that meet another one.

        A particle meets one where its centre falls within half the sum of the diameters of one that lies there; places are
        random, so that those areas overlap as well: 1 - exp(-their sum over the field).
        """
        if self.particles <= 0:
            return 0.0
        own_um = (self.diameters_um / self.particles if diameter_um is None else diameter_um) + BLUR_UM
        areas_um2 = math.pi / 4 * (self.squares_um2 + 2 * own_um * self.diameters_um + self.particles * own_um**2)
        return 1 - math.exp(-areas_um2 / field_um2)

    def samples_left(self, field_um2: float, most_covered: float) -> float:
        """Samples like those before until more than `most_covered` is covered; infinite where nothing landed yet."""
        covered = self.covered_share(field_um2)
        if not 0 < covered < 1 or self.samples == 0:
            return math.inf if covered == 0 else 0.0
        # Areas add up: the logarithm of what is free falls by the same step for every sample.
        return max(self.samples * (math.log1p(-most_covered) / math.log1p(-covered) - 1), 0.0)

    def to_state(self) -> str:
        """As it is kept in the store."""
        return msgspec.json.encode(self).decode()


def window_from_state(text: str | None) -> Window:
    """The window that the store knows, a power loss accounted for; a clean one where it knows none."""
    if text is None:
        return Window()
    try:
        return msgspec.json.decode(text, type=Window).recovered()
    except msgspec.DecodeError:
        # Written by another version: what lies there isn't known, and a clean window hides the least.
        return Window()
