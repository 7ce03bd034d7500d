"""`holonode web`: the dashboard's one-time code, and the fingerprint of its certificate."""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "what", choices=("code", "fingerprint"),
        help="code: a code that sets the dashboard's passwords once, within a quarter of an hour; fingerprint: of its certificate, "
        "to compare with what a browser shows",
    )  # fmt: skip


def execute(args: argparse.Namespace) -> int:
    """Print one of them, the service running or not."""
    from pathlib import Path

    from device.config import load_config
    from device.errors import InputError
    from device.web.api.table import certificate_of
    from device.web.security.access_store import AccessStore
    from device.web.security.own_certificate import fingerprint_of

    config = load_config(args.config)
    folder = Path(config.storage.folder).expanduser()
    if not folder.is_dir():
        raise InputError(
            "there is no store yet", where=folder, expected="the storage.folder of the service",
            remedy="Name its configuration with --config, or start the service first.",
        )  # fmt: skip
    if args.what == "code":
        store = AccessStore(folder)
        print(store.new_code())
        store.close()
        return 0
    files = certificate_of(folder, config.device.id, config.web)
    if files is None:
        raise InputError(
            "the dashboard has no certificate", where="web.address", got=config.web.address, remedy="On loopback it needs none."
        )
    print(fingerprint_of(files[0]))
    return 0
