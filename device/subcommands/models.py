"""`holonode models`: the model store."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.strict_json import dumps
from device.text import say

if TYPE_CHECKING:
    from device.config import Config
    from device.inference.store import ModelBundle, ModelStore
    from device.optics.geometry import Geometry

__all__ = ["add_arguments", "execute"]

_ACTIONS = {
    "list": "what is there, where, and which version is active",
    "verify": "digest, manifest and golden self-test of every bundle, or of one",
    "install": "verify a bundle and copy it to this box; it isn't used before it is activated",
    "activate": "choose the version that a name stands for, from the next start of the service on",
    "rollback": "return to the version that was active before",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in _ACTIONS.items():
        sub = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == "install":
            sub.add_argument(
                "files", nargs="+", type=Path, metavar="FILE",
                help="NAME-VERSION.tflite with .toml and .npz beside it, or a .tar, .tar.gz, .tgz or .zip of the three",
            )  # fmt: skip
        elif name in ("activate", "rollback"):
            sub.add_argument("name", metavar="NAME", help="of the model")
        else:
            sub.add_argument("name", nargs="?", metavar="NAME", help="one name or NAME-VERSION (default: all)")
        if name == "activate":
            sub.add_argument("version", nargs="?", metavar="VERSION", help="default: the newest, installed or shipped")
        if name in ("install", "activate"):
            sub.add_argument("--force", action="store_true", help="also where its optics don't cover this instrument")
            sub.add_argument("--allow-older", action="store_true", help="also where a newer version is there or in use")
        sub.add_argument("--json", action="store_true", help="machine-readable output")
        # These belong to the command; here they may also follow the action.
        sub.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help="configuration")
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")


@dataclass(frozen=True)
class _BundleRow:
    """One bundle as `list` and `verify` show it; what a broken one doesn't tell is None."""

    name: str
    version: str
    task: str | None
    size_bytes: int | None
    sha256: str | None
    where: str
    """shipped, installed, or elsewhere."""
    path: str
    active: bool
    """What the name stands for."""
    broken: str | None
    """Why it can't be used."""

    def line(self, name_width: int) -> str:
        """For a person; `name_width` in characters."""
        size = "?" if self.size_bytes is None else f"{self.size_bytes // 1024} kB"
        names = f"{self.name:{name_width}} {self.version:8} {self.task or '?':14}"
        state = ", ".join(filter(None, ["active" if self.active else "", f"broken: {self.broken}" if self.broken else ""]))
        return f"{names} {size:>8}  {(self.sha256 or '?')[:16]:16}  {self.where:9}  {state}".rstrip()


def execute(args: argparse.Namespace) -> int:
    """0, or 4 where `verify` finds a bundle that can't be used."""
    from device.config import load_config
    from device.rig.models import model_store

    config = load_config(args.config)
    store = model_store(config)
    if args.action in ("list", "verify"):
        return _show(store, args)
    if args.action == "install":
        _install(store, args, config)
    elif args.action == "activate":
        _activate(store, args, config)
    else:
        _rollback(store, args)
    return 0


def _show(store: ModelStore, args: argparse.Namespace) -> int:
    verify = args.action == "verify"
    models = store.models(args.name)
    if args.name and not models:
        models = [store.find(args.name).model]
    active = {name: _active(store, name) for name in {model.stem.rpartition("-")[0] for model in models}}
    rows = [_row(store, model, active, verify=verify) for model in models]
    if args.json:
        print(dumps([asdict(row) for row in rows]))
    else:
        width = max((len(row.name) for row in rows), default=0)
        for row in rows:
            say(row.line(width) + ("  verified: digest, manifest, golden self-test" if verify and not row.broken else ""))
    passed_over = any(store.fault(name) for name in active if args.name in (None, name))
    return 4 if verify and (passed_over or any(row.broken for row in rows)) else 0


def _row(store: ModelStore, model: Path, active: dict[str, Path | None], *, verify: bool) -> _BundleRow:
    from device.errors import CheckError, InputError
    from device.inference.store import checked_by_name

    name, _, version = model.stem.rpartition("-")
    bundle, broken = None, None
    try:
        bundle = checked_by_name(model)
        if verify:
            store.open(str(model), afresh=True)
    except (InputError, CheckError) as error:
        broken = str(error)
    return _BundleRow(
        name, version,
        task=bundle.manifest.task if bundle else None,
        size_bytes=model.stat().st_size if model.is_file() else None,
        sha256=bundle.manifest.sha256 if bundle else None,
        where=_where(store, model),
        path=str(model),
        active=model == active[name],
        broken=broken,
    )  # fmt: skip


def _where(store: ModelStore, model: Path) -> str:
    if model.parent == store.installed:
        return "installed"
    return "shipped" if model.parent in store.shipped else "elsewhere"


def _active(store: ModelStore, name: str) -> Path | None:
    from device.errors import CheckError, InputError

    store.activations()  # a damaged file is an error here, not a model without an active version
    try:
        return store.find(name).model
    except (InputError, CheckError):
        return None


def _install(store: ModelStore, args: argparse.Namespace, config: Config) -> None:
    from device.inference.active import install

    for file in args.files:
        change = install(store, file, None if args.force else _geometry(config), allow_older=args.allow_older)
        manifest = change.bundle.manifest
        hint = f"It is used once activated: holonode models activate {manifest.name} {manifest.version}"
        _say(
            args,
            change.bundle,
            changed=change.changed,
            done="installed",
            already="is already there; nothing changed",
            hint=hint,
        )


def _activate(store: ModelStore, args: argparse.Namespace, config: Config) -> None:
    from device.inference.active import activate

    geometry = None if args.force else _geometry(config)
    change = activate(store, args.name, args.version, geometry, allow_older=args.allow_older)
    hint = f"From the next start of the service on; back again: holonode models rollback {change.bundle.manifest.name}"
    _say(args, change.bundle, changed=change.changed, done="activated", already="is already active; nothing changed", hint=hint)


def _rollback(store: ModelStore, args: argparse.Namespace) -> None:
    from device.inference.active import rollback

    bundle = rollback(store, args.name)
    _say(args, bundle, changed=True, done="active again", already="", hint="From the next start of the service on.")


def _geometry(config: Config) -> Geometry:
    """As the service has it: the configured instrument with its calibration."""
    from device.instrument import load_instrument
    from device.rig.records import calibrations

    return calibrations(config, load_instrument(config.device.instrument)).instrument.geometry


def _say(args: argparse.Namespace, bundle: ModelBundle, *, changed: bool, done: str, already: str, hint: str) -> None:
    manifest = bundle.manifest
    if args.json:
        answer: dict[str, Any] = {
            "name": manifest.name, "version": manifest.version, "sha256": manifest.sha256, "path": str(bundle.model),
            "changed": changed,
        }  # fmt: skip
        print(dumps(answer), flush=True)
        return
    named = f"{manifest.name} {manifest.version} ({manifest.sha256[:16]})"
    say(f"{named} {done}. {hint}" if changed else f"{named} {already}.")
