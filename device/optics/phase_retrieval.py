"""Single-shot phase retrieval of an in-line hologram: what the pixels can't tell, the object's sparsity does.

Between sensor and object plane, in turn, as Fienup's error reduction (Appl. Opt. 21, 2758 (1982),
doi:10.1364/AO.21.002758): the measured amplitude at the sensor; at the object plane |U| <= 1, for nothing amplifies
light (Latychevskaia and Fink, Phys. Rev. Lett. 98, 233901 (2007), doi:10.1103/PhysRevLett.98.233901), and a support.
Where no support is given, the scattered wave U - 1 is shrunk towards zero by a threshold that falls from iteration to
iteration. Shrinking is the proximal step of the l1 norm (Daubechies, Defrise and De Mol, Commun. Pure Appl. Math. 57,
1413 (2004), doi:10.1002/cpa.20042): an object is compact at its own plane and its twin image is spread out, so the
twin goes under first. Momentum as in Beck and Teboulle, SIAM J. Imaging Sci. 2, 183 (2009), doi:10.1137/080716542.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.geometry import Geometry
from device.optics.propagation import apply_transfer, asm_transfer_function, fringe_reach_px, pad_to

__all__ = ["Iterate", "iterate", "mirror_pad", "retrieve_single_shot", "scattering_scale"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]

_TINY = np.float32(1e-9)


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
    previous = constrained = modelled = np.ones_like(sensor)
    for step, threshold in enumerate(thresholds):
        free = apply_transfer(sensor, back)
        constrained = _constrain(free, threshold, support, absorbing)
        ahead = constrained.copy()
        if step:
            ahead += np.float32(momentum) * (constrained - previous)
        previous = constrained
        modelled = apply_transfer(ahead, transfer)
        sensor = modelled * (amplitude / np.maximum(np.abs(modelled), _TINY))
    return Iterate(apply_transfer(sensor, back), constrained, np.abs(modelled) - amplitude)


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
