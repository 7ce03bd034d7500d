"""Lorenz-Mie holograms of homogeneous spheres: the exact answer that everything else can be laid against.

Coefficients after Bohren and Huffman, Absorption and Scattering of Light by Small Particles (1983), chapter 4; the
scattered field by its vector spherical harmonics at finite distance, not its far-field limit; the in-line hologram as the
interference of that field with the plane wave (Lee et al., Opt. Express 15, 18275 (2007), doi:10.1364/OE.15.018275).
Light is exp(i(kz - wt)), so an index with positive imaginary part absorbs and a wave travels as everywhere in this house.

For unpolarised light (a lamp) the hologram depends on the distance from the axis only. Finite pixels, bandwidth and
source size lower the contrast of a fringe by a factor that follows from its local frequency, sin(theta) / wavelength.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from device.errors import InputError

__all__ = ["Light", "RadialField", "fringe_visibility", "radial_field", "scattering_coefficients", "sphere_hologram"]

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class Light:
    """What illuminates the sphere and what catches it."""

    wavelength_um: float
    """In vacuum."""
    medium_index: float = 1.0
    """Around the sphere and up to the sensor."""
    bandwidth_um: float = 0.0
    """Full width at half maximum of the spectrum, in vacuum."""
    source_angle_rad: float = 0.0
    """Diameter of the source over its distance."""
    pixel_um: float = 0.0
    """Edge of the square a pixel integrates over, at the object; 0: points."""

    @property
    def wavenumber(self) -> float:
        """2 pi / wavelength in the medium, per micrometre."""
        return 2 * np.pi * self.medium_index / self.wavelength_um


@dataclass(frozen=True)
class RadialField:
    """Scattered field in a plane behind the sphere, x-polarised light, relative to the plane wave there.

    Ex = (along + across) / 2 + cos(2 azimuth) (along - across) / 2, Ey = sin(2 azimuth) (along - across) / 2,
    Ez = cos(azimuth) axial.
    """

    along: Complex
    """In the plane of polarisation."""
    across: Complex
    """Across it."""
    axial: Complex
    """Along the axis."""

    @property
    def mean(self) -> Complex:
        """What interferes with unpolarised light."""
        return (self.along + self.across) / 2

    @property
    def intensity(self) -> Real:
        """Of the scattered wave alone, averaged over polarisations."""
        return (np.abs(self.along) ** 2 + np.abs(self.across) ** 2 + np.abs(self.axial) ** 2) / 2


def scattering_coefficients(size_parameter: float, relative_index: complex) -> tuple[Complex, Complex]:
    """Coefficients a_n, b_n of a sphere, n from 1.

    Parameters: `size_parameter` 2 pi radius / wavelength in the medium, above 0; `relative_index` sphere over medium.
    Raises InputError for a size that is no size.
    """
    if not (np.isfinite(size_parameter) and 0 < size_parameter < 5_000):
        raise InputError("no such sphere", where="Lorenz-Mie", expected="size parameter of 0 to 5000", got=size_parameter)
    x, m = float(size_parameter), complex(relative_index)
    orders = int(np.ceil(x + 4.05 * x ** (1 / 3) + 2))
    inside = m * x
    # The logarithmic derivative is stable downwards only.
    start = int(1.1 * max(orders, abs(inside))) + 50
    derivative = np.zeros(start + 1, np.complex128)
    for n in range(start, 0, -1):
        derivative[n - 1] = n / inside - 1 / (derivative[n] + n / inside)
    order = np.arange(orders + 1)
    psi, chi = x * scipy.special.spherical_jn(order, x), -x * scipy.special.spherical_yn(order, x)
    xi = psi - 1j * chi
    n = np.arange(1, orders + 1)
    electric = derivative[1 : orders + 1] / m + n / x
    magnetic = derivative[1 : orders + 1] * m + n / x
    a = (electric * psi[1:] - psi[:-1]) / (electric * xi[1:] - xi[:-1])
    b = (magnetic * psi[1:] - psi[:-1]) / (magnetic * xi[1:] - xi[:-1])
    return a, b


def radial_field(light: Light, radius_um: float, index: complex, z_um: float, rho_um: Real) -> RadialField:
    """Scattered field at distances `rho_um` [n] from the axis in the plane `z_um` behind the sphere's centre.

    Raises InputError where the plane cuts the sphere.
    """
    if not z_um > radius_um > 0:
        raise InputError("the plane cuts the sphere", where="Lorenz-Mie", expected="distance above radius above 0",
                         got=f"distance {z_um:g} um, radius {radius_um:g} um")  # fmt: skip
    k = light.wavenumber
    a, b = scattering_coefficients(k * radius_um, complex(index) / light.medium_index)
    r = np.hypot(rho_um, z_um)
    kr, cosine, sine = k * r, z_um / r, rho_um / r
    # h_n and xi_n = kr h_n grow upwards with n: stable. The common exp(ikr) is taken out for the digits.
    before, here = np.ones_like(kr, np.complex128) * -1j / kr, -(kr + 1j) / kr**2
    pi_before, pi_here = np.zeros_like(kr), np.ones_like(kr)
    radial, polar, azimuthal = (np.zeros_like(kr, np.complex128) for _ in range(3))
    for n in range(1, len(a) + 1):
        tau = n * cosine * pi_here - (n + 1) * pi_before
        slope = before - n * here / kr  # [kr h_n]' / kr
        weight = 1j**n * (2 * n + 1) / (n * (n + 1))
        electric, magnetic = weight * 1j * a[n - 1], weight * b[n - 1]
        radial += electric * (n * (n + 1)) * sine * pi_here * here / kr
        polar += electric * tau * slope - magnetic * pi_here * here
        azimuthal += electric * pi_here * slope - magnetic * tau * here
        before, here = here, (2 * n + 1) / kr * here - before
        pi_before, pi_here = pi_here, ((2 * n + 1) * cosine * pi_here - (n + 1) * pi_before) / n
    turned = np.exp(1j * k * (r - z_um))
    return RadialField(
        along=(sine * radial + cosine * polar) * turned,
        across=azimuthal * turned,
        axial=(cosine * radial - sine * polar) * turned,
    )


def fringe_visibility(light: Light, z_um: float, rho_um: Real, azimuth_rad: Real | None = None) -> Real:
    """Contrast left to a fringe at `rho_um` [n] from the axis by pixels, bandwidth and source size, 0 to 1.

    A Gaussian spectrum, a round even source, square pixels (`azimuth_rad` from their rows; None: the mean of two
    directions). Closed forms: Goodman, Statistical Optics (1985), sections 5.1 and 5.6.
    """
    r = np.hypot(rho_um, z_um)
    frequency = rho_um / r * light.medium_index / light.wavelength_um
    visibility = np.ones_like(r)
    if light.bandwidth_um > 0:
        path_um = light.medium_index * (r - z_um)
        visibility *= np.exp(-((np.pi * light.bandwidth_um * path_um / light.wavelength_um**2) ** 2) / (4 * np.log(2)))
    if light.source_angle_rad > 0:
        visibility *= _jinc(np.pi * light.source_angle_rad * z_um * frequency)
    if light.pixel_um > 0:
        pixel = light.pixel_um * frequency
        if azimuth_rad is None:
            visibility *= (np.sinc(pixel) + np.sinc(pixel / np.sqrt(2)) ** 2) / 2
        else:
            visibility *= np.sinc(pixel * np.cos(azimuth_rad)) * np.sinc(pixel * np.sin(azimuth_rad))
    return visibility


def _jinc(argument: Real) -> Real:
    """2 J1(u) / u."""
    safe = np.maximum(np.abs(argument), 1e-9)
    return np.asarray(2 * scipy.special.j1(safe) / safe, np.float64)


def sphere_hologram(
    light: Light,
    shape: tuple[int, int],
    pitch_um: float,
    *,
    centre_px: tuple[float, float],
    z_um: float,
    radius_um: float,
    index: complex,
    polarisation_rad: float | None = None,
) -> Real:
    """In-line hologram, float64 [height, width], 1 where the sphere's wave doesn't reach.

    Parameters: `pitch_um` at the object; `centre_px` (row, column); `z_um` the sphere's centre to the sensor;
    `polarisation_rad` from the rows, None for unpolarised light.
    """
    y = (np.arange(shape[0]) - centre_px[0])[:, None] * pitch_um
    x = (np.arange(shape[1]) - centre_px[1])[None, :] * pitch_um
    rho, azimuth = np.hypot(y, x), np.arctan2(y, x)
    table = np.arange(0.0, float(rho.max()) + pitch_um, _table_step_um(light, z_um, radius_um))
    field = radial_field(light, radius_um, index, z_um, table)
    visible = fringe_visibility(light, z_um, rho, azimuth)
    if polarisation_rad is None:
        mean, quadratic = _interpolated(table, field.mean, rho, light, z_um), CubicSpline(table, field.intensity)(rho)
        return 1 + 2 * visible * mean.real + quadratic
    along, across, axial = (_interpolated(table, f, rho, light, z_um) for f in (field.along, field.across, field.axial))
    twice = 2 * (azimuth - polarisation_rad)
    ex = (along + across) / 2 + np.cos(twice) * (along - across) / 2
    ey = np.sin(twice) * (along - across) / 2
    ez = np.cos(azimuth - polarisation_rad) * axial
    return 1 + 2 * visible * ex.real + np.abs(ex) ** 2 + np.abs(ey) ** 2 + np.abs(ez) ** 2


def _table_step_um(light: Light, z_um: float, radius_um: float) -> float:
    """Twelve points to the narrowest lobe of the sphere's pattern."""
    lobe_um = z_um * light.wavelength_um / light.medium_index / (2 * radius_um + light.wavelength_um)
    return float(np.clip(lobe_um / 12, 0.02, 2.0))


def _interpolated(table: Real, values: Complex, rho_um: Real, light: Light, z_um: float) -> Complex:
    """Values between the table's radii; the fast phase of the spherical wave is taken out and put back."""
    k = light.wavenumber
    slow = values * np.exp(-1j * k * (np.hypot(table, z_um) - z_um))
    spline = CubicSpline(table, np.stack([slow.real, slow.imag], axis=1))
    parts = spline(rho_um)
    return (parts[..., 0] + 1j * parts[..., 1]) * np.exp(1j * k * (np.hypot(rho_um, z_um) - z_um))
