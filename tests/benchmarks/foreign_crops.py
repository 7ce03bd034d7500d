"""What classifiers say of recorded things that are none of their classes: `python -m tests.benchmarks.foreign_crops [--every 1]`.

At their own optics none of these recordings is covered by a classifier, which then names nothing. Here each classifier is told
that a recording is its own: the hologram is replayed at the classifier's pitch and wavelength and at the distance of the same
defocus number, which leaves every fringe where it was and only scales sizes. Recordings without stated optics are replayed at the
ends and in the middle of the classifier's distances: out of focus, most of them. Pixels are averaged where the defocus number is
too large for the classifier.

A detection is kept out where it comes out as 'unknown' or without a name. Shares with their 95 % interval, recordings drawn again:
by the crop alone, and by the whole pipeline, which asks the scene too.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from device.analysis.background import normalise
from device.analysis.crops import classifier_crops
from device.config import load_config
from device.drivers.recorded import read_frames
from device.errors import InputError
from device.frames import Hologram
from device.inference.manifest import Manifest
from device.inference.networks import ClassifierNetwork
from device.inference.store import ModelStore
from device.optics.geometry import Geometry
from device.rig.models import build_pipeline, model_store
from models.training.calibration import bootstrap_groups
from tests.benchmarks.scenes import recordings
from tests.conftest import real_data_folder

NOW = datetime(2026, 11, 27, tzinfo=UTC)
CLASSIFIERS = ("water", "bioaerosol", "beads")
OWN = {"beads": ("beads", "colloid")}
"""Kinds that a classifier has a class for, or nearly: reported apart, they ought to keep a name."""
DOUBTFUL = {"water": ("plankton",)}
"""Kinds that may hold some of a classifier's classes: reported apart."""
PLANKTON_NUMBER = 87.0
"""Defocus number of the plankton, whose optics aren't stated: where `estimate_distance` finds five of five sharp, to 1 %."""
MOST_PX = 640
"""Larger frames are cut to their middle."""


@dataclass(frozen=True)
class Foreign:
    """A recording, normalised."""

    kind: str
    intensity: NDArray[np.float32]
    """float32 [height, width], 1 where nothing is."""
    defocus_number: float | None
    """As recorded; None: its optics were not stated."""

    def as_if(self, manifest: Manifest) -> Iterator[Hologram]:
        """As if recorded by the instrument that a classifier is for; of unstated optics at several distances."""
        optics = manifest.optics
        wavelength_um, pitch_um = sum(optics.wavelength_um) / 2, sum(optics.pitch_um) / 2
        image, number = self.intensity, self.defocus_number
        while number is not None and number > 1.5 * optics.defocus_number[1] and min(image.shape) >= 256:
            image, number = _halved(image), number / 4
        places = (
            [*optics.distance_um, sum(optics.distance_um) / 2] if number is None else [number * pitch_um**2 / wavelength_um]
        )
        for distance_um in places:
            ready = normalise(_middle(image))
            yield Hologram(ready.intensity, Geometry(wavelength_um, pitch_um, distance_um), ready.noise, NOW)


def _middle(image: NDArray[np.float32]) -> NDArray[np.float32]:
    top, left = (max(n - MOST_PX, 0) // 2 for n in image.shape)
    return image[top : top + MOST_PX, left : left + MOST_PX]


def _halved(image: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = (n // 2 for n in image.shape)
    return np.asarray(cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA), np.float32)


def foreign(folder: Path, every: int) -> Iterator[Foreign]:
    """Every so manieth recording of each kind; says what is missing."""
    seen: Counter[str] = Counter()
    for one in recordings(folder):
        if one.kind == "pictures":
            continue
        seen[one.kind] += 1
        if one.path.exists() and (seen[one.kind] - 1) % every == 0:
            yield Foreign(one.kind, one.hologram().intensity, one.geometry.defocus_number)
    sphere = folder / "colloid_holopy"
    if (sphere / "image01.jpg").exists():
        light = np.mean([_pixels(sphere / f"bg0{k}.jpg") for k in (1, 2, 3)], axis=0)
        optics = Geometry(0.66, 0.0851, 17.0, medium_index=1.33)
        yield Foreign("colloid", normalise(_pixels(sphere / "image01.jpg"), light).intensity, optics.defocus_number)
    cells = sorted((folder / "plankton_holo2bright").glob("holography/*.png"))
    for path in cells[::every]:
        yield Foreign("plankton", normalise(_pixels(path)).intensity, PLANKTON_NUMBER)
    for path in sorted((folder / "microplastics_labelled").glob("P*/*.jpg"))[:: 4 * every]:
        # Half a millimetre and more on 3.45 um: four pixels in one.
        yield Foreign("microplastics", normalise(_halved(_halved(_pixels(path)))).intensity, None)
    for name in ("beads_singleheight", "red_blood_cells", "paramecium_dlhm", "plankton_holo2bright", "microplastics_labelled"):
        if not (folder / name).is_dir():
            print(f"{name} is not in {folder}: left out")


def _pixels(path: Path) -> NDArray[np.float32]:
    pixels = next(iter(read_frames(path))).pixels
    return np.asarray(pixels, np.float32)


@dataclass
class Said:
    """Of the detections of a kind: bool and recording of each."""

    by_crop: list[bool]
    by_pipeline: list[bool]
    whose: list[int]
    names: Counter[str]


class Judge:
    """Foreign recordings through the shipped pipeline with a classifier that is told to be used."""

    def __init__(self, store: ModelStore, classifier: str) -> None:
        self._store = store
        self._settings = msgspec.structs.replace(load_config(None).analysis, classifier_model="", min_esd_um=0.0)
        bundle, interpreter = store.open(classifier)
        self.manifest = bundle.manifest
        self.network = ClassifierNetwork(interpreter, bundle.manifest)

    def crops(self, hologram: Hologram) -> tuple[NDArray[np.float32], list[str]]:
        """(crops float32 [n, side, side, channels], what the pipeline calls each)."""
        plain, _ = build_pipeline(self._store, self._settings, hologram.geometry)
        pipeline = replace(plain, classifier=self.network)
        analysis = pipeline.analyse(hologram)
        if analysis.reconstruction is None or not analysis.particles:
            return np.zeros((0, 0, 0, 0), np.float32), []
        found = classifier_crops(analysis.reconstruction.field, analysis.particles, hologram.geometry.object_pitch_um)
        return np.stack([crop.image for crop in found]), [name.label for name in analysis.classifications]


def score(judge: Judge, things: list[Foreign]) -> dict[str, Said]:
    """By kind."""
    table: dict[str, Said] = {}
    for number, thing in enumerate(things):
        said = table.setdefault(thing.kind, Said([], [], [], Counter()))
        for hologram in thing.as_if(judge.manifest):
            try:
                images, labels = judge.crops(hologram)
            except InputError as error:
                said.names[f"refused: {error}"[:60]] += 1
                continue
            if labels:
                alone = [name.label for name in judge.network.classify(images, load_config(None).analysis.reject_below)]
                said.by_crop += [label == "unknown" for label in alone]
                said.by_pipeline += [label in ("unknown", "particle") for label in labels]
                said.whose += [number] * len(labels)
                said.names.update(labels)
    return table


def _share(hits: list[bool], whose: list[int]) -> str:
    value, low, high = bootstrap_groups(lambda rows: float(np.array(hits)[rows].mean()), np.array(whose))
    return f"{value:6.1%} ({low:.0%} to {high:.0%})"


def _print(classifier: str, table: dict[str, Said]) -> None:
    print(f"\n{classifier}: kept out, of detections\n{'':16s}{'n':>6s}  {'by the crop alone':26s}{'by the pipeline':26s}")
    apart = (*OWN.get(classifier, ()), *DOUBTFUL.get(classifier, ()))
    strangers = [kind for kind in table if kind not in apart]
    rows = {kind: [kind] for kind in table} | {"all strangers": strangers}
    for name, kinds in rows.items():
        crop, pipeline, whose = (
            [value for kind in kinds for value in getattr(table[kind], field)] for field in ("by_crop", "by_pipeline", "whose")
        )
        note = "  (its own class)" if name in OWN.get(classifier, ()) else "  (may be its classes)" if name in apart else ""
        if not whose:
            print(f"{name:16s}{0:6d}  nothing was found{note}")
            continue
        print(f"{name:16s}{len(whose):6d}  {_share(crop, whose):26s}{_share(pipeline, whose):26s}{note}")
        names = sum((table[kind].names for kind in kinds), Counter[str]())
        print(f"{'':24s}{', '.join(f'{label} {n}' for label, n in names.most_common(6))}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classifier", choices=CLASSIFIERS, action="append")
    parser.add_argument("--every", type=int, default=1, help="every so manieth recording of each kind")
    parser.add_argument("--artefacts", type=Path, help="folder of bundles (default: the shipped ones)")
    args = parser.parse_args()
    folder = real_data_folder()
    if not folder.is_dir():
        print(f"recorded holograms not found at {folder}; set HOLONODE_REAL_DATA to their folder: nothing was scored")
        return 0
    things = list(foreign(folder, args.every))
    store = ModelStore(args.artefacts) if args.artefacts else model_store(load_config(None))
    for classifier in args.classifier or CLASSIFIERS:
        _print(classifier, score(Judge(store, classifier), things))
    return 0


if __name__ == "__main__":
    sys.exit(main())
