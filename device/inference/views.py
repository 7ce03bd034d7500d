"""The networks of computed views (device.analysis.views), opened for whoever looks."""

from __future__ import annotations

from device.analysis.views import BRIGHTFIELD
from device.errors import InputError
from device.inference.networks import ImageNetwork
from device.inference.store import ModelStore

__all__ = ["open_brightfield"]

_CHANNELS = ("re_minus_1", "im"), ("intensity_minus_1",)


def open_brightfield(store: ModelStore) -> ImageNetwork | None:
    """The network of the view; None where none is installed, InputError where that bundle is another kind of network."""
    if BRIGHTFIELD not in store.names():
        return None
    bundle, interpreter = store.open(BRIGHTFIELD)
    channels = tuple(bundle.manifest.takes["input"].channels), tuple(bundle.manifest.gives["output"].channels)
    if channels != _CHANNELS:
        raise InputError(
            "the brightfield view takes other channels", where=f"{BRIGHTFIELD} {bundle.manifest.version}", expected=_CHANNELS,
            got=channels, remedy="Install a bundle of this version of the program.",
        )  # fmt: skip
    return ImageNetwork(interpreter, bundle.manifest)
