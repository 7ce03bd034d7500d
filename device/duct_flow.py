"""How fast the sample goes at each place of a flat rectangular channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from device.errors import InputError
from device.instrument import Instrument

__all__ = ["Duct", "duct_of"]

_TERMS = np.arange(1, 40, 2, dtype=np.float64)
_GRID = 48


@dataclass(frozen=True)
class Duct:
    """A channel of rectangular section, laminar and fully developed; the flow goes along the columns (x)."""

    width_um: float
    """Across the flow, along the rows."""
    height_um: float
    """Along the optical axis."""

    @property
    def section_um2(self) -> float:
        """Area across the flow."""
        return self.width_um * self.height_um

    def relative_speed(self, y_um: ArrayLike, z_um: ArrayLike) -> NDArray[np.float64]:
        """Speed over the mean speed at places measured from the channel's middle; 0 at the walls and beyond.

        Fourier series of the Poiseuille flow in a rectangular channel: Bruus, Theoretical Microfluidics (2008), section
        3.4.6; 20 terms, good to 1e-4.
        """
        w, h = self.width_um, self.height_um
        y, z = np.broadcast_arrays(np.abs(np.asarray(y_um, np.float64)), np.asarray(z_um, np.float64) + h / 2)
        n = _TERMS.reshape((-1,) + (1,) * y.ndim)
        wall, here = n * np.pi * w / (2 * h), n * np.pi * y / h
        # cosh(here) / cosh(wall) without its overflow.
        side = np.exp(np.minimum(here - wall, 0)) * (1 + np.exp(-2 * here)) / (1 + np.exp(-2 * wall))
        profile = 4 / np.pi**3 * np.sum((1 - side) * np.sin(n * np.pi * z / h) / n**3, axis=0)
        drag = 192 / np.pi**5 * h / w * np.sum(np.tanh(_TERMS * np.pi * w / (2 * h)) / _TERMS**5)
        inside = (y < w / 2) & (z > 0) & (z < h)
        return np.where(inside, np.maximum(profile, 0), 0) * 12 / (1 - drag)

    def mean_travel_um(self, moved_ml: float) -> float:
        """How far the mean speed carries while a volume moves."""
        return moved_ml * 1e12 / self.section_um2

    def swept_ml(self, moved_ml: float, length_um: float, y_um: tuple[float, float]) -> float:
        """Volume that comes anew into a view of a length, between two `y_um` from the channel's middle, while a volume moves.

        Every layer brings what it travels, but no more than the view is long: what passed in between was not seen.
        """
        y = y_um[0] + (np.arange(_GRID) + 0.5) / _GRID * (y_um[1] - y_um[0])
        z = ((np.arange(_GRID) + 0.5) / _GRID - 0.5) * self.height_um
        travel_um = self.relative_speed(y[:, None], z[None, :]) * self.mean_travel_um(moved_ml)
        return float(np.minimum(travel_um, length_um).mean()) * (y_um[1] - y_um[0]) * self.height_um * 1e-12

    def fastest(self) -> float:
        """Speed in the middle over the mean speed."""
        return float(self.relative_speed(0.0, 0.0))


def duct_of(instrument: Instrument) -> Duct:
    """The channel of an instrument; InputError where it has none."""
    fluidics, sensor = instrument.fluidics, instrument.sensor
    if fluidics.kind != "flow" or fluidics.channel_height_um <= 0:
        raise InputError(
            "the instrument has no channel", where=instrument.name, expected='fluidics.kind = "flow", channel_height_um above 0',
            got=f'"{fluidics.kind}", {fluidics.channel_height_um:g} um',
            remedy="Use an instrument file of a flow cytometer, or another sampling.mode.",
        )  # fmt: skip
    view_um = sensor.height_px * instrument.geometry.object_pitch_um
    return Duct(fluidics.channel_width_um or view_um, fluidics.channel_height_um)
