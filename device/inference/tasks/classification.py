"""From crops to names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from device.inference.bounds import label_objections, one_ended, shown
from device.inference.tasks.kinds import TaskKind

if TYPE_CHECKING:
    from device.inference.interpreter import Interpreter
    from device.inference.manifest import Manifest
    from device.inference.networks import ClassifierNetwork

__all__ = ["KIND"]

_OTHER = "other"
"""The output for what is none of the classes, after theirs."""


def _objections(manifest: Manifest) -> Iterator[str]:
    """Labels, and whether the outputs are theirs."""
    labels = manifest.labels
    yield from label_objections(labels)
    yield from one_ended(manifest)
    for which, tensor in manifest.gives.items():
        if tensor.channels not in (labels, (*labels, _OTHER)):
            yield f"{which}.channels {shown(tensor.channels)}: the labels {shown(labels)} in this order are expected, or these and {_OTHER!r}"


def _network(interpreter: Interpreter, manifest: Manifest) -> ClassifierNetwork:
    from device.inference.networks import ClassifierNetwork

    return ClassifierNetwork(interpreter, manifest)


KIND = TaskKind(
    name="classification", noun="the classifier", role="classifier", order=20,
    without='count without naming: analysis.classifier_model = ""', build=_network,
    setting="analysis.classifier_model", choice=lambda settings: settings.classifier, essential=False, objections=_objections,
)  # fmt: skip
