"""Model cards: what a bundle is, what it was made from, how it scores, where it fails."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from device.errors import CheckError, InputError
from device.inference.manifest import Manifest
from device.inference.store import ModelStore

__all__ = ["CardText", "card_path", "write_card"]

_NO_FIGURE = re.compile(r"\b(nan|inf)\b", re.IGNORECASE)


@dataclass(frozen=True)
class CardText:
    """What a card says besides figures and facts; Markdown."""

    task: str
    """What the model does."""
    data: str
    """What it learned from."""
    scored: str
    """What it was scored on."""
    limits: str
    """Where it fails."""
    training: tuple[str, ...] = ()
    """Lines about this training."""
    further: tuple[str, ...] = ()
    """Lines of further sections."""


def card_path(recipe: str, artefacts: Path, folder: Path, *, replace: bool) -> Path:
    """Where the card of a recipe's newest bundle goes; InputError where one lies there and isn't to be replaced."""
    manifest = ModelStore(artefacts).find(recipe).manifest
    path = folder / f"{manifest.name}-{manifest.version}.md"
    if path.exists() and not replace:
        raise InputError(
            "there is a card of this bundle already", where=path, expected="a folder without one", got="a card",
            remedy="Name another folder with --out, or say --replace.",
        )  # fmt: skip
    return path


def write_card(recipe: str, text: CardText, artefacts: Path, path: Path, table: list[str]) -> None:
    """Write the card of a recipe's newest bundle; `table` is its evaluation as Markdown.

    CheckError, and nothing is written, where a figure of it is none.
    """
    empty = [line for line in table if _NO_FIGURE.search(line)]
    if empty:
        raise CheckError(
            "the evaluation gave no figure", where=path, expected="a number in every row", got=empty[0].strip(),
            remedy="Score more fields (--fields), or mend the evaluation; no card was written.",
        )  # fmt: skip
    bundle = ModelStore(artefacts).find(recipe)
    manifest = bundle.manifest
    lines = [
        f"# {manifest.name} {manifest.version}", "", text.task, "",
        "| | |", "|---|---|", *_facts(manifest, bundle.model), "",
        "## Trained on", "", text.data, *text.training, "",
        "## Scored on", "", text.scored, "", *table, "",
        "## Limits", "", text.limits, "", *text.further, "",
        f"Made by `holonode-models card {recipe}`.",
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(path)


def _facts(manifest: Manifest, model: Path) -> list[str]:
    optics = manifest.optics
    dtypes = dict.fromkeys(tensor.dtype for tensor in manifest.takes.values())
    return [
        f"| file | {model.name}, {model.stat().st_size // 1024} kB, {', '.join(dtypes)} |",
        f"| SHA-256 | {manifest.sha256} |",
        *(f"| {name} | {list(tensor.shape)}: {', '.join(tensor.channels)} |" for name, tensor in manifest.takes.items()),
        f"| covers | defocus number {optics.defocus_number[0]:g} to {optics.defocus_number[1]:g}, "
        f"wavelength {optics.wavelength_um[0]:g} to {optics.wavelength_um[1]:g} um, pitch {optics.pitch_um[0]:g} to {optics.pitch_um[1]:g} um |",
        f"| recipe | models/recipes/{manifest.recipe.name.replace('.', '/')} at {manifest.recipe.commit} |",
    ]
