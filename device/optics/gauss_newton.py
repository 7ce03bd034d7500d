"""The field that explains several holograms at once: damped Gauss-Newton with a preconditioner in closed form.

Minimises over the object field U

    1/2 sum_k || a_k - |P_k U| ||^2  +  1/2 damping K || U - prior ||^2

where a_k is the k-th measured amplitude, known in a window, and P_k carries U to its sensor: distance, wavelength and
lateral shift all sit in one transfer function, and the plane outside the window is unknown rather than periodic.
Alternating projections take a gradient step on the same sum, and crawl where the distances tell little: a spatial
frequency f appears in the k-th frame with the weights cos and sin of pi lambda z_k f^2, so a slow phase is almost
unseen. For a weak object those weights are all there is to the curvature, and its inverse is a 2 x 2 matrix per
frequency (the contrast transfer function of Cloetens et al., Appl. Phys. Lett. 75, 2912 (1999), doi:10.1063/1.125225).
Here that inverse preconditions conjugate gradients on the exact Gauss-Newton system, so that strong phases and the window
are met as they are, in a few steps instead of hundreds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from device.optics import fft
from device.optics.propagation import compute_transfer_function

__all__ = ["FieldProblem", "Linearised", "View"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]

_TINY = np.float32(1e-6)


@dataclass
class View:
    """One measured frame and where it was taken; registration moves it."""

    amplitude: Real
    """float32 [height, width], mean square 1."""
    distance_um: float
    """Object plane to sensor, of the equivalent plane-wave recording."""
    wavelength_um: float
    """In the medium."""
    shift_px: tuple[float, float] = (0.0, 0.0)
    """How far the frame's content lies from the object's, rows and columns."""
    gain: float = 1.0
    """What the amplitude is multiplied by."""
    known: NDArray[np.bool_] | None = None
    """Pixels that were measured; None: all."""


@dataclass(frozen=True)
class Linearised:
    """The problem at one field."""

    fields: list[Complex]
    """Field at each sensor, in the window."""
    residuals: list[Real]
    """Measured less modelled amplitude, zero where nothing was measured."""

    @property
    def misfit(self) -> float:
        """Root mean square of the residuals."""
        return float(np.sqrt(np.mean([float(np.mean(np.square(r, dtype=np.float64))) for r in self.residuals])))


@dataclass
class FieldProblem:
    """Views of one field on a padded grid; spectra are unitary and hold U - 1."""

    views: Sequence[View]
    shape: tuple[int, int]
    """Padded grid."""
    window: tuple[slice, slice]
    """Where the frames lie on it."""
    pitch_um: float
    damping: float
    """Weight of the prior, relative to that of the frames together."""
    _transfers: list[Complex] = field(default_factory=list, init=False)
    _inverse: tuple[Real, Complex] = field(init=False)

    def __post_init__(self) -> None:
        self.fy = fft.fftfreq(self.shape[0], self.pitch_um).astype(np.float32)[:, None]
        self.fx = fft.fftfreq(self.shape[1], self.pitch_um).astype(np.float32)[None, :]
        self.moved()

    def moved(self) -> None:
        """Take up the views' places anew."""
        self._transfers = [self._transfer(view) for view in self.views]
        count = len(self.views)
        # Shifts cancel between a frequency and its mirror; only distances and wavelengths count.
        twins = sum(np.exp(-2j * self.carrier(v.wavelength_um) * v.distance_um) for v in self.views) / 2
        own = count * (0.5 + self.damping)
        determinant = own**2 - np.abs(twins) ** 2
        self._inverse = (
            (own / determinant).astype(np.float32),
            np.asarray(twins / determinant, np.complex64),
        )

    def carrier(self, wavelength_um: float) -> NDArray[np.float64]:
        """Phase per micrometre of propagation, [height, width] in FFT order, that of the plane wave left out."""
        squared = 1.0 / wavelength_um**2 - self.fy.astype(np.float64) ** 2 - self.fx.astype(np.float64) ** 2
        return 2 * np.pi * (np.sqrt(np.maximum(squared, 0.0)) - 1.0 / wavelength_um)

    def _transfer(self, view: View) -> Complex:
        transfer = compute_transfer_function(self.shape, self.pitch_um, view.wavelength_um, view.distance_um)
        if any(view.shift_px):
            down, right = (np.float32(-2 * np.pi * self.pitch_um * shift) for shift in view.shift_px)
            transfer *= np.exp(1j * down * self.fy) * np.exp(1j * right * self.fx)
        return transfer

    def at_sensor(self, spectrum: Complex, index: int, weight: Complex | None = None) -> Complex:
        """The scattered wave of view `index` in the window; `weight` multiplies its spectrum (derivatives)."""
        carried = spectrum * self._transfers[index]
        return fft.ifft2(carried if weight is None else carried * weight, norm="ortho")[self.window]

    def _adjoint(self, values: Complex, index: int) -> Complex:
        plane = np.zeros(self.shape, np.complex64)
        plane[self.window] = values
        spectrum = fft.fft2(plane, norm="ortho", overwrite_x=True)
        spectrum *= np.conj(self._transfers[index])
        return spectrum

    def linearise(self, spectrum: Complex) -> Linearised:
        """Fields and residuals at the sensors."""
        fields = [self.at_sensor(spectrum, k) + np.float32(1) for k in range(len(self.views))]
        residuals: list[Real] = []
        for view, modelled in zip(self.views, fields, strict=True):
            residual = np.float32(view.gain) * view.amplitude - np.abs(modelled)
            residuals.append(residual if view.known is None else residual * view.known)
        return Linearised(fields, residuals)

    def step(self, spectrum: Complex, prior: Complex, here: Linearised, iterations: int) -> Complex:
        """The change of the spectrum that solves the problem linearised `here`, by so many conjugate gradients."""
        directions: list[Complex] = [np.asarray(f / np.maximum(np.abs(f), _TINY), np.complex64) for f in here.fields]
        right = np.float32(-self.damping * len(self.views)) * (spectrum - prior)
        for k, (residual, direction) in enumerate(zip(here.residuals, directions, strict=True)):
            right += self._adjoint(np.asarray(residual * direction, np.complex64), k)
        return self._solve(right, directions, iterations)

    def _solve(self, right: Complex, directions: list[Complex], iterations: int) -> Complex:
        change = np.zeros_like(right)
        remainder = right
        towards: Complex = self._precondition(remainder)
        conditioned = towards
        power = np.vdot(remainder, conditioned).real
        for _ in range(iterations):
            if power <= 0:
                break
            curved = self._curvature(towards, directions)
            length = np.float32(power / max(np.vdot(towards, curved).real, 1e-30))
            change += length * towards
            remainder = np.asarray(remainder - length * curved, np.complex64)
            conditioned = self._precondition(remainder)
            power, before = np.vdot(remainder, conditioned).real, power
            towards = np.asarray(conditioned + np.float32(power / before) * towards, np.complex64)
        return change

    def _curvature(self, spectrum: Complex, directions: list[Complex]) -> Complex:
        total = np.float32(self.damping * len(self.views)) * spectrum
        for k, (view, direction) in enumerate(zip(self.views, directions, strict=True)):
            along = (np.conj(direction) * self.at_sensor(spectrum, k)).real
            if view.known is not None:
                along = along * view.known
            total += self._adjoint(np.asarray(along * direction, np.complex64), k)
        return total

    def _precondition(self, spectrum: Complex) -> Complex:
        """Inverse curvature of a weak object seen in full."""
        mirrored = np.roll(spectrum[::-1, ::-1], (1, 1), (0, 1))
        own, twins = self._inverse
        return own * spectrum - twins * np.conj(mirrored)
