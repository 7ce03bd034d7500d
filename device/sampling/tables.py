"""What the configuration holds of each way of sampling; found here, so that a configuration can be read before anything of it is built."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import MappingProxyType

from msgspec import Struct

import device.sampling as package

__all__ = ["SamplingTable", "sampling_tables"]


@dataclass(frozen=True, kw_only=True)
class SamplingTable:
    """The part of a descriptor that a configuration is made of."""

    name: str
    """As `sampling.mode` and records say it."""
    summary: str
    """What it does, for the configuration's reference."""
    settings: type[Struct] | None = None
    """Its table `[sampling.<name>]`; every field has a default."""
    settable: Mapping[str, tuple[float, float]] = field(default_factory=lambda: MappingProxyType({}))
    """Lowest and highest value of those settings that may be changed from afar."""


@cache
def sampling_tables() -> Mapping[str, SamplingTable]:
    """Every way of sampling, by name: the `KIND` of each folder's `kind.py`."""
    found: dict[str, SamplingTable] = {}
    for module in pkgutil.iter_modules(package.__path__):
        if module.ispkg:
            kind: SamplingTable = import_module(f"{package.__name__}.{module.name}.kind").KIND
            found[kind.name] = kind
    return MappingProxyType(dict(sorted(found.items(), key=lambda item: item[0] != "impactor")))
