"""Options of recipes that learn with Keras, and what follows from them."""

from __future__ import annotations

import argparse
from pathlib import Path

from device.arguments import whole

__all__ = ["add_learning", "add_start_from", "start_file", "use_threads"]


def add_learning(parser: argparse.ArgumentParser) -> None:
    """`--seed` and `--threads`."""
    parser.add_argument("--seed", type=whole(0, 2**31), default=1)
    parser.add_argument(
        "--threads", type=whole(1, 1024), metavar="N", help="processor cores (default: all; a GPU is used where there is one)"
    )


def add_start_from(parser: argparse.ArgumentParser) -> None:
    """`--start-from`."""
    parser.add_argument("--start-from", metavar="BUNDLE", help="NAME, NAME-VERSION or .tflite whose weights are the first ones")


def start_file(artefacts: Path, name: str) -> Path:
    """The model file that training starts from; InputError where there is none of this name."""
    from device.inference.store import ModelStore

    return ModelStore(artefacts).find(name).model


def use_threads(threads: int | None) -> None:
    """How many cores TensorFlow may use; before it has started."""
    if threads is None:
        return
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
