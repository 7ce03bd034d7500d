"""What the guard (device/analysis/verify.py) can't see, as rules computed from the optics.

`tests/benchmarks/guard.py` measures them: outside of them a fault is told from a right detection.
"""

from __future__ import annotations

from device.optics.geometry import Geometry

__all__ = ["LEAST_PX", "SAME_FIELD", "blind_distance_um", "blind_spots", "depth_of_field_um"]

LEAST_PX = 8.0
"""Equivalent diameter of a mask under which a shape is a few resolved points: many shapes at many depths make such fringes."""

SAME_FIELD = 0.85
"""Complex correlation with the true field from which a wrong shape is no worse than the network's own error."""

_DEPTHS_OF_FIELD = 5.0


def depth_of_field_um(geometry: Geometry) -> float:
    """wavelength / NA^2 with the aperture that the pixels sample, NA = wavelength / (2 pitch)."""
    return 4 * geometry.object_pitch_um**2 / geometry.wavelength_medium_um


def blind_distance_um(geometry: Geometry) -> float:
    """Errors of distance up to here look like the right one: five depths of field."""
    return _DEPTHS_OF_FIELD * depth_of_field_um(geometry)


def blind_spots(geometry: Geometry, name: str) -> str:
    """The blind spots as Markdown, with their size at the geometry called `name`."""
    return (
        "Every refined particle is checked against the hologram and flagged (`consistency`). The check is blind to:\n\n"
        f"- shapes of particles under {LEAST_PX:g} pixels across ({LEAST_PX * geometry.object_pitch_um:.0f} um at {name}), and "
        "particles that the border cuts;\n"
        f"- distances wrong by less than five depths of field, 20 pitch^2 / wavelength ({blind_distance_um(geometry):.0f} um there);\n"
        f"- wrong fields whose complex correlation with the true one is {SAME_FIELD:g} or more: that is the network's own error, and "
        "pollen of one size look so alike;\n"
        "- anything that scatters less than the noise, and frames with more particles than are refined.\n\n"
        "A particle that was missed leaves fringes that nothing explains: they are counted per frame and make an interval suspect."
    )
