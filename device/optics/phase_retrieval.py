"""Single-shot phase retrieval of an in-line hologram: what the pixels can't tell, the object's sparsity does.

Between sensor and object plane, in turn, as Fienup's error reduction (Appl. Opt. 21, 2758 (1982),
doi:10.1364/AO.21.002758): the measured amplitude at the sensor; at the object plane |U| <= 1, for nothing amplifies
light (Latychevskaia and Fink, Phys. Rev. Lett. 98, 233901 (2007), doi:10.1103/PhysRevLett.98.233901), and a support.
Where no support is given, the scattered wave U - 1 is shrunk towards zero by a threshold that falls from iteration to
iteration. Shrinking is the proximal step of the l1 norm (Daubechies, Defrise and De Mol, Commun. Pure Appl. Math. 57,
1413 (2004), doi:10.1002/cpa.20042): an object is compact at its own plane and its twin image is spread out, so the
twin goes under first. Momentum as in Beck and Teboulle, SIAM J. Imaging Sci. 2, 183 (2009), doi:10.1137/080716542.
Of what fills the frame and hardly absorbs, its phase alone is sought: one unknown a pixel for one number measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics import fft
from device.optics.geometry import Geometry
from device.optics.propagation import apply_transfer, asm_transfer_function, fringe_reach_px, pad_to

__all__ = ["Iterate", "iterate", "mirror_pad", "retrieve_single_shot", "retrieve_transparent", "scattering_scale"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]

_TINY = np.float32(1e-9)

_SMOOTH_PX2 = 0.3
"""Weight of the phase's squared gradient. Of 0.03, 0.1 and 0.3 the best on one recorded tissue section; simulated sections that
nothing was chosen on gain by it, too."""

_BORDER_PX = 96


@dataclass(frozen=True)
class Iterate:
    """Where the iterations ended, on the padded grid."""

    free: Complex
    """Object-plane field that fits the sensor exactly."""
    constrained: Complex
    """Object-plane field that fits the object constraints exactly."""
    misfit: Real
    """Amplitude of `constrained` at the sensor, less the measured one."""


def mirror_pad(amplitude: Real, margin_px: int) -> tuple[Real, tuple[slice, slice]]:
    """The amplitude with a mirrored border, sized for the FFT, and the window of the original in it."""
    height, width = amplitude.shape
    shape = [pad_to(n, min(margin_px, n // 2)) for n in (height, width)]
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    border = ((top, shape[0] - height - top), (left, shape[1] - width - left))
    return np.pad(amplitude, border, mode="symmetric"), (slice(top, top + height), slice(left, left + width))


def scattering_scale(field: Complex) -> float:
    """How strong the strongest scatterers of a field are: the 99.9th percentile of |U - 1|."""
    return float(np.quantile(np.abs(field - 1), 0.999))


def iterate(
    amplitude: Real,
    transfer: Complex,
    thresholds: Sequence[float],
    *,
    momentum: float = 0.7,
    support: NDArray[np.bool_] | None = None,
    absorbing: bool = True,
) -> Iterate:
    """Alternate between sensor and object plane, once per threshold.

    Parameters: `amplitude` float32 [height, width] at the sensor, 1 where nothing is; `transfer` from object to sensor,
    in FFT order; `thresholds` on |U - 1|, at least one; `support` outside which U = 1.
    """
    back = np.conj(transfer)
    sensor = amplitude.astype(np.complex64)
    previous = constrained = np.ones_like(sensor)
    modulus = amplitude
    for step, threshold in enumerate(thresholds):
        free = apply_transfer(sensor, back, overwrite=True)
        constrained = _constrain(free, threshold, support, absorbing)
        ahead = constrained.copy()
        if step:
            ahead += np.float32(momentum) * (constrained - previous)
        previous = constrained
        sensor = apply_transfer(ahead, transfer, overwrite=True)
        modulus = np.abs(sensor)
        sensor *= amplitude / np.maximum(modulus, _TINY)
    return Iterate(apply_transfer(sensor, back, overwrite=True), constrained, modulus - amplitude)


def retrieve_single_shot(
    intensity: NDArray[np.floating],
    geometry: Geometry,
    *,
    iterations: int = 30,
    support: NDArray[np.bool_] | None = None,
    thresholds: tuple[float, float] = (0.3, 0.05),
    momentum: float = 0.7,
    absorbing: bool = True,
) -> Complex:
    """The object field behind one in-line hologram, twin image suppressed.

    Parameters: `intensity` float [height, width], 1 where nothing is; `support` bool [height, width], True where an
    object may be (None: found by shrinking); `thresholds` first and last, relative to the strongest scatterers, unused
    with a support; `absorbing` False lifts |U| <= 1.
    Returns complex64 [height, width] at the object plane, 1 where nothing is. Raises InputError for a hologram that is
    not two-dimensional or not finite, a support of another shape, or fewer than one iteration.
    """
    _check(intensity, support, iterations)
    measured = np.sqrt(np.maximum(intensity, 0), dtype=np.float32)
    reach = fringe_reach_px(geometry.object_pitch_um, geometry.wavelength_medium_um, geometry.propagation_um)
    padded, window = mirror_pad(measured, min(reach, 64))
    transfer = asm_transfer_function(
        padded.shape, geometry.object_pitch_um, geometry.wavelength_medium_um, geometry.propagation_um
    )
    mask = None
    steps: Sequence[float] = [0.0] * iterations
    if support is None:
        scale = scattering_scale(apply_transfer(padded.astype(np.complex64), np.conj(transfer)))
        steps = [scale * float(t) for t in np.linspace(*thresholds, iterations)]
    else:
        mask = np.zeros(padded.shape, dtype=np.bool_)
        mask[window] = support
    result = iterate(padded, transfer, steps, momentum=momentum, support=mask, absorbing=absorbing)
    return np.ascontiguousarray(result.constrained[window])


def retrieve_transparent(intensity: NDArray[np.floating], geometry: Geometry, *, iterations: int = 60) -> Complex:
    """The field of an object that absorbs nothing, exp(i phase), whose amplitude at the sensor comes nearest.

    Accelerated gradient steps on the phase, each followed by a penalty on its squared gradient; beyond the frame's mirrored
    border anything goes. What absorbs is told wrongly.
    Parameters and errors as for `retrieve_single_shot`; the mean of the intensity is free. Returns complex64 [height, width].
    """
    _check(intensity, None, iterations)
    measured, window = mirror_pad(np.sqrt(np.maximum(intensity, 0), dtype=np.float32), _BORDER_PX)
    inside = np.zeros(measured.shape, np.float32)
    inside[window] = 1
    transfer = asm_transfer_function(
        measured.shape, geometry.object_pitch_um, geometry.wavelength_medium_um, geometry.propagation_um
    )
    frequencies = np.hypot(fft.fftfreq(measured.shape[0])[:, None], fft.fftfreq(measured.shape[1])[None, :])
    kept = (1 / (1 + _SMOOTH_PX2 * (2 * np.pi * frequencies) ** 2)).astype(np.float32)
    phase = ahead = np.zeros(measured.shape, np.float32)
    pace = 1.0
    for _ in range(iterations):
        field = np.exp(1j * ahead).astype(np.complex64)
        sensor = apply_transfer(field, transfer)
        modulus = np.abs(sensor)
        scale = np.float32((measured * modulus * inside).sum() / max(float((modulus**2 * inside).sum()), 1e-9))
        wrong = inside * sensor * (1 - measured / np.maximum(scale * modulus, _TINY))
        slope = np.real(np.conj(1j * field) * apply_transfer(wrong.astype(np.complex64), np.conj(transfer)))
        better = np.real(fft.ifft2(fft.fft2((ahead - slope).astype(np.complex64)) * kept)).astype(np.float32)
        faster = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        ahead = better + np.float32((pace - 1) / faster) * (better - phase)
        phase, pace = better, float(faster)
    return np.exp(1j * phase[window]).astype(np.complex64)


def _constrain(field: Complex, threshold: float, support: NDArray[np.bool_] | None, absorbing: bool) -> Complex:
    scattered = field - np.float32(1)
    if threshold > 0:
        scattered *= np.maximum(1 - np.float32(threshold) / np.maximum(np.abs(scattered), _TINY), 0)
    if support is not None:
        scattered[~support] = 0
    scattered += np.float32(1)
    if absorbing:
        scattered /= np.maximum(np.abs(scattered), np.float32(1))
    return scattered


def _check(intensity: NDArray[np.floating], support: NDArray[np.bool_] | None, iterations: int) -> None:
    if intensity.ndim != 2:
        raise InputError("a hologram must be two-dimensional", expected="[height, width]", got=f"shape {intensity.shape}")
    if not np.isfinite(intensity).all():
        raise InputError("the hologram holds NaN or infinity", remedy="Normalise the frame first.")
    if support is not None and support.shape != intensity.shape:
        raise InputError("the support has another shape", expected=intensity.shape, got=support.shape)
    if iterations < 1:
        raise InputError("nothing to iterate", expected="iterations 1 or more", got=iterations)
