"""Whether a model does what it is configured for on this instrument, and what would."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from device.errors import CheckError, InputError
from device.inference.store import ModelBundle, ModelStore, checked_by_name
from device.inference.tasks.kinds import TaskKind, task_kind
from device.optics.geometry import Geometry

__all__ = ["Opened", "bundles_that_cover", "not_covered", "open_for"]


@dataclass(frozen=True)
class Opened:
    """A verified bundle, and its network where it covers the instrument."""

    kind: TaskKind
    bundle: ModelBundle
    network: Any
    """In physical terms, as the task builds it, or of a deferred task what opens that; None where the optics aren't covered."""
    refusal: str | None
    """Why its optics don't cover the instrument; None where they do."""


def open_for(store: ModelStore, name: str, kind: TaskKind, geometry: Geometry) -> Opened:
    """A verified bundle for a task; InputError where it was made for another task or for another program."""
    bundle, interpreter = store.open(name)
    if bundle.manifest.task != kind.name:
        others = sorted({_words(b) for b in _sound(store) if b.manifest.task == kind.name})
        raise InputError(
            "this model does something else", where=f"{kind.chosen_in} = {name!r}", expected=f"a bundle for {kind.name}",
            got=f"one for {bundle.manifest.task}",
            remedy=f"Set {kind.chosen_in} to one of: {', '.join(others) or 'none is installed'}; or {kind.without}.",
        )  # fmt: skip
    refusal = kind.refusal(bundle.manifest, geometry)
    if refusal:
        return Opened(kind, bundle, None, refusal)
    if kind.deferred:
        return Opened(kind, bundle, cache(lambda: kind.build(store.open(name)[1], bundle.manifest)), None)
    return Opened(kind, bundle, kind.build(interpreter, bundle.manifest), None)


def not_covered(store: ModelStore, bundle: ModelBundle, geometry: Geometry, refusal: str) -> InputError:
    """The error for a bundle whose optics don't cover a geometry, with what to do about it."""
    kind = task_kind(bundle.manifest.task)
    fitting = [_words(other) for other in bundles_that_cover(store, kind, geometry)]
    choice = f"Set {kind.chosen_in} to one that does: {', '.join(fitting)}; or " if fitting else "No bundle here covers it: "
    return InputError(
        f"{kind.noun} doesn't cover this instrument", where=bundle.model.name, got=refusal,
        remedy=f"{choice}make one (holonode-models finetune --help) and install it, correct device.instrument if it describes "
        f"another instrument, or {kind.without}.",
    )  # fmt: skip


def bundles_that_cover(store: ModelStore, kind: TaskKind, geometry: Geometry) -> list[ModelBundle]:
    """Sound bundles for a task whose optics hold a geometry, installed or shipped, by name and version."""
    return [b for b in _sound(store) if b.manifest.task == kind.name and kind.refusal(b.manifest, geometry) is None]


def _sound(store: ModelStore) -> list[ModelBundle]:
    found: list[ModelBundle] = []
    for model in store.models():
        try:
            found.append(checked_by_name(model))
        except (InputError, CheckError):
            continue  # `holonode models verify` tells of it
    return found


def _words(bundle: ModelBundle) -> str:
    return f"{bundle.manifest.name}-{bundle.manifest.version}"
