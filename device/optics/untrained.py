"""The field behind one hologram by a deep prior that nobody trained: a deep decoder's image, fitted until noise is left.

Physics alone drives it (Wang et al., PhysenNet, Light Sci. Appl. 9, 77 (2020), doi:10.1038/s41377-020-0302-3; Niknam, Qazvini and Latifi,
Sci. Rep. 11, 10903 (2021), doi:10.1038/s41598-021-90312-5 with a deep decoder): the field that
the decoder makes is carried to the sensor by the angular spectrum, and the squared difference of amplitudes is lowered (Wirtinger
gradient, Adam). Beyond the frame anything goes. The decoder alone doesn't tell an object from its twin image, so one of two things is
held of the object: it is compact and amplifies no light (the decoder makes U - 1, |U - 1| has a weight), or it absorbs nothing
(the decoder makes the phase). Small squares are kept from the fit
(`device.analysis.held_out`); where they are no longer predicted better, or where no more than noise is left, it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.deep_decoder import Adam, DeepDecoder, interpolation
from device.optics.geometry import Geometry
from device.optics.phase_retrieval import mirror_pad, retrieve_single_shot, retrieve_transparent, scattering_scale
from device.optics.propagation import apply_transfer, asm_transfer_function, fringe_reach_px

__all__ = ["PRIORS", "STEPS", "Prior", "UntrainedFit", "classical_start", "fit_untrained"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]
Mask = NDArray[np.bool_]
Prior = Literal["compact", "transparent"]

PRIORS: tuple[Prior, ...] = ("compact", "transparent")

STEPS = 200
"""Enough for beads and tissue: a hundred more gain nothing."""

_CHANNELS = 16
_LEVELS = 2
_GRAIN_PX = 2
"""Pixels of the frame to one of the decoder's: a parameter for every four pixels."""
_MOST_MARGIN_PX = 96
_RATE = 0.01
_SPARSITY = (0.1, 0.06)
"""First and last weight of |U - 1|, relative to the strongest scatterers; half of it is a threshold of `retrieve_single_shot`. The first
is the best of 0.04, 0.06, 0.1 and 0.15 on one recorded frame of beads."""
_START_STEPS = 80
"""In which a decoder takes on the field that it starts from."""
_SOFT = np.float32(1e-4)
"""Square of the |U - 1| under which the weight turns quadratic."""
_LOOK_EVERY = 10
_PATIENCE = 5
"""Looks without a better prediction after which a fit ends."""
_LEAST_STEPS = 100
_BETTER = 0.995
_TINY = np.float32(1e-9)


@dataclass(frozen=True)
class UntrainedFit:
    """Where a fit ended."""

    field: Complex
    """complex64 [height, width] at the object plane."""
    shown: float
    """Mean squared difference of amplitudes at the sensor where the fit was shown the hologram, in units of the noise's."""
    unseen: float | None
    """The same where it wasn't; None where it was shown all."""
    steps: int
    """Taken."""


def fit_untrained(
    intensity: NDArray[np.floating],
    geometry: Geometry,
    *,
    noise: float,
    prior: Prior = "compact",
    seed: int = 0,
    steps: int = STEPS,
    unseen: Mask | None = None,
    start: Complex | None = None,
) -> UntrainedFit:
    """Fit one hologram.

    Parameters: `intensity` float [height, width], 1 where nothing is (its mean is free); `noise` relative standard deviation of a
    pixel; `prior` what is held of the object; `seed` of the decoder's start; `steps` at most; `unseen` bool [height, width], pixels
    kept from the fit, that end it; `start` complex64 [height, width] that it starts from, None: nothing.
    Raises InputError for a hologram that is not two-dimensional or not finite, noise that is none, or no steps.
    """
    _check(intensity, noise, steps)
    fit = _Fitting(intensity, geometry, prior, seed, unseen)
    if start is not None:
        fit.take_on(start)
    variance = max(noise**2 / 4, 1e-9)
    kept = best = fit.field
    least, waited, taken = np.inf, 0, 0
    for taken in range(1, steps + 1):
        # Rate and sparsity fall along half a wave.
        shown, hidden = fit.step(float(np.cos(np.pi / 2 * (taken - 1) / steps) ** 2))
        if taken % _LOOK_EVERY and taken < steps:
            continue
        kept = fit.field
        if hidden is None:
            best = kept
        elif hidden < _BETTER * least:
            best, least, waited = kept, hidden, 0
        else:
            waited += 1
        if shown <= variance or (waited >= _PATIENCE and taken >= _LEAST_STEPS):
            break
    shown, hidden = fit.misfits(best)
    field = np.ascontiguousarray(best[fit.window])
    return UntrainedFit(field, shown / variance, None if hidden is None else hidden / variance, taken)


def classical_start(intensity: NDArray[np.floating], geometry: Geometry, prior: Prior, unseen: Mask | None = None) -> Complex:
    """What iterative retrieval makes of a hologram under the same prior, complex64 [height, width]: a start for a fit; `unseen` pixels
    are kept from it, too."""
    shown = intensity if unseen is None else np.where(unseen, np.float32(1), intensity)
    return retrieve_single_shot(shown, geometry) if prior == "compact" else retrieve_transparent(shown, geometry)


class _Fitting:
    """A decoder, its optics and what was measured, on the padded grid."""

    def __init__(
        self, intensity: NDArray[np.floating], geometry: Geometry, prior: Prior, seed: int, unseen: Mask | None
    ) -> None:
        pitch_um, wavelength_um = geometry.object_pitch_um, geometry.wavelength_medium_um
        reach = fringe_reach_px(pitch_um, wavelength_um, geometry.propagation_um)
        amplitude = np.sqrt(np.maximum(intensity, 0), dtype=np.float32)
        self.measured, self.window = mirror_pad(amplitude, min(reach, _MOST_MARGIN_PX))
        self.shown, self.unseen = np.zeros(self.measured.shape, np.float32), None
        self.shown[self.window] = 1 if unseen is None else ~unseen
        if unseen is not None:
            self.unseen = np.zeros(self.measured.shape, np.float32)
            self.unseen[self.window] = unseen
        self.transfer = asm_transfer_function(self.measured.shape, pitch_um, wavelength_um, geometry.propagation_um)
        self.compact = prior == "compact"
        start = apply_transfer(np.where(self.shown > 0, self.measured, np.complex64(1)), np.conj(self.transfer))
        self.scale = scattering_scale(start)
        grid = tuple(-(-n // _GRAIN_PX) for n in self.measured.shape)
        self.decoder = DeepDecoder(
            (grid[0], grid[1]),
            channels=_CHANNELS,
            levels=_LEVELS,
            outputs=2 if self.compact else 1,
            rng=np.random.default_rng(seed),
        )
        self.down, self.across = (interpolation(n, m) for n, m in zip(self.measured.shape, grid, strict=True))
        self.adam = Adam(self.decoder.parameters)
        self.field: Complex = np.ones(self.measured.shape, np.complex64)
        self.pixels = np.float32(self.shown.sum())

    def take_on(self, start: Complex) -> None:
        """Let the decoder make a field [height, width] of the frame; beyond it nothing."""
        image = np.zeros((2 if self.compact else 1, *self.measured.shape), np.float32)
        image[:, *self.window] = np.stack([start.real - 1, start.imag]) if self.compact else np.angle(start)[None]
        adam = Adam(self.decoder.parameters)
        for _ in range(_START_STEPS):
            wrong = self.down @ self.decoder.forward() @ self.across.T - image
            slopes = (self.down.T @ (wrong / self.pixels) @ self.across).astype(np.float32)
            adam.step(self.decoder.gradient(slopes), 2 * _RATE)

    def step(self, ahead: float) -> tuple[float, float | None]:
        """One step, `ahead` 1 in the beginning and 0 in the end; the misfits before it, as `misfits`."""
        image = self.down @ self.decoder.forward() @ self.across.T
        self.field = (1 + image[0] + 1j * image[1] if self.compact else np.exp(1j * image[0])).astype(np.complex64)
        sensor = apply_transfer(self.field, self.transfer)
        modulus = np.maximum(np.abs(sensor), _TINY)
        wrong = self._scale(modulus) * modulus - self.measured
        # Of half the mean square, by the field's conjugate.
        seen = (self.shown * wrong * sensor / modulus).astype(np.complex64)
        slope = apply_transfer(seen, np.conj(self.transfer))
        if self.compact:
            off, here = self.field - 1, np.maximum(np.abs(self.field), _TINY)
            sparsity = np.float32(self.scale * (_SPARSITY[1] + (_SPARSITY[0] - _SPARSITY[1]) * ahead))
            slope += sparsity / 2 * off / np.sqrt(np.abs(off) ** 2 + _SOFT)
            slope += np.maximum(here - 1, 0) * self.field / here
            slopes = np.stack([slope.real, slope.imag])
        else:
            slopes = (np.conj(self.field) * slope).imag[None]
        coarse = (self.down.T @ (slopes * (2 / self.pixels)) @ self.across).astype(np.float32)
        self.adam.step(self.decoder.gradient(coarse), _RATE * (0.05 + 0.95 * ahead))
        return self._misfits(wrong)

    def misfits(self, field: Complex) -> tuple[float, float | None]:
        """Mean squared difference of amplitudes where the hologram was shown and where it wasn't."""
        modulus = np.abs(apply_transfer(field, self.transfer))
        return self._misfits(self._scale(modulus) * modulus - self.measured)

    def _misfits(self, wrong: Real) -> tuple[float, float | None]:
        squared = wrong * wrong
        shown = float((squared * self.shown).sum() / self.pixels)
        return shown, None if self.unseen is None else float((squared * self.unseen).sum() / self.unseen.sum())

    def _scale(self, modulus: Real) -> np.float32:
        """Of the lamp: least squares."""
        return np.float32((self.measured * modulus * self.shown).sum() / (modulus**2 * self.shown).sum())


def _check(intensity: NDArray[np.floating], noise: float, steps: int) -> None:
    if intensity.ndim != 2:
        raise InputError("a hologram must be two-dimensional", expected="[height, width]", got=f"shape {intensity.shape}")
    if not np.isfinite(intensity).all():
        raise InputError("the hologram holds NaN or infinity", remedy="Normalise the frame first.")
    if not (np.isfinite(noise) and noise > 0):
        raise InputError("no noise, nothing to stop at", where="untrained", expected="a noise above 0", got=noise)
    if steps < 1:
        raise InputError("nothing to fit", where="untrained", expected="steps 1 or more", got=steps)
