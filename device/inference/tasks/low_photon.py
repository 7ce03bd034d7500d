"""From the back-propagated field of a frame of few photons, and their number, to the field of what is there."""

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
_TOLD = (*_FIELD, "log10_photons")


def _objections(manifest: Manifest) -> Iterator[str]:
    yield from one_ended(manifest)
    for ends, channels in ((manifest.takes, _TOLD), (manifest.gives, _FIELD)):
        for which, tensor in ends.items():
            if tensor.channels != channels:
                yield f"{which}.channels {shown(tensor.channels)}: {shown(channels)} are expected"
    if manifest.optics.photons is None:
        yield "optics.photons is missing: the range of electrons a pixel is expected"


def _network(interpreter: Interpreter, manifest: Manifest) -> HidefNetwork:
    from device.inference.networks import HidefNetwork

    return HidefNetwork(interpreter, manifest)


KIND = TaskKind(
    name="low_photon", noun="the model for few photons", role="low_photon", order=15,
    without='take such frames as all others: analysis.low_photon_model = ""', build=_network,
    setting="analysis.low_photon_model",
    choice=lambda settings: settings.low_photon_model if settings.reconstruction == "hidef" else "",
    essential=False, deferred=True, objections=_objections,
)  # fmt: skip
