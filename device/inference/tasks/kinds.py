"""What a task says of itself; a descriptor is cheap to import, its network is imported when it is built."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import device.inference.tasks as package
from device.errors import InputError

if TYPE_CHECKING:
    from device.config import AnalysisConfig
    from device.inference.interpreter import Interpreter
    from device.inference.manifest import Manifest
    from device.optics.geometry import Geometry

__all__ = ["TaskKind", "refuse_unknown_tasks", "task_kind", "task_kinds"]


def _nothing(_manifest: Manifest) -> Iterator[str]:
    yield from ()


def _by_optics(manifest: Manifest, geometry: Geometry) -> str | None:
    return manifest.refusal(geometry)


@dataclass(frozen=True, kw_only=True)
class TaskKind:
    """One task: what its bundles are, how they are opened and checked, and what they are for."""

    name: str
    """As manifests say it, and `[analysis.models]` where it has no setting of its own."""
    noun: str
    """Its model in an error: "the classifier"."""
    role: str
    """Its key in the records' `models`."""
    order: int
    """Its place on a frame's way, the smallest first."""
    without: str
    """How to do without one, for a person."""
    build: Callable[[Interpreter, Manifest], Any]
    """Its network in physical terms; InputError where the bundle was made for another program."""
    setting: str = ""
    """Where its model is chosen; empty: in `[analysis.models]`, by the task's name."""
    choice: Callable[[AnalysisConfig], str] | None = None
    """Name of the bundle there; empty: none."""
    essential: bool = True
    """Whether recordings that its model doesn't cover are refused; False: they are analysed without it, and records say so."""
    deferred: bool = False
    """Whether its model is tested at the start, but opened when the first frame asks for it: one that few boxes ever use."""
    objections: Callable[[Manifest], Iterator[str]] = _nothing
    """What a manifest of the task claims that can't be, beyond what no manifest may."""
    refusal: Callable[[Manifest, Geometry], str | None] = _by_optics
    """Why a bundle doesn't cover a recording geometry; None where it does."""

    def chosen(self, settings: AnalysisConfig) -> str:
        """Name of the bundle that a configuration asks for; empty: none."""
        return self.choice(settings) if self.choice else settings.models.get(self.name, "")

    @property
    def chosen_in(self) -> str:
        """The setting that names its bundle."""
        return self.setting or f"analysis.models.{self.name}"


@cache
def task_kinds() -> Mapping[str, TaskKind]:
    """Every task, by name, in the order of a frame's way."""
    found: list[TaskKind] = []
    for module in pkgutil.iter_modules(package.__path__):
        kind: TaskKind | None = getattr(import_module(f"{package.__name__}.{module.name}"), "KIND", None)
        if kind is not None:
            found.append(kind)
    return MappingProxyType({kind.name: kind for kind in sorted(found, key=lambda kind: (kind.order, kind.name))})


def task_kind(name: str) -> TaskKind:
    """By name; InputError where there is none."""
    try:
        return task_kinds()[name]
    except KeyError:
        raise InputError("no such task", expected=" | ".join(task_kinds()), got=name) from None


def refuse_unknown_tasks(settings: AnalysisConfig) -> None:
    """InputError where a configuration names a model for a task that there isn't, or that has a setting of its own."""
    further = [kind.name for kind in task_kinds().values() if kind.choice is None]
    if unknown := sorted(set(settings.models) - set(further)):
        own = {kind.name: f"Its model is set by {kind.chosen_in}." for kind in task_kinds().values() if kind.choice}
        raise InputError(
            "no further task has this name", where=f"analysis.models.{unknown[0]}", expected=" | ".join(further) or "none",
            got=unknown[0], remedy=own.get(unknown[0], "Correct it, or leave it out."),
        )  # fmt: skip
