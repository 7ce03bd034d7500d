"""From an image of some channels to one of others: what commands and the review page use, never a frame's own way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from device.inference.tasks.kinds import TaskKind

if TYPE_CHECKING:
    from device.inference.interpreter import Interpreter
    from device.inference.manifest import Manifest
    from device.inference.networks import ImageNetwork

__all__ = ["KIND"]


def _build(interpreter: Interpreter, manifest: Manifest) -> ImageNetwork:
    from device.inference.networks import ImageNetwork

    return ImageNetwork(interpreter, manifest)


def _objections(manifest: Manifest) -> Iterator[str]:
    from device.inference.bounds import one_ended

    yield from one_ended(manifest)
    for which, tensor in (("input", manifest.input), ("output", manifest.output)):
        if tensor is not None and len(tensor.shape) != 4:
            yield f"{which}.shape {list(tensor.shape)}: 4 axes are expected of an image"


KIND = TaskKind(
    name="image",
    noun="the image network",
    role="image",
    order=90,
    without="leave out the option that asks for it",
    build=_build,
    setting="the command that uses it",
    choice=lambda _settings: "",
    essential=False,
    objections=_objections,
)
