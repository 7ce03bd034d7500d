"""`holonode doctor`: what is present, missing, wrong, and the command that mends it."""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")


def execute(args: argparse.Namespace) -> int:
    """0 where nothing failed, else 4."""
    import msgspec

    from device.app import model_store
    from device.config import load_config
    from device.health.checks import run_checks

    config = load_config(args.config)
    checks = run_checks(config, model_store(config))
    if args.json:
        print(msgspec.json.encode(checks).decode())
    else:
        for check in checks:
            value = " ".join(str(v) for v in (check.value, check.unit) if v is not None)
            print(f"{check.status:8} {check.name:18} {value}  {check.message}".rstrip())
            if check.remedy and check.status != "ok":
                print(f"{'':8} {'':18} -> {check.remedy}")
    return 4 if any(check.status == "failed" for check in checks) else 0
