"""The geometry flags that focus, reconstruct and replay share, and the Geometry they add up to."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from device.errors import InputError

if TYPE_CHECKING:
    from device.optics.geometry import Geometry

__all__ = ["add_geometry_arguments", "geometry_from"]

_FLAGS = {
    "wavelength_um": "vacuum wavelength of the lamp, in micrometres (0.532 is green)",
    "pitch_um": "pixel pitch of the sensor, in micrometres",
    "magnification": "of a lens between object and sensor; 1 without one",
    "source_distance_um": "point source to sensor, in micrometres; leave out for a plane wave",
    "medium_index": "refractive index between object and sensor; 1 is air, 1.33 water",
}


def add_geometry_arguments(parser: argparse.ArgumentParser, *, distance: bool = True, auto_distance: bool = False) -> None:
    """Add --instrument and the flags that stand in for, or override, what the instrument file says.

    `distance`: whether --distance-um is among them; `auto_distance`: whether it also takes the word 'auto'.
    """
    group = parser.add_argument_group("geometry", "an instrument file, or the figures themselves; a flag overrides the file")
    group.add_argument("--instrument", metavar="FILE", help="instrument file (TOML), or the name of a reference instrument")
    for name, text in _FLAGS.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="X", help=text)
    if distance:
        text = "object plane to sensor, in micrometres" + (", or 'auto' to find it" if auto_distance else "")
        kind, metavar = (_number_or_auto, "X|auto") if auto_distance else (float, "X")
        group.add_argument("--distance-um", type=kind, metavar=metavar, help=text)


def geometry_from(args: argparse.Namespace, *, distance_um: float | None = None) -> Geometry:
    """The geometry that the parsed flags describe.

    `distance_um` stands in where the flags give no number, as when the distance is to be searched for.
    Raises InputError where a needed figure is missing or out of range, or the instrument file is bad.
    """
    from device.instrument import load_instrument
    from device.optics.geometry import Geometry

    given = {name: getattr(args, name, None) for name in (*_FLAGS, "distance_um")}
    values = {name: value for name, value in given.items() if isinstance(value, int | float)}
    if distance_um is not None:
        values.setdefault("distance_um", distance_um)
    if args.instrument:
        return replace(load_instrument(args.instrument).geometry, **values)
    known: dict[str, Any] = dict(values)
    missing = [name for name in ("wavelength_um", "pitch_um", "distance_um") if known.get(name) is None]
    if missing:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise InputError(
            "the recording geometry is incomplete",
            where="command line",
            expected="--instrument FILE, or --wavelength-um, --pitch-um and --distance-um",
            got=f"no {flags}",
            remedy="A hologram file doesn't say how it was recorded; give the figures in micrometres.",
        )
    return Geometry(**{name: value for name, value in known.items() if value is not None})


def _number_or_auto(text: str) -> float | str:
    return text if text == "auto" else float(text)
