"""Detection efficiency: the share of the particles that are counted, by size, and what a count stands for after it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from device.errors import InputError
from device.records import Efficiency

__all__ = ["DetectionEfficiency", "Recovered", "SizeClass"]

_NAME = re.compile(r"^detection_efficiency(?:_(?P<low>[0-9.]+)_(?P<high>[0-9.]+)_um)?$")


@dataclass(frozen=True)
class SizeClass:
    """Efficiency for particles of a range of sizes."""

    low_um: float
    """Least equivalent spherical diameter."""
    high_um: float
    """Diameter from which the next class begins."""
    value: float
    """Counted over present."""
    uncertainty: float
    """One standard deviation of value."""


@dataclass(frozen=True)
class Recovered:
    """What a count stands for: effective_n * scale particles, with the Poisson spread of effective_n.

    A sum of weighted Poisson counts is close to a Poisson count that is scaled, with mean and variance as the sum's (Bohm
    and Zech 2014, doi:10.1016/j.nima.2014.02.021).
    """

    effective_n: float
    """The count, or less where its particles weigh differently."""
    scale: float
    """Particles for each of them."""
    relative_uncertainty: float
    """One standard deviation of the scale, relative."""

    @classmethod
    def of_perfect(cls, n: int) -> Recovered:
        """Every particle was counted."""
        return cls(float(n), 1.0, 0.0)

    @property
    def expected(self) -> float:
        """Particles that were there."""
        return self.effective_n * self.scale


@dataclass(frozen=True)
class DetectionEfficiency:
    """Efficiency over sizes, as measured."""

    classes: tuple[SizeClass, ...] = ()
    """From small to large, apart from each other."""
    overall: SizeClass | None = None
    """For sizes that no class holds."""

    @classmethod
    def of(cls, values: Mapping[str, tuple[float, float]]) -> DetectionEfficiency | None:
        """From the values of calibration records by name; None where none is an efficiency.

        `detection_efficiency` holds for every size, `detection_efficiency_4_8_um` from 4 um to 8 um. InputError where
        classes overlap or an efficiency is none.
        """
        found: list[SizeClass] = []
        for name, (value, uncertainty) in values.items():
            match = _NAME.match(name)
            if match is None:
                continue
            low, high = (float(match[key]) if match[key] else bound for key, bound in (("low", 0.0), ("high", math.inf)))
            if not (value > 0 and low < high):
                raise InputError(
                    "a detection efficiency can't be right", where=name, expected="above 0, low below high", got=value
                )
            found.append(SizeClass(low, high, value, uncertainty))
        if not found:
            return None
        classes = sorted((c for c in found if math.isfinite(c.high_um)), key=lambda c: c.low_um)
        for one, other in pairwise(classes):
            if other.low_um < one.high_um:
                raise InputError(
                    "size classes of the detection efficiency overlap", where="calibration records",
                    expected=f"a class that begins at {one.high_um:g} um or above", got=f"{other.low_um:g} um",
                )  # fmt: skip
        return cls(tuple(classes), next((c for c in found if not math.isfinite(c.high_um)), None))

    def of_size(self, esd_um: float) -> SizeClass:
        """The class that holds a size; else the overall figure; else the nearest class."""
        inside = next((c for c in self.classes if c.low_um <= esd_um < c.high_um), None)
        return inside or self.overall or min(self.classes, key=lambda c: max(c.low_um - esd_um, esd_um - c.high_um))

    def recovered(self, sizes_um: Sequence[float]) -> Recovered:
        """What these particles stand for.

        Where there are none, the poorest efficiency bounds what may have been missed.
        """
        if not sizes_um:
            known = [*self.classes, *([self.overall] if self.overall else [])]
            worst = min(known, key=lambda c: c.value)
            return Recovered(0.0, 1 / worst.value, worst.uncertainty / worst.value)
        shares: dict[SizeClass, float] = {}
        weights = [1 / self.of_size(size).value for size in sizes_um]
        for size, weight in zip(sizes_um, weights, strict=True):
            found = self.of_size(size)
            shares[found] = shares.get(found, 0.0) + weight
        total, squares = math.fsum(weights), math.fsum(w * w for w in weights)
        # Particles of one class err together, classes apart from each other.
        spread = math.hypot(*(share * c.uncertainty / c.value for c, share in shares.items()))
        return Recovered(total**2 / squares, squares / total, spread / total)

    def applied(self, n: int, recovered: Recovered) -> Efficiency:
        """The efficiency in force for a count, for its record."""
        value = n / recovered.expected if n else 1 / recovered.scale
        return Efficiency(round(value, 5), round(value * recovered.relative_uncertainty, 5))
