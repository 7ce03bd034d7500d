"""Model cards: what a bundle is, what it was made from, how it scores, where it fails."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.errors import CheckError, InputError
from device.inference.manifest import Manifest
from device.inference.store import ModelStore

if TYPE_CHECKING:
    from models.training.classify import ClassifierRecipe

__all__ = ["card_path", "write_card"]

_NO_FIGURE = re.compile(r"\b(nan|inf)\b", re.IGNORECASE)

_TEXTS: dict[str, dict[str, str]] = {
    "hidef": {
        "task": "One pass turns a back-propagated in-line hologram into the field of all particles in focus, without the twin image.",
        "data": "Simulated only: random scenes in dimensionless units, every particle a few slabs of its own thickness that scatters on its "
        "own (models/recipes/hidef_scenes.py). No recorded hologram took part in training.",
        "scored": "Fields by the `multislice` model on a grid twice as fine, carried from particle to particle, with the bioaerosol "
        "instrument's light, noise and bits; metrics are particle-local, of particles 96 pixels and more from the border, medians over particles with 95 % bootstrap intervals. Simulated accuracy, not field accuracy. "
        "`complex_error` is |field - truth| / |truth| over the particle's box. Below, what each stage of the box knows, ring by ring: "
        "one pass, the second look at the depth found without iterations, and refinement from there.",
        "limits": "Particles under about 3 pixels are smoothed away. Where a particle delays light by more than about 2 pi between "
        "neighbouring pixels its phase is not recovered. The sign of a weak phase is a prior (denser than the medium), not a "
        "measurement. Outside +-100 um at the nominal instrument it was never trained; the table's outer rows show what happens.",
    },
}  # fmt: skip


def _classifier_texts(name: str) -> dict[str, str]:
    from importlib import import_module

    recipe: ClassifierRecipe = import_module(f"models.recipes.{name}").RECIPE
    held_out = ", ".join(m.name for m in recipe.never_seen)
    return {
        "task": "Names a particle from its reconstructed field; size is an input, not scaled away. Calibrated probabilities, 90 % "
        "prediction sets class by class (Mondrian conformal), 'unknown' for what is none of the classes.",
        "data": "Simulated only: crops that the box's own pipeline cuts (shipped int8 HIDEF file, refinement, segmentation) from frames by "
        "`multislice` waves, each particle scattering on its own on the pixels' grid, contrast and wavelength varied; the output 'other' "
        "learns from procedural shapes (models/training/strangers.py).",
        "scored": "The int8 file behind the int8 HIDEF file and refinement, on frames of another forward model: the wave carried from "
        "particle to particle on a finer grid, three wavelengths, seeds of their own. All classes equally frequent. Temperature, "
        "sets and threshold were fitted on other frames of this model. Intervals are 95 %, frames drawn again. Never shown in "
        f"training: {held_out}. Simulated accuracy, not field accuracy: real lensless pollen with simulation-trained networks "
        "scores far lower in the literature.",
        "limits": recipe.limits,
    }


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


def write_card(recipe: str, artefacts: Path, work: Path, path: Path, table: list[str]) -> None:
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
    family = recipe.removesuffix("-small")
    manifest, text = bundle.manifest, _TEXTS[family] if family in _TEXTS else _classifier_texts(recipe)
    lines = [
        f"# {manifest.name} {manifest.version}", "", text["task"], "",
        "| | |", "|---|---|", *_facts(manifest, bundle.model), "",
        "## Trained on", "", text["data"], *_training(recipe, work), "",
        "## Scored on", "", text["scored"], "", *table, "",
        "## Limits", "", text["limits"], "", *_guarded(family), "",
        f"Made by `holonode-models card {recipe}`.",
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(path)


def _guarded(family: str) -> list[str]:
    """What the check of every reconstruction can't see."""
    if family != "hidef":
        return []
    from device.instrument import load_instrument
    from models.training.blind_spots import blind_spots

    return [
        "## Blind spots of the guard",
        "",
        blind_spots(load_instrument("bioaerosol-imx219-850nm").geometry, "850 nm and 1.12 um"),
        "",
    ]


def _facts(manifest: Manifest, model: Path) -> list[str]:
    optics = manifest.optics
    return [
        f"| file | {model.name}, {model.stat().st_size // 1024} kB, {manifest.input.dtype} |",
        f"| SHA-256 | {manifest.sha256} |",
        f"| input | {list(manifest.input.shape)}: {', '.join(manifest.input.channels)} |",
        f"| covers | defocus number {optics.defocus_number[0]:g} to {optics.defocus_number[1]:g}, "
        f"wavelength {optics.wavelength_um[0]:g} to {optics.wavelength_um[1]:g} um, pitch {optics.pitch_um[0]:g} to {optics.pitch_um[1]:g} um |",
        f"| recipe | models/recipes/{manifest.recipe.name}.py at {manifest.recipe.commit} |",
    ]


def _training(recipe: str, work: Path) -> list[str]:
    if not recipe.startswith("hidef") or not (work / "state.json").exists():
        return []
    import json

    state: dict[str, Any] = json.loads((work / "state.json").read_text())
    picks = state["curve"][:: max(1, len(state["curve"]) // 12)]
    curve = [
        "",
        "Loss against training compute:",
        "",
        "| megapixels | loss |",
        "|---|---|",
        *(f"| {m:.0f} | {loss:.4f} |" for _, m, loss in picks),
    ]
    first = f", from the weights of {state['start_from']} on" if state.get("start_from") else ""
    return ["", f"{state['step']} steps, {state['megapixels']:.0f} megapixels{first}.", *curve]
