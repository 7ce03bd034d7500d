"""Model cards: what a bundle is, what it was made from, how it scores, where it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from device.inference.manifest import Manifest
from device.inference.store import ModelStore

__all__ = ["write_card"]

_NAMES = {"hidef": "hidef", "classifier": "bioaerosol"}

_TEXTS: dict[str, dict[str, str]] = {
    "hidef": {
        "task": "One pass turns a back-propagated in-line hologram into the field of all particles in focus, without the twin image.",
        "data": "Simulated only: random scenes by the twin's `thin` model in dimensionless units (models/recipes/hidef_scenes.py). "
        "No recorded hologram took part in training.",
        "scored": "Fields by the `multislice` model on a grid twice as fine, with the bioaerosol instrument's noise and bits; metrics are "
        "particle-local, medians over particles with 95 % bootstrap intervals. Simulated accuracy, not field accuracy. "
        "`complex_error` is |field - truth| / |truth| over the particle's box.",
        "limits": "Particles under about 3 pixels are smoothed away. Where a particle delays light by more than about 2 pi between "
        "neighbouring pixels its phase is not recovered. The sign of a weak phase is a prior (denser than the medium), not a "
        "measurement. Outside +-100 um at the nominal instrument it was never trained; the table's outer rows show what happens.",
    },
    "classifier": {
        "task": "Names a particle from its reconstructed field at fixed physical scale; calibrated probabilities, 90 % prediction sets.",
        "data": "Simulated only: crops of fields reconstructed by the shipped int8 HIDEF file from `thin` frames of the bioaerosol "
        "instrument (models/recipes/classifier.py).",
        "scored": "Frames of seeds that nothing was fitted on, same forward model and generator as training: this is the optimistic "
        "figure. Real lensless pollen with simulation-trained networks scores far lower in the literature.",
        "limits": "Species are caricatures of themselves: eight shapes, no debris but dust, no broken or clumped grains. Anything else "
        "should come out as 'unknown', and often does not: see the AUROC.",
    },
}  # fmt: skip


def write_card(recipe: str, artefacts: Path, work: Path, folder: Path, table: list[str]) -> Path:
    """Write the card of a recipe's newest bundle; `table` is its evaluation as Markdown."""
    bundle = ModelStore(artefacts).find(_NAMES[recipe])
    manifest, text = bundle.manifest, _TEXTS[recipe]
    lines = [
        f"# {manifest.name} {manifest.version}", "", text["task"], "",
        "| | |", "|---|---|", *_facts(manifest, bundle.model), "",
        "## Trained on", "", text["data"], *_training(recipe, work), "",
        "## Scored on", "", text["scored"], "", *table, "",
        "## Limits", "", text["limits"], "",
        f"Made by `holonode-models card {recipe}`.",
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{manifest.name}-{manifest.version}.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


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
    if recipe != "hidef" or not (work / "state.json").exists():
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
    return ["", f"{state['step']} steps, {state['megapixels']:.0f} megapixels.", *curve]
