"""HIDEF int8 against back-propagation at the true depth, by defocus, on simulated fields of another forward model.

`python -m tests.benchmarks.hidef_quality [FIELDS_PER_BIN]`; with the training extra and weights in runs/hidef the same
network in float32 is scored beside it.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from device.inference.store import ModelStore
from device.rig.models import ARTEFACTS
from models.recipes.hidef.one_pass import evaluate_bundle, table_lines


def main(fields_per_bin: int = 4) -> int:
    """Print the table."""
    weights = Path("runs/hidef/weights.weights.h5")
    able = weights.exists() and importlib.util.find_spec("keras") is not None
    print("simulated: multislice fields on a finer grid, the bioaerosol instrument's noise; medians with 95 % intervals")
    print(
        "\n".join(table_lines(evaluate_bundle(ModelStore(ARTEFACTS), fields_per_bin, float_weights=weights if able else None)))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(*(int(a) for a in sys.argv[1:2])))
