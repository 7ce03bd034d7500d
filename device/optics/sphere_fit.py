"""Position, distance, radius and index of a sphere from its in-line hologram, by fitting the Lorenz-Mie answer.

In three steps, each the start of the next: the centre, where a hologram looks most alike on opposite sides; distance and
radius, by comparing the hologram's radial profile with a grid of computed ones (fringes make many local minima, so the
best few are refined); and a least-squares fit of all parameters to a random subset of the pixels, which tells nearly as
much as all of them (Dimiduk et al., Appl. Opt. 53, G177 (2014), doi:10.1364/AO.53.00G177).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from device.errors import InputError
from device.optics.lorenz_mie import Light, fringe_visibility, radial_field

__all__ = ["Sphere", "SphereFit", "find_sphere", "fit_sphere", "hologram_centre", "profile_starts"]

Real = NDArray[np.float64]
Parameter = Literal["row_px", "column_px", "z_um", "radius_um", "index", "contrast"]

_ORDER: tuple[Parameter, ...] = ("row_px", "column_px", "z_um", "radius_um", "index", "contrast")
_SCALES: dict[Parameter, float] = {
    "row_px": 0.1, "column_px": 0.1, "z_um": 1.0, "radius_um": 0.1, "index": 0.01, "contrast": 0.1,
}  # fmt: skip
_PIXELS = 4_000
_REFINED = 5
_EXPLAINED = 1.3  # a reduced chi-squared that makes further starts needless


@dataclass(frozen=True)
class Sphere:
    """A sphere above the sensor."""

    row_px: float
    """Of its centre."""
    column_px: float
    """Of its centre."""
    z_um: float
    """Its centre to the sensor."""
    radius_um: float
    index: float
    """Refractive index."""
    contrast: float = 1.0
    """What the fringes' contrast is multiplied by, for light that is less coherent than stated."""


@dataclass(frozen=True)
class SphereFit:
    """A fitted sphere, and how far to trust it."""

    sphere: Sphere
    uncertainty: Sphere
    """One standard deviation of each parameter; 0 where it was held."""
    covariance: Real
    """float64 [n, n] of the free parameters."""
    free: tuple[Parameter, ...]
    """Parameters fitted, in the covariance's order."""
    residual: float
    """Root mean square of what stays unexplained, relative to that of the fringes."""
    chi2: float | None
    """Reduced chi-squared; None where the noise isn't known."""
    converged: bool
    """Whether the optimiser ended at a minimum."""


@dataclass(frozen=True)
class _Pixels:
    """The pixels fitted."""

    row: Real
    column: Real
    value: Real


def fit_sphere(
    intensity: NDArray[np.floating],
    light: Light,
    pitch_um: float,
    start: Sphere,
    *,
    free: Sequence[Parameter] = ("row_px", "column_px", "z_um", "radius_um", "index"),
    radius_px: int | None = None,
    noise: float | None = None,
    valid: NDArray[np.bool_] | None = None,
    pixels: int = _PIXELS,
    seed: int = 0,
) -> SphereFit:
    """Fit the sphere whose hologram this is, from a start that is nearly right (see `profile_starts`).

    Parameters: `intensity` float [height, width], 1 where nothing is; `pitch_um` at the object; `radius_px` of the disc
    around the centre that is fitted (None: to the nearest border); `noise` relative standard deviation of a pixel where
    nothing is (shot noise: it grows as the root of the light); `valid` bool [height, width], False where a pixel is
    saturated or bad; `pixels` how many are fitted, drawn with `seed`. Raises InputError where the disc holds too few pixels.
    """
    chosen = _choose(intensity, start, radius_px, valid, pixels, seed)
    names: tuple[Parameter, ...] = tuple(name for name in _ORDER if name in free)
    scales = np.array([_SCALES[name] for name in names])
    floor: dict[Parameter, float] = {"z_um": 1.05 * start.radius_um, "radius_um": 0.05, "index": 1.0, "contrast": 0.05}
    low = np.array([floor.get(name, -np.inf) for name in names])

    weight = 1 / np.sqrt(np.maximum(chosen.value, 0.1))

    def residuals(values: Real) -> Real:
        sphere = _with(start, names, np.maximum(values * scales, low))
        if sphere.z_um <= sphere.radius_um:
            sphere = replace(sphere, z_um=1.01 * sphere.radius_um)
        model = _model(light, pitch_um, sphere, chosen)
        gain = float((weight * model) @ (weight * chosen.value)) / float((weight * model) @ (weight * model))
        return weight * (gain * model - chosen.value)

    first = np.array([getattr(start, name) for name in names]) / scales
    solved = scipy.optimize.least_squares(residuals, first, method="lm", diff_step=1e-4, max_nfev=40 * (len(names) + 1))
    return _report(solved, start, names, scales, chosen, noise)


def _report(
    solved: scipy.optimize.OptimizeResult, start: Sphere, names: tuple[Parameter, ...], scales: Real, chosen: _Pixels,
    noise: float | None,
) -> SphereFit:  # fmt: skip
    degrees = max(len(chosen.value) - len(names), 1)
    variance = float(np.sum(solved.fun**2)) / degrees
    covariance = np.linalg.pinv(solved.jac.T @ solved.jac) * variance * np.outer(scales, scales)
    sphere = _with(start, names, solved.x * scales)
    deviations = dict(zip(names, np.sqrt(np.maximum(np.diag(covariance), 0)), strict=True))
    uncertainty = Sphere(**{name: float(deviations.get(name, 0.0)) for name in _ORDER})
    fringes = float(np.std(chosen.value))
    return SphereFit(
        sphere=sphere,
        uncertainty=uncertainty,
        covariance=covariance,
        free=names,
        residual=float(np.sqrt(variance)) / fringes if fringes > 0 else 0.0,
        chi2=variance / noise**2 if noise else None,
        converged=bool(solved.success) and bool(np.isfinite(solved.x).all()),
    )


def _with(sphere: Sphere, names: tuple[Parameter, ...], values: Real) -> Sphere:
    return replace(sphere, **{name: float(value) for name, value in zip(names, values, strict=True)})


def _choose(
    intensity: NDArray[np.floating],
    start: Sphere,
    radius_px: int | None,
    valid: NDArray[np.bool_] | None,
    pixels: int,
    seed: int,
) -> _Pixels:
    height, width = intensity.shape
    border = min(start.row_px, start.column_px, height - 1 - start.row_px, width - 1 - start.column_px)
    reach = border if radius_px is None else radius_px
    rows, columns = np.ogrid[:height, :width]
    inside = (rows - start.row_px) ** 2 + (columns - start.column_px) ** 2 <= reach**2
    if valid is not None:
        inside &= valid
    row, column = np.nonzero(inside)
    if row.size < 50:
        raise InputError("too little of the sphere's hologram", where=f"row {start.row_px:.0f}, column {start.column_px:.0f}",
                         expected="50 pixels or more around the centre", got=row.size)  # fmt: skip
    if row.size > pixels:
        kept = np.random.default_rng(seed).choice(row.size, pixels, replace=False)
        row, column = row[kept], column[kept]
    return _Pixels(row.astype(np.float64), column.astype(np.float64), intensity[row, column].astype(np.float64))


def _model(light: Light, pitch_um: float, sphere: Sphere, pixels: _Pixels) -> Real:
    y, x = (pixels.row - sphere.row_px) * pitch_um, (pixels.column - sphere.column_px) * pitch_um
    rho = np.hypot(y, x)
    lobe_um = sphere.z_um * light.wavelength_um / light.medium_index / (2 * sphere.radius_um + light.wavelength_um)
    table = np.linspace(0, float(rho.max()) * 1.001 + 0.1, int(np.clip(8 * rho.max() / lobe_um, 64, 800)))
    mean, quadratic = _tabulated(light, sphere, table)
    k = light.wavenumber
    parts = mean(rho)
    wave = (parts[:, 0] + 1j * parts[:, 1]) * np.exp(1j * k * (np.hypot(rho, sphere.z_um) - sphere.z_um))
    visible = sphere.contrast * fringe_visibility(light, sphere.z_um, rho, np.arctan2(y, x))
    return 1 + 2 * visible * wave.real + quadratic(rho)


def _tabulated(light: Light, sphere: Sphere, table: Real) -> tuple[CubicSpline, CubicSpline]:
    """Splines of the slow part of the interfering wave (real, imaginary) and of the scattered intensity."""
    field = radial_field(light, sphere.radius_um, sphere.index, sphere.z_um, table)
    slow = field.mean * np.exp(-1j * light.wavenumber * (np.hypot(table, sphere.z_um) - sphere.z_um))
    return CubicSpline(table, np.stack([slow.real, slow.imag], axis=1)), CubicSpline(table, field.intensity)


def find_sphere(
    intensity: NDArray[np.floating],
    light: Light,
    pitch_um: float,
    near_px: tuple[float, float],
    *,
    z_range_um: tuple[float, float],
    radius_range_um: tuple[float, float],
    index: float,
    free: Sequence[Parameter] = ("row_px", "column_px", "z_um", "radius_um"),
    radius_px: int | None = None,
    noise: float | None = None,
    valid: NDArray[np.bool_] | None = None,
    tries: int = _REFINED,
) -> SphereFit:
    """The sphere near a pixel, from nothing but ranges: centre, profile, fits from the likeliest starts, the best of them.

    Parameters as in `fit_sphere` and `profile_starts`; `near_px` (row, column) within some six pixels of the centre;
    `tries` starts are followed up. With the index free, each start is also tried with an index a little lower and higher and the same optical thickness.
    """
    centre = hologram_centre(intensity, near_px)
    starts = profile_starts(
        intensity, light, pitch_um, centre, z_range_um=z_range_um, radius_range_um=radius_range_um, index=index,
        radius_px=radius_px, valid=valid, count=tries,
    )  # fmt: skip
    reach = radius_px
    if reach is None and starts:
        reach = max(int(_resolved_um(light, starts[0].z_um, pitch_um) / pitch_um), 16)
    best: SphereFit | None = None
    if "index" in free:
        starts = [other for start in starts for other in _of_equal_thickness(start, light.medium_index)]
    for start in starts:
        fit = fit_sphere(intensity, light, pitch_um, start, free=free, radius_px=reach, noise=noise, valid=valid)
        if best is None or fit.residual < best.residual:
            best = fit
        if best.chi2 is not None and best.chi2 < _EXPLAINED:
            break
    if best is None:
        raise InputError("no sphere fits the ranges", where="Lorenz-Mie fit", expected="distances above radii",
                         got=f"z {z_range_um}, radius {radius_range_um} um")  # fmt: skip
    return best


def _of_equal_thickness(sphere: Sphere, medium_index: float) -> list[Sphere]:
    """The sphere, and ones of other index whose phase is the same."""
    contrast = sphere.index - medium_index
    changes = (0.0, -0.25, 0.3, -0.12, 0.14) if contrast else (0.0,)
    return [replace(sphere, index=medium_index + contrast * (1 + c), radius_um=sphere.radius_um / (1 + c)) for c in changes]


def hologram_centre(
    intensity: NDArray[np.floating], near_px: tuple[float, float], *, reach_px: int = 48, search_px: int = 6
) -> tuple[float, float]:
    """Centre (row, column) of a ring pattern, to a tenth of a pixel or so.

    Where the pattern convolved with itself peaks: rings are alike when turned by half a turn about their centre, whatever
    their contrast (compare Parthasarathy, Nat. Methods 9, 724 (2012), doi:10.1038/nmeth.2071).
    """
    height, width = intensity.shape
    row, column = round(near_px[0]), round(near_px[1])
    reach = min(reach_px, row, column, height - 1 - row, width - 1 - column)
    if reach < 6:
        return float(near_px[0]), float(near_px[1])
    patch = np.asarray(intensity[row - reach : row + reach + 1, column - reach : column + reach + 1], np.float32)
    window = np.outer(np.hanning(2 * reach + 3)[1:-1], np.hanning(2 * reach + 3)[1:-1]).astype(np.float32)
    patch = (patch - cv2.GaussianBlur(patch, (0, 0), max(reach / 4, 4))) * window
    side = 2 * patch.shape[0]
    spectrum = np.fft.rfft2(patch, (side, side))
    itself = np.fft.irfft2(spectrum**2, (side, side))
    middle = 2 * reach
    near = itself[middle - 2 * search_px : middle + 2 * search_px + 1, middle - 2 * search_px : middle + 2 * search_px + 1]
    peak = np.unravel_index(int(np.argmax(near)), near.shape)
    offsets = [(_parabola(near, peak, axis) - 2 * search_px) / 2 for axis in (0, 1)]
    return row + offsets[0], column + offsets[1]


def _parabola(values: NDArray[np.floating], peak: tuple[np.intp, ...], axis: int) -> float:
    here = int(peak[axis])
    if not 0 < here < values.shape[axis] - 1:
        return float(here)
    line = np.take(values, int(peak[1 - axis]), axis=1 - axis)
    left, top, right = (float(line[here + d]) for d in (-1, 0, 1))
    return here + 0.5 * (left - right) / min(left - 2 * top + right, -1e-30)


def profile_starts(
    intensity: NDArray[np.floating],
    light: Light,
    pitch_um: float,
    centre_px: tuple[float, float],
    *,
    z_range_um: tuple[float, float],
    radius_range_um: tuple[float, float],
    index: float,
    radius_px: int | None = None,
    valid: NDArray[np.bool_] | None = None,
    count: int = _REFINED,
) -> list[Sphere]:
    """The spheres whose radial profiles look most like this hologram's, best first.

    Parameters as in `fit_sphere`; ranges of distance and radius to scan; `index` is held. Each of the best nodes of the
    scan is refined on the profile alone.
    """
    resolved_px = _resolved_um(light, z_range_um[1], pitch_um) / pitch_um
    radii_px, profile, weight = _profile(intensity, centre_px, min(radius_px or 10**6, int(resolved_px)), valid)
    rho = radii_px * pitch_um
    distances = _distances(light, *z_range_um, float(rho.max()))
    steps = max(int(np.ceil(np.log(radius_range_um[1] / radius_range_um[0]) / 0.12)), 1)
    radii = np.geomspace(*radius_range_um, steps + 1)
    nodes = [
        (_misfit(_profile_model(light, rho, z, a, index), profile, weight), z, a)
        for z in distances
        for a in radii
        if z > 1.1 * a
    ]
    nodes.sort(key=lambda node: node[0])
    apart: list[tuple[float, float]] = []
    for _, z, a in nodes:
        if all(abs(z - other) > 0.006 * z or abs(a / radius - 1) > 0.2 for other, radius in apart):
            apart.append((z, a))
    found: list[tuple[float, Sphere]] = []
    for z_um, radius_um in apart[:count]:
        cost, z, a = _refined(light, rho, profile, weight, z_um, radius_um, index)
        found.append((cost, Sphere(centre_px[0], centre_px[1], z, a, index)))
    return [sphere for _, sphere in sorted(found, key=lambda f: f[0])]


def _resolved_um(light: Light, z_um: float, pitch_um: float) -> float:
    """Distance from the axis up to which pixels of this pitch sample the fringes."""
    sine = min(light.wavelength_um / light.medium_index / (2 * pitch_um), 0.8)
    return z_um * sine / float(np.sqrt(1 - sine**2))


def _profile(
    intensity: NDArray[np.floating], centre_px: tuple[float, float], radius_px: int | None, valid: NDArray[np.bool_] | None
) -> tuple[Real, Real, Real]:
    """Mean radius, mean intensity and weight of rings one pixel wide; rings that hold invalid pixels weigh nothing."""
    height, width = intensity.shape
    border = int(min(centre_px[0], centre_px[1], height - 1 - centre_px[0], width - 1 - centre_px[1]))
    reach = max(min(border, radius_px or border), 8)
    rows, columns = np.mgrid[:height, :width]
    rho = np.hypot(rows - centre_px[0], columns - centre_px[1]).ravel()
    inside = rho < reach
    ring = rho[inside].astype(int)
    counts = np.maximum(np.bincount(ring), 1)
    mean = np.bincount(ring, intensity.ravel()[inside].astype(np.float64)) / counts
    weight = np.sqrt(counts.astype(np.float64))
    if valid is not None:
        weight[np.unique(ring[~valid.ravel()[inside]])] = 0
    return np.bincount(ring, rho[inside]) / counts, mean, weight


def _distances(light: Light, low_um: float, high_um: float, reach_um: float) -> Real:
    """Distances apart by a quarter of a fringe at the edge of the profile."""
    distances = [low_um]
    while distances[-1] < high_um:
        slope = 1 - distances[-1] / np.hypot(distances[-1], reach_um)
        distances.append(distances[-1] + max(0.3 * light.wavelength_um / light.medium_index / max(slope, 1e-6), 1e-3 * high_um))
    return np.array(distances)


def _profile_model(light: Light, rho_um: Real, z_um: float, radius_um: float, index: float) -> Real:
    field = radial_field(light, radius_um, index, z_um, rho_um)
    return 1 + 2 * fringe_visibility(light, z_um, rho_um) * field.mean.real + field.intensity


def _misfit(model: Real, profile: Real, weight: Real) -> float:
    """Share of the profile's variation left after the best scale of contrast and brightness."""
    a, b = model - np.average(model, weights=weight), profile - np.average(profile, weights=weight)
    power = float((weight * b * b).sum())
    return 1 - float((weight * a * b).sum()) ** 2 / max(float((weight * a * a).sum()) * power, 1e-30)


def _refined(
    light: Light, rho_um: Real, profile: Real, weight: Real, z_um: float, radius_um: float, index: float
) -> tuple[float, float, float]:
    def cost(values: Real) -> float:
        z, a = float(values[0]), float(np.exp(values[1]))
        return _misfit(_profile_model(light, rho_um, z, a, index), profile, weight) if z > 1.05 * a else 2.0

    simplex = np.array([[z_um, np.log(radius_um)], [1.004 * z_um, np.log(radius_um)], [z_um, np.log(radius_um) + 0.05]])
    best = scipy.optimize.minimize(
        cost, simplex[0], method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-6, "maxfev": 60}
    )
    return float(best.fun), float(best.x[0]), float(np.exp(best.x[1]))
