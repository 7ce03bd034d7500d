"""`holonode window`: tell the service that the impactor has a clean window."""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("what", choices=("changed",), help="changed: there is a clean window")


def execute(args: argparse.Namespace) -> int:
    """Leave a mark in the store, which the service finds before its next sample, running or not."""
    from pathlib import Path

    from device.config import load_config
    from device.errors import InputError
    from device.sampling.impactor.mode import MARKER

    folder = Path(load_config(args.config).storage.folder).expanduser()
    if not folder.is_dir():
        raise InputError(
            "there is no store yet", where=folder, expected="the storage.folder of the service",
            remedy="Name its configuration with --config.",
        )  # fmt: skip
    (folder / MARKER).touch()
    print(f"noted in {folder}: the next sample begins on a clean window")
    return 0
