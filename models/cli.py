"""The `holonode-models` command: simulate, train, export, evaluate, card, finetune; each recipe adds its own options."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from device.arguments import Parser
from device.edge import at_the_edge, parsed
from device.errors import CheckError, HardwareError
from device.installation import how_to_install
from device.output import output_folder
from models.recipes.protocol import TrainingRecipe, recipes

__all__ = ["main"]

ROOT = Path(__file__).parent

_ACTIONS = {
    "simulate": "render what it learns from, before or without training",
    "train": "simulate and learn; resumes what is in the work folder",
    "export": "write an int8 bundle",
    "evaluate": "score the shipped int8 file",
    "card": "write the model card",
    "finetune": "adapt a shipped model to an instrument, from its own frames or labelled crops",
}


class _RecipeParser(Parser):
    """Of one action of one recipe: an option that it hasn't is an error that says why, and what it has."""

    def __init__(self, *, recipe: TrainingRecipe | None = None, action: str = "", **settings: Any) -> None:
        super().__init__(**settings)
        self.recipe, self.action = recipe, action

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]  its overloads tell namespaces apart
        self, args: Any = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """argparse's, which nothing unknown gets through."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown and self.recipe:
            option = unknown[0].partition("=")[0]
            others = [name for name, other in recipes().items() if option in _options(other, self.action)]
            own = " ".join(self.format_usage().split()[4:])
            reason = self.recipe.cannot.get(option) or (f"an option of {', '.join(others)}" if others else "no such option")
            self.error(f"{' '.join(unknown)}: {reason}; expected {own}")
        return found, unknown


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="holonode-models", description="Make and score the models that ship.")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, text in _ACTIONS.items():
        said = text[0].upper() + text[1:] + "."
        names = actions.add_parser(action, help=text, description=said).add_subparsers(
            dest="recipe", metavar="RECIPE", required=True, parser_class=_RecipeParser
        )
        for name, recipe in recipes().items():
            about = f"{said} {name}: {recipe.summary}."
            leaf = names.add_parser(name, help=recipe.summary, description=about, recipe=recipe, action=action)
            _add_common(leaf, action)
            recipe.options(action, leaf)
    return parser


def _add_common(leaf: argparse.ArgumentParser, action: str) -> None:
    leaf.add_argument("--work", type=Path, default=Path("runs"), metavar="DIR", help="folder of trainings (default runs/)")
    leaf.add_argument("--artefacts", type=Path, default=ROOT / "artefacts", metavar="DIR", help="folder of bundles")
    if action in ("export", "finetune"):
        leaf.add_argument("--version", required=True, metavar="X.Y.Z", help="one that isn't taken: bundles stay as they are")
    if action == "finetune":
        leaf.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the bundle goes")
    if action == "card":
        leaf.add_argument("--out", type=Path, metavar="DIR", help="folder of the card (default: the recipe's in --work)")
        leaf.add_argument("--replace", action="store_true", help="also where a card of this bundle is there already")
    leaf.add_argument("--debug", action="store_true", help="show tracebacks")


def _options(recipe: TrainingRecipe, action: str) -> set[str]:
    own = argparse.ArgumentParser(add_help=False)
    recipe.options(action, own)
    return set(own._option_string_actions)  # noqa: SLF001  argparse has no public way to them


def _recipe_first(arguments: Sequence[str]) -> list[str]:
    """`ACTION --option VALUE RECIPE` as `ACTION RECIPE --option VALUE`."""
    action, *rest = arguments or [""]
    last = max((k for k, word in enumerate(rest) if word in recipes()), default=0)
    if action not in _ACTIONS or not last or not rest[0].startswith("-"):
        return list(arguments)
    return [action, rest[last], *rest[:last], *rest[last + 1 :]]


def main(arguments: list[str] | None = None) -> int:
    """Run one action; returns its exit status."""
    args = parsed(_parser(), _recipe_first(sys.argv[1:] if arguments is None else arguments))
    return at_the_edge(f"holonode-models {args.action}", lambda: _run(args), debug=args.debug)


def _run(args: argparse.Namespace) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Tried before hours of work.
    writes = {"simulate": ("work",), "train": ("work",), "export": ("artefacts",), "finetune": ("work", "out")}
    for place in writes.get(args.action, ()):
        output_folder(getattr(args, place))
    recipe = recipes()[args.recipe]
    try:
        _act(recipe, args)
    except ModuleNotFoundError as error:
        if error.name not in ("keras", "tensorflow"):
            raise
        raise HardwareError(f"{error.name} is missing", remedy=how_to_install("train")) from error
    return 0


def _act(recipe: TrainingRecipe, args: argparse.Namespace) -> None:
    match args.action:
        case "simulate":
            recipe.simulate(args)
        case "train":
            recipe.train(args)
        case "export":
            _refuse_taken(args.artefacts, args)
            print(recipe.export(args))
        case "evaluate":
            print("\n".join(_lines(args)))
        case "card":
            _card(recipe, args)
        case _:
            _refuse_taken(args.out, args)
            name, _, version = recipe.finetune(args).stem.rpartition("-")
            print(f"holonode models install {args.out / f'{name}-{version}.tflite'}")
            print(f"holonode models activate {name} {version}")


def _refuse_taken(folder: Path, args: argparse.Namespace) -> None:
    from models.training.export import check_free

    check_free(folder, args.recipe, args.version)


def _lines(args: argparse.Namespace) -> list[str]:
    """The evaluation; CheckError where nothing stands beside its figures."""
    recipe = recipes()[args.recipe]
    lines = recipe.evaluate(args)
    if missing := [name for name in recipe.baselines if not any(name in line for line in lines)]:
        raise CheckError(
            "the evaluation has nothing to stand beside", where=args.recipe, expected=missing[0], got="no such row"
        )
    return lines


def _card(recipe: TrainingRecipe, args: argparse.Namespace) -> None:
    from models.training.cards import card_path, write_card

    path = card_path(args.recipe, args.artefacts, args.out or args.work / args.recipe, replace=args.replace)
    write_card(args.recipe, recipe.card(args), args.artefacts, path, _lines(args))
    print(path)


if __name__ == "__main__":
    sys.exit(main())
