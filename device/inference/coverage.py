"""Whether a model does what it is configured for on this instrument, and what would."""

from __future__ import annotations

from device.errors import CheckError, InputError
from device.inference.interpreter import Interpreter
from device.inference.manifest import Task
from device.inference.store import Bundle, ModelStore, checked_by_name
from device.optics.geometry import Geometry

__all__ = ["bundles_that_cover", "not_covered", "open_for"]

_SETTINGS = {
    "reconstruction": ("analysis.reconstruction_model", 'go on by plain refocusing: analysis.reconstruction = "backpropagate"'),
    "classification": ("analysis.classifier_model", 'count without naming: analysis.classifier_model = ""'),
}
"""Of each task: where its model is chosen, and how to do without one."""


def open_for(store: ModelStore, name: str, task: Task) -> tuple[Bundle, Interpreter]:
    """A verified bundle, ready to run; InputError where it was made for another task."""
    bundle, interpreter = store.open(name)
    if bundle.manifest.task != task:
        setting, without = _SETTINGS[task]
        others = sorted({_words(b) for b in _sound(store) if b.manifest.task == task})
        raise InputError(
            "this model does something else", where=f"{setting} = {name!r}", expected=f"a bundle for {task}",
            got=f"one for {bundle.manifest.task}",
            remedy=f"Set {setting} to one of: {', '.join(others) or 'none is installed'}; or {without}.",
        )  # fmt: skip
    return bundle, interpreter


def not_covered(store: ModelStore, bundle: Bundle, geometry: Geometry, refusal: str) -> InputError:
    """The error for a bundle whose optics don't cover a geometry, with what to do about it."""
    task = bundle.manifest.task
    setting, without = _SETTINGS[task]
    what = "the classifier" if task == "classification" else "the reconstruction model"
    fitting = [_words(other) for other in bundles_that_cover(store, task, geometry)]
    choice = f"Set {setting} to one that does: {', '.join(fitting)}; or " if fitting else "No bundle here covers it: "
    return InputError(
        f"{what} doesn't cover this instrument", where=bundle.model.name, got=refusal,
        remedy=f"{choice}make one (holonode-models finetune --help) and install it, correct device.instrument if it describes "
        f"another instrument, or {without}.",
    )  # fmt: skip


def bundles_that_cover(store: ModelStore, task: Task, geometry: Geometry) -> list[Bundle]:
    """Sound bundles for a task whose optics hold a geometry, installed or shipped, by name and version."""
    return [b for b in _sound(store) if b.manifest.task == task and b.manifest.refusal(geometry) is None]


def _sound(store: ModelStore) -> list[Bundle]:
    found: list[Bundle] = []
    for model in store.models():
        try:
            found.append(checked_by_name(model))
        except (InputError, CheckError):
            continue  # `holonode models verify` tells of it
    return found


def _words(bundle: Bundle) -> str:
    return f"{bundle.manifest.name}-{bundle.manifest.version}"
