"""Frames of few photons: which they are, and how they are analysed.

A frame has few photons where its noise is that of its light, by the sensor's own electrons a count and read noise, and lies in the
range that a network for such frames was trained for. It is reconstructed from the amplitude that its counts stand for
(device/optics/photon_noise.py) by that network, which is told the noise, everywhere: a single pixel or block of such a frame shows
nothing. Its particles are counted and measured; they aren't refined, which would fit the noise, and not named, for the classifiers
have learnt from lit frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from device.analysis.reconstruct import FieldNetwork
from device.analysis.scene import Verdict
from device.frames import Hologram
from device.optics.photon_noise import equivalent_photons
from device.records import Classification, ModelUse

__all__ = ["UNNAMED", "LowPhotonModel", "doubts", "unchecked_reason"]

_BY_LIGHT = 1.5
"""A noise of up to so many times what the counts explain is theirs: the background has noise of its own. Speckle has more."""

_SURE_PHOTONS = 2.5
"""With 3 a pixel one in 37 of what was found in simulated frames wasn't there, one in eight of recorded beads; with 1, a third."""

UNNAMED = Classification("particle", None, {}, (), "few photons: classifiers have learnt from lit frames", owed=True)


class NoiseToldNetwork(Protocol):
    """A network that takes the noise beside the field."""

    def for_noise(self, noise: float) -> FieldNetwork:
        """The network for one frame, `noise` relative, of a pixel."""
        ...


@dataclass(frozen=True)
class LowPhotonModel:
    """The network for frames of few photons."""

    photons: tuple[float, float]
    """Electrons a pixel that its frames' noise is equivalent to."""
    use: ModelUse
    """By content, for the records."""
    network: Callable[[], NoiseToldNetwork]
    """Opens it; asked once there is a frame for it, for it takes as much memory as the other."""

    def takes(self, hologram: Hologram) -> bool:
        """Whether a frame has as few photons as it was made for."""
        if not 0 < hologram.noise <= _BY_LIGHT * hologram.photon_noise:
            return False
        low, high = self.photons
        return low <= equivalent_photons(hologram.noise) <= high


def doubts(noise: float) -> list[Verdict]:
    """What so few photons, by the relative noise of a pixel, say against counts."""
    if (photons := equivalent_photons(noise)) >= _SURE_PHOTONS:
        return []
    return [
        Verdict(
            "suspect",
            f"{photons:.2g} photons a pixel by the noise: with less than {_SURE_PHOTONS:g} much of what is found isn't there",
        )
    ]


def unchecked_reason(noise: float) -> str:
    """Why particles of a frame of few photons aren't held against it."""
    return f"few photons, {equivalent_photons(noise):.2g} a pixel by its noise: what is left unexplained is noise"
