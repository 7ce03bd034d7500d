"""`holonode models`: the model store."""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "action", choices=("list", "verify"), help="list: what is there; verify: digest, manifest and self-test"
    )
    parser.add_argument("name", nargs="?", help="one bundle (default: all)")


def execute(args: argparse.Namespace) -> int:
    """List or verify bundles."""
    from device.app import model_store
    from device.config import load_config

    store = model_store(load_config(args.config))
    for name in [args.name] if args.name else store.names():
        bundle = store.find(name)
        manifest = bundle.manifest
        line = f"{manifest.name} {manifest.version}  {manifest.task}  {bundle.model.stat().st_size // 1024} kB  {manifest.sha256[:16]}"
        if args.action == "verify":
            store.open(name)
            line += "  verified: digest, manifest, golden self-test"
        print(line)
    return 0
