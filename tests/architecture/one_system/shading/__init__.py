"""A learned system in one folder: what the box does with it (here), and how it is made.

recipe   the workshop's side
network  its file
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.inference.tasks.kinds import TaskKind

if TYPE_CHECKING:
    import numpy as np

    from device.inference.interpreter import Interpreter
    from device.inference.manifest import Manifest

__all__ = ["KIND", "ShadingNetwork"]


@dataclass(frozen=True)
class ShadingNetwork:
    """A row of shadows and the lamp's level in, edges and sizes out."""

    interpreter: Interpreter

    def judge(self, shadow: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(edge float32 [n, 8], size float32 [n, 2]) of shadow float32 [n, 8] and level float32 [n, 1]."""
        answer = self.interpreter.run_named({"shadow": shadow, "level": level})
        return answer["edge"], answer["size"]


def _objections(manifest: Manifest) -> Iterator[str]:
    if set(manifest.takes) != {"shadow", "level"} or set(manifest.gives) != {"edge", "size"}:
        yield "shadow and level in, edge and size out are expected"


KIND = TaskKind(
    name="shading", noun="the shading model", role="shading", order=30, without="leave analysis.models.shading out",
    build=lambda interpreter, _manifest: ShadingNetwork(interpreter), objections=_objections,
)  # fmt: skip
