"""What a kind of camera says of itself; descriptors are cheap to import, drivers are imported when they are built."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec import Struct

import device.drivers.cameras as package
from device.errors import InputError

if TYPE_CHECKING:
    from device.drivers.ports import Camera
    from device.instrument import Instrument

__all__ = ["CameraKind", "Finding", "camera_kind", "camera_kinds"]


@dataclass(frozen=True)
class Finding:
    """What is to be said of a configured camera without opening it."""

    good: bool
    value: str
    message: str = ""
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class CameraKind:
    """One kind of camera."""

    name: str
    """As `camera.driver` says it."""
    summary: str
    """What it is, for the configuration's reference."""
    build: Callable[[Any, Instrument], Camera] | None
    """From the table `[camera]`; None: the twin's, which is built with the other simulated parts."""
    look: Callable[[Any], Finding] | None = None
    """Whether it is there and may be used; None: only opening it tells."""
    demand: Callable[[Any], None] = lambda _camera: None
    """Raises InputError or HardwareError where it can't work as configured, whatever is plugged in."""
    computed: bool = False
    """Whether frames cost processor time and come when they are done."""
    settings: type[Struct] | None = None
    """Its table `[camera.<name>]`; every field has a default."""


@cache
def camera_kinds() -> Mapping[str, CameraKind]:
    """Every kind of camera, by name."""
    found: dict[str, CameraKind] = {}
    for module in pkgutil.iter_modules(package.__path__):
        kind: CameraKind | None = getattr(import_module(f"{package.__name__}.{module.name}"), "KIND", None)
        if kind is not None:
            found[kind.name] = kind
    return MappingProxyType(dict(sorted(found.items(), key=lambda item: item[0] != "twin")))


def camera_kind(name: str) -> CameraKind:
    """By name; InputError where there is none."""
    try:
        return camera_kinds()[name]
    except KeyError:
        raise InputError("no such kind of camera", expected=" | ".join(camera_kinds()), got=name) from None
