"""The `holonode-models` command: train, export, evaluate, card, finetune."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from device.arguments import Parser, number, whole
from device.edge import at_the_edge, parsed
from device.errors import HardwareError, InputError
from device.installation import how_to_install
from device.output import output_folder

if TYPE_CHECKING:
    from models.training.classify import ClassifierRecipe

__all__ = ["main"]

CLASSIFIERS = ("bioaerosol", "water", "beads")
HIDEF = ("hidef", "hidef-small")
RECIPES = (*HIDEF, *CLASSIFIERS)
ROOT = Path(__file__).parent


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="holonode-models", description="Make and score the models that ship.")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    texts = {
        "train": "simulate and learn; resumes what is in the work folder",
        "export": "write an int8 bundle",
        "evaluate": "score the shipped int8 file",
        "card": "write the model card",
        "finetune": "adapt a shipped model to an instrument, from its own frames or labelled crops",
    }
    for name, text in texts.items():
        sub = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument("recipe", choices=RECIPES)
        sub.add_argument("--work", type=Path, default=Path("runs"), metavar="DIR", help="folder of trainings (default runs/)")
        sub.add_argument("--artefacts", type=Path, default=ROOT / "artefacts", metavar="DIR", help="folder of bundles")
        if name == "train":
            sub.add_argument(
                "--steps", type=whole(1, 100_000_000), default=14000, help="optimiser steps of hidef (default 14000)"
            )
            sub.add_argument(
                "--epochs", type=whole(1, 100_000), default=45, help="passes of a classifier over its crops (default 45)"
            )
            sub.add_argument(
                "--seconds",
                type=number(0, 1e9, above=True),
                metavar="S",
                help="time of training, over all sittings; ends it before --steps",
            )
        if name == "export":
            sub.add_argument(
                "--with-16-bit", action="store_true", help="also print what 16-bit activations would lose; hidef only"
            )
        if name in ("export", "finetune"):
            sub.add_argument("--version", required=True, metavar="X.Y.Z", help="one that isn't taken: bundles stay as they are")
        if name in ("train", "finetune"):
            sub.add_argument("--seed", type=whole(0, 2**31), default=1)
            sub.add_argument(
                "--threads",
                type=whole(1, 1024),
                metavar="N",
                help="processor cores (default: all; a GPU is used where there is one)",
            )
            sub.add_argument(
                "--start-from", metavar="BUNDLE", help="NAME, NAME-VERSION or .tflite whose weights are the first ones"
            )
        if name == "finetune":
            _add_finetune(sub)
        if name in ("evaluate", "card"):
            sub.add_argument(
                "--fields",
                type=whole(1, 10_000),
                default=4,
                help="test fields of hidef a bin (a recipe says how many of a classifier)",
            )
        if name == "card":
            sub.add_argument("--out", type=Path, metavar="DIR", help="folder of the card (default: the recipe's in --work)")
            sub.add_argument("--replace", action="store_true", help="also where a card of this bundle is there already")
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _add_finetune(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--frames", type=Path, metavar="FILE", help="of `holonode-calibrate transfer`: for hidef")
    sub.add_argument("--labels", type=Path, metavar="FILE", help="of `holonode review export`: for a classifier")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the bundle goes")
    sub.add_argument(
        "--cpu-minutes",
        type=number(0, 1e6, above=True),
        default=10.0,
        metavar="M",
        help="processor time of hidef's (default 10)",
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one action; returns its exit status."""
    args = parsed(_parser(), arguments)
    return at_the_edge(f"holonode-models {args.action}", lambda: _run(args), debug=args.debug)


def _run(args: argparse.Namespace) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    actions = {"train": _train, "export": _export, "evaluate": _evaluate, "card": _card, "finetune": _finetune}
    # Tried before hours of work.
    places = {"train": [args.work], "export": [args.artefacts], "finetune": [args.work, getattr(args, "out", args.work)]}
    for place in places.get(args.action, []):
        output_folder(place)
    try:
        actions[args.action](args)
    except ModuleNotFoundError as error:
        if error.name not in ("keras", "tensorflow"):
            raise
        raise HardwareError(f"{error.name} is missing", remedy=how_to_install("train")) from error
    return 0


def _train(args: argparse.Namespace) -> None:
    start_from = _start(args) if args.start_from else None
    if args.recipe not in HIDEF and (start_from or args.seconds):
        raise InputError(
            "this recipe doesn't train that way", where="--start-from, --seconds", expected="hidef", got=args.recipe,
            remedy=f"`holonode-models finetune {args.recipe} --labels FILE` goes on from a shipped classifier.",
        )  # fmt: skip
    _use_threads(args.threads)
    if args.recipe in HIDEF:
        from models.recipes import hidef
        from models.training.loop import Schedule

        schedule = Schedule(steps=args.steps, seconds=args.seconds or math.inf)
        hidef.run_training(args.work / args.recipe, schedule, args.seed, start_from, args.recipe)
    else:
        from device.inference.store import ModelStore
        from models.training.classify import Fit, run_training

        how = Fit(epochs=args.epochs, seed=args.seed)
        run_training(_classifier(args.recipe), args.work / args.recipe, ModelStore(args.artefacts), how)


def _export(args: argparse.Namespace) -> None:
    from models.training.export import check_free

    work = args.work / args.recipe
    check_free(args.artefacts, args.recipe, args.version)
    if args.with_16_bit and args.recipe not in HIDEF:
        raise InputError("this recipe has no 16-bit figure", where="--with-16-bit", expected="hidef", got=args.recipe)
    if args.recipe in HIDEF:
        from models.recipes import hidef

        print(hidef.export(work, args.artefacts, args.version, args.recipe, with_16_bit=args.with_16_bit))
    else:
        from device.inference.store import ModelStore
        from models.training.classify import export

        print(export(_classifier(args.recipe), work, ModelStore(args.artefacts), args.artefacts, args.version))


def _start(args: argparse.Namespace) -> Path:
    """The model file that training starts from: the one named, else the recipe's newest."""
    from device.inference.store import ModelStore

    return ModelStore(args.artefacts).find(args.start_from or args.recipe).model


def _use_threads(threads: int | None) -> None:
    """How many cores TensorFlow may use; before it has started."""
    if threads is None:
        return
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def _finetune(args: argparse.Namespace) -> None:
    wanted = "frames" if args.recipe in HIDEF else "labels"
    if getattr(args, wanted) is None or (args.frames and args.labels):
        source = "holonode-calibrate transfer FRAMES" if wanted == "frames" else "holonode review export --out FILE.npz"
        raise InputError(
            "nothing to adapt from", where=f"finetune {args.recipe}", expected=f"--{wanted} FILE alone",
            remedy=f"`{source}` writes one.",
        )  # fmt: skip
    from models.training.export import check_free

    start_from = _start(args)
    check_free(args.out, args.recipe, args.version)
    _use_threads(args.threads)
    path = _adapted(args, start_from) if args.recipe in HIDEF else _relearned(args, start_from)
    print(f"holonode models install {path}")
    print(f"holonode models activate {args.recipe} {args.version}")


def _adapted(args: argparse.Namespace, start_from: Path) -> Path:
    from models.recipes.hidef_transfer import Budget, finetune

    budget = Budget(minutes=args.cpu_minutes)
    found = finetune(args.frames, start_from, args.out, args.version, args.work, budget=budget, seed=args.seed)
    for check in found.checks:
        verdict = "" if check.decides else " (doesn't decide)"
        print(f"{check.name}: {check.before:.4f} before, {check.after:.4f} after{verdict}")
    print(f"{found.path}: self-test passed, {found.cpu_minutes:.1f} CPU minutes")
    return found.path


def _relearned(args: argparse.Namespace, start_from: Path) -> Path:
    from device.inference.store import ModelStore, checked, verify_golden_in_child
    from models.training.classifier_finetune import finetune_classifier

    found = finetune_classifier(
        args.work / args.recipe, checked(start_from), args.labels, args.out, args.version, store=ModelStore(args.artefacts)
    )
    verify_golden_in_child(checked(found.path))
    print(f"{found.labelled} labelled crops: balanced accuracy {found.before:.3f} before, {found.after:.3f} after (held back)")
    print(f"simulated crops: {found.simulated_before:.3f} before, {found.simulated_after:.3f} after")
    print(f"{found.path}: self-test passed")
    return found.path


def _classifier(name: str) -> ClassifierRecipe:
    from importlib import import_module

    return import_module(f"models.recipes.{name}").RECIPE


def _lines(args: argparse.Namespace) -> list[str]:
    from device.inference.store import ModelStore

    store = ModelStore(args.artefacts)
    if args.recipe in HIDEF:
        from models.recipes import hidef

        return hidef.report_lines(store, args.fields, args.recipe)
    from models.training.scoring import evaluate, table_lines

    recipe = _classifier(args.recipe)
    return table_lines(evaluate(recipe, args.work / args.recipe, store), recipe.labels)


def _evaluate(args: argparse.Namespace) -> None:
    print("\n".join(_lines(args)))


def _card(args: argparse.Namespace) -> None:
    from models.training.cards import card_path, write_card

    path = card_path(args.recipe, args.artefacts, args.out or args.work / args.recipe, replace=args.replace)
    write_card(args.recipe, args.artefacts, args.work / args.recipe, path, _lines(args))
    print(path)


if __name__ == "__main__":
    sys.exit(main())
