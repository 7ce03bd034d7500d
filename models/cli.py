"""The `holonode-models` command: train, export, evaluate, card."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from device.errors import HolonodeError, InputError

__all__ = ["main"]

RECIPES = ("hidef", "classifier")
ROOT = Path(__file__).parent


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="holonode-models", description="Make and score the models that ship.")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    texts = {
        "train": "simulate and learn; resumes what is in the work folder",
        "export": "write an int8 bundle",
        "evaluate": "score the shipped int8 file",
        "card": "write the model card",
    }
    for name, text in texts.items():
        sub = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument("recipe", choices=RECIPES)
        sub.add_argument("--work", type=Path, default=Path("runs"), metavar="DIR", help="folder of trainings (default runs/)")
        sub.add_argument("--artefacts", type=Path, default=ROOT / "artefacts", metavar="DIR", help="folder of bundles")
        if name == "train":
            sub.add_argument("--steps", type=int, default=14000, help="optimiser steps of hidef (default 14000)")
            sub.add_argument("--fields", type=int, default=150, help="simulated fields for the classifier (default 150)")
            sub.add_argument("--seed", type=int, default=1)
        if name == "export":
            sub.add_argument("--version", required=True, metavar="X.Y.Z")
        if name in ("evaluate", "card"):
            sub.add_argument("--fields", type=int, default=4, help="test fields, of hidef a bin, of the classifier times eight")
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one action; returns its exit status."""
    args = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        {"train": _train, "export": _export, "evaluate": _evaluate, "card": _card}[args.action](args)
    except HolonodeError as error:
        if args.debug:
            raise
        print(f"holonode-models {args.action}: {error}", file=sys.stderr)
        return error.exit_status
    except ModuleNotFoundError as error:
        if args.debug or error.name not in ("keras", "tensorflow"):
            raise
        print(
            f"holonode-models {args.action}: {error.name} is missing; install the extra: pip install 'holonode[train]'.",
            file=sys.stderr,
        )
        return 3
    return 0


def _train(args: argparse.Namespace) -> None:
    if args.steps < 1 or args.fields < 10:
        raise InputError("nothing to learn from", expected="--steps 1 or more, --fields 10 or more")
    if args.recipe == "hidef":
        from models.recipes import hidef
        from models.training.loop import Schedule

        hidef.run_training(args.work / "hidef", Schedule(steps=args.steps), args.seed)
    else:
        from device.inference.store import ModelStore
        from models.recipes import classifier

        classifier.run_training(args.work / "classifier", ModelStore(args.artefacts), fields=args.fields, seed=args.seed)


def _export(args: argparse.Namespace) -> None:
    from models.recipes import classifier, hidef

    recipe = hidef if args.recipe == "hidef" else classifier
    print(recipe.export(args.work / args.recipe, args.artefacts, args.version))


def _lines(args: argparse.Namespace) -> list[str]:
    from device.inference.store import ModelStore
    from models.recipes import classifier, hidef

    store = ModelStore(args.artefacts)
    if args.recipe == "hidef":
        return hidef.table_lines(hidef.evaluate_bundle(store, args.fields))
    return classifier.table_lines(classifier.evaluate_bundle(store, args.fields * 8))


def _evaluate(args: argparse.Namespace) -> None:
    print("\n".join(_lines(args)))


def _card(args: argparse.Namespace) -> None:
    from models.training.cards import write_card

    print(write_card(args.recipe, args.artefacts, args.work / args.recipe, ROOT / "cards", _lines(args)))


if __name__ == "__main__":
    sys.exit(main())
