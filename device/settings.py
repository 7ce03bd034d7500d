"""Settings that may be changed from afar while the service runs, and what they make of a configuration.

Only what can't cost the box: nothing here moves a secret, an address, a driver or the store. Bounds are those of the
configuration itself, and narrower ones where its own let a box pump or wait for ever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from device.config import Config
from device.errors import InputError
from device.sampling.tables import sampling_tables

__all__ = ["SETTABLE", "STATE_KEY", "Value", "changed", "overlaid", "overlay_of"]

STATE_KEY = "settings"
"""In the store: what was changed, by dotted key."""

Value = Annotated[int, Meta(ge=-(2**53), le=2**53)] | float | None
"""None: the configuration file's."""

SETTABLE: dict[str, tuple[float, float]] = {
    "sampling.pause_s": (0, 86_400),
    "sampling.sample_volume_l": (0.1, 1000),
    "sampling.settle_s": (0, 600),
    "sampling.window_intervals": (1, 10_000),
    "sampling.window_most_hidden": (0.01, 0.9),
    "sampling.schedule.every_s": (1, 604_800),
    "analysis.min_esd_um": (0, 1000),
    "analysis.max_esd_um": (1, 10_000),
    "analysis.reject_below": (0, 1),
    "analysis.refine_iterations": (0, 20),
    "analysis.refine_most_particles": (0, 100_000),
    **{f"sampling.{k.name}.{key}": bounds for k in sampling_tables().values() for key, bounds in k.settable.items()},
}
"""Lowest and highest value by dotted key."""


def changed(config: Config, overlay: Mapping[str, Value], wanted: Mapping[str, Value]) -> dict[str, Value]:
    """The overlay with what is wanted; None takes a setting back to the file's. InputError where one can't be."""
    for key, value in wanted.items():
        if key not in SETTABLE:
            raise InputError("this setting can't be changed from afar", where=key, expected=" | ".join(SETTABLE))
        low, high = SETTABLE[key]
        if value is not None and not low <= value <= high:
            raise InputError("a setting is out of bounds", where=key, expected=f"{low:g} to {high:g}", got=value)
    merged: dict[str, Value] = {key: value for key, value in {**overlay, **wanted}.items() if value is not None}
    overlaid(config, merged)
    return merged


def overlaid(config: Config, overlay: Mapping[str, Value]) -> Config:
    """The configuration with an overlay; InputError where it isn't one any more."""
    if not overlay:
        return config
    tree: dict[str, Any] = msgspec.to_builtins(config)
    for key, value in overlay.items():
        *path, last = key.split(".")
        table = tree
        for part in path:
            table = table.get(part, {})
        if last not in table or key not in SETTABLE:
            raise InputError("this setting can't be changed from afar", where=key, expected=" | ".join(SETTABLE))
        table[last] = value
    try:
        found = msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$.")
        expected, _, got = message.removeprefix("Expected ").partition(", got ")
        where = re.sub(r"`$", "", place) or "the settings"
        raise InputError("bad value for a setting", where=where, expected=expected, got=got or overlay.get(where)) from error
    if found.analysis.min_esd_um >= found.analysis.max_esd_um:
        raise InputError(
            "no particle could be between these sizes", where="analysis.min_esd_um", expected=f"less than {found.analysis.max_esd_um:g}",
            got=found.analysis.min_esd_um,
        )  # fmt: skip
    return found


def overlay_of(state: str | None) -> dict[str, Value]:
    """What the store holds under STATE_KEY; empty where it holds none, or another version's."""
    if state is None:
        return {}
    try:
        return msgspec.json.decode(state, type=dict[str, Value])
    except msgspec.DecodeError:
        return {}
