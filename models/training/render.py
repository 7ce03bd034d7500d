"""Render samples into a pool until ended: `python -m models.training.render MODULE FOLDER CAPACITY SEED H W C`."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from models.training.pool import Pool


def main(arguments: list[str]) -> None:
    """Fill the pool; stops when the process that started it is gone."""
    module, folder, capacity, seed, *shape = arguments
    pool = Pool(Path(folder), int(capacity), (int(shape[0]), int(shape[1]), int(shape[2])))
    parent = os.getppid()
    # What was rendered before a restart is not rendered again.
    for batch in importlib.import_module(module).samples(int(seed) + pool.written):
        if len(batch):
            pool.write(batch)
        if os.getppid() != parent:
            return


if __name__ == "__main__":
    main(sys.argv[1:])
