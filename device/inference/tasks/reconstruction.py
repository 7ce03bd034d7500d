"""From the back-propagated field to the field of what is there, all depths in focus: HIDEF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from device.inference.bounds import one_ended, shown
from device.inference.tasks.kinds import TaskKind

if TYPE_CHECKING:
    from device.inference.interpreter import Interpreter
    from device.inference.manifest import Manifest
    from device.inference.networks import HidefNetwork

__all__ = ["KIND"]

_FIELD = ("re_minus_1", "im")
"""What it takes and gives."""


def _objections(manifest: Manifest) -> Iterator[str]:
    if manifest.labels:
        yield f"labels {shown(manifest.labels)}: a reconstruction names nothing"
    yield from one_ended(manifest)
    for ends in (manifest.takes, manifest.gives):
        for which, tensor in ends.items():
            if tensor.channels != _FIELD:
                yield f"{which}.channels {shown(tensor.channels)}: {shown(_FIELD)} are expected"


def _network(interpreter: Interpreter, manifest: Manifest) -> HidefNetwork:
    from device.inference.networks import HidefNetwork

    return HidefNetwork(interpreter, manifest)


KIND = TaskKind(
    name="reconstruction", noun="the reconstruction model", role="reconstruction", order=10,
    without='go on by plain refocusing: analysis.reconstruction = "backpropagate"', build=_network,
    setting="analysis.reconstruction_model",
    choice=lambda settings: settings.reconstruction_model if settings.reconstruction == "hidef" else "",
    objections=_objections,
)  # fmt: skip
