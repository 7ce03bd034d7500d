"""The focus search over every in-line recording whose distance is known, and over simulated instruments.

python -m tests.benchmarks.focus_recordings [FOLDER OF HOLOGRAMS] [--simulated N] [--whole-range] [--every N]

Each recording is searched from half to twice its distance, or over all that its geometry can tell. A recording counts as good
where the distance found lies within 3 % of the true one, or nothing is found; as sure and wrong where it lies farther off,
outside its own 95 % interval.

Two tables. By the labels: those of `single beads` and `red cells` are nominal, the others were stated by who recorded them. By
measurement: single beads by the wave that a bead of their kind was measured to leave, paramecia by their published pictures, the
eleven heights by the measured field (tests/benchmarks/focus_references.py); the rest by their labels.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.analysis.background import normalise
from device.drivers.recorded import read_frames
from device.optics.autofocus import FocusEstimate, default_range_um, estimate_distance, region
from device.optics.geometry import Geometry
from tests.benchmarks.focus_references import by_bead_wave, by_published_picture
from tests.benchmarks.focus_scenes import KINDS, Simulated, simulated
from tests.benchmarks.real_focus import ANIMALS, BEADS, BEADS_MM, SOURCE_TO_SENSOR_UM, measured_field, registered_distance
from tests.conftest import real_data_folder

NEAR = 0.03
RED_CELLS_UM, COLON_UM = 24_000.0, 26_200.0


@dataclass(frozen=True)
class Recorded:
    """A recording, its label, and how its distance is measured without the focus search."""

    name: str
    hologram: Simulated
    measured_um: Callable[[], float]

    @property
    def labelled_um(self) -> float:
        """Object to sensor, as it was stated."""
        return self.hologram.geometry.distance_um


def recordings(data: Path) -> Iterator[Recorded]:
    """All that are known to a distance, in the order of their kinds."""
    beads = data / "beads_multiheight_gt" / "fov1"
    truth = measured_field(beads)
    for nominal, true_mm in BEADS_MM.items():
        one = _one("beads, eleven heights", beads / f"holo_{nominal:02d}mm.mat", BEADS.at(1000 * true_mm))
        yield Recorded(f"{nominal} mm", one, lambda o=one: registered_distance(truth, o.intensity, o.geometry.distance_um))
    for path in sorted((data / "beads_singleheight").glob("*mm/*.mat")):
        nominal_um = 1000 * float(path.parent.name.removesuffix("mm"))
        one = _one("single beads", path, BEADS.at(nominal_um))
        yield Recorded(
            f"{path.parent.name} {path.stem}", one, lambda o=one: by_bead_wave(data, o.intensity, o.geometry.distance_um)
        )
    for path in sorted((data / "red_blood_cells").glob("s*/*.mat")):
        yield _as_labelled(path.stem, _one("red cells", path, BEADS.at(RED_CELLS_UM)))
    yield _as_labelled("colon", _one("tissue", data / "tissue_gt" / "colon" / "holo_26mm.mat", BEADS.at(COLON_UM)))
    yield from _paramecia(data)
    yield _as_labelled("one sphere", _colloid(data / "colloid_holopy"))
    for path in sorted((data / "simulated_multiheight").glob("*.tif")):
        yield _as_labelled(
            path.stem, _one("picture, simulated elsewhere", path, Geometry(0.532, 1.12, float(path.stem.split("_")[1])))
        )


def _as_labelled(name: str, hologram: Simulated) -> Recorded:
    return Recorded(name, hologram, lambda: hologram.geometry.distance_um)


def _pixels(path: Path) -> NDArray[np.float32]:
    return next(iter(read_frames(path))).pixels


def _one(kind: str, path: Path, at: Geometry) -> Simulated:
    return Simulated(kind, normalise(_pixels(path)).intensity, at)


def _paramecia(data: Path) -> Iterator[Recorded]:
    folder = data / "paramecium_dlhm"
    frame = normalise(_pixels(folder / "hologram.bmp"), _pixels(folder / "reference.bmp")).intensity
    for name, (box_px, source_to_sample_um) in ANIMALS.items():
        at = Geometry(0.532, 6.9, SOURCE_TO_SENSOR_UM - source_to_sample_um, source_distance_um=SOURCE_TO_SENSOR_UM)
        one = Simulated("paramecia", region(frame, box_px), at)
        yield Recorded(name, one, lambda n=name, um=at.distance_um: by_published_picture(data, n, um))


def _colloid(folder: Path) -> Simulated:
    background = np.mean([_pixels(folder / f"bg0{i}.jpg") for i in (1, 2, 3)], axis=0)
    frame = normalise(_pixels(folder / "image01.jpg"), background).intensity
    return Simulated("colloid", frame, Geometry(0.66, 0.0851, 17.0, medium_index=1.33))


def searched(hologram: Simulated, shift: float = 1.0) -> FocusEstimate:
    """From half to twice the true distance; `shift` moves both ends, so that the truth isn't always the middle."""
    true_um, source_um = hologram.geometry.distance_um, hologram.geometry.source_distance_um
    high_um = min(2 * true_um * shift, 0.99 * source_um if source_um else np.inf)
    return estimate_distance(hologram.intensity, hologram.geometry, true_um / 2 * shift, high_um)


def searched_whole(hologram: Simulated) -> FocusEstimate:
    """Over all that the geometry can tell."""
    return estimate_distance(
        hologram.intensity, hologram.geometry, *default_range_um(hologram.geometry, min(hologram.intensity.shape))
    )


def verdict(found: FocusEstimate, true_um: float) -> str:
    """'near', 'not found', 'wide' or 'sure and wrong'."""
    if not found.found:
        return "not found"
    if abs(found.distance_um / true_um - 1) <= NEAR:
        return "near"
    low_um, high_um = found.interval_um
    return "wide" if low_um <= true_um <= high_um else "sure and wrong"


def _table(title: str, verdicts: dict[str, list[str]]) -> None:
    words = ("near", "not found", "wide", "sure and wrong")
    print(f"\n{title:32s}{'n':>5s}" + "".join(f"{w:>16s}" for w in words))
    for kind, said in {**verdicts, "all": [v for part in verdicts.values() for v in part]}.items():
        print(f"{kind:32s}{len(said):5d}" + "".join(f"{said.count(w):16d}" for w in words))


def print_recordings(data: Path, search: Callable[[Simulated], FocusEstimate], every: int) -> None:
    """A line for each, and two tables by kind: by label, by measurement."""
    by_label: dict[str, list[str]] = defaultdict(list)
    by_measurement: dict[str, list[str]] = defaultdict(list)
    print(f"{'':55s}{'labelled':>10s}{'measured':>10s}  found (um, 95 %)")
    for recorded in list(recordings(data))[::every]:
        found, kind, measured_um = search(recorded.hologram), recorded.hologram.kind, recorded.measured_um()
        by_label[kind].append(verdict(found, recorded.labelled_um))
        by_measurement[kind].append(verdict(found, measured_um))
        told = (
            f"{found.distance_um:9.1f} ({found.interval_um[0]:.1f} to {found.interval_um[1]:.1f})"
            if found.found
            else found.reason
        )
        print(
            f"{kind:32s}{recorded.name:23s}{recorded.labelled_um:10.1f}{measured_um:10.1f}  {told}: "
            f"{by_label[kind][-1]}, {by_measurement[kind][-1]}", flush=True,
        )  # fmt: skip
    for title, verdicts in (("by the labels", by_label), ("by measurement", by_measurement)):
        _table(title, verdicts)


def print_simulated(count: int, seed: int) -> None:
    """A table by kind, and how often the stated 95 % interval holds."""
    rng = np.random.default_rng(seed)
    holograms = simulated(rng)
    verdicts: dict[str, list[str]] = defaultdict(list)
    held: dict[str, list[bool]] = defaultdict(list)
    for _ in range(count):
        hologram = next(holograms)
        found, true_um = searched(hologram, float(np.exp(rng.uniform(-0.1, 0.1)))), hologram.geometry.distance_um
        verdicts[hologram.kind].append(verdict(found, true_um))
        if found.found:
            held[hologram.kind].append(found.interval_um[0] <= true_um <= found.interval_um[1])
    _table("simulated", verdicts)
    print("\nthe stated 95 % interval holds")
    for kind in KINDS:
        print(f"{kind:32s}{sum(held[kind]):5d} of {len(held[kind])}")
    every = [h for part in held.values() for h in part]
    print(f"{'all':32s}{sum(every):5d} of {len(every)} ({np.mean(every):.1%})")


def main() -> None:
    """Recordings, then simulations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=real_data_folder())
    parser.add_argument("--simulated", type=int, default=0, metavar="N", help="simulated holograms (default: none)")
    parser.add_argument("--whole-range", action="store_true", help="search all that the geometry can tell")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every so manieth recording alone")
    parser.add_argument("--seed", type=int, default=2, help="of the simulations")
    args = parser.parse_args()
    print_recordings(args.data, searched_whole if args.whole_range else searched, args.every)
    if args.simulated:
        print_simulated(args.simulated, args.seed)


if __name__ == "__main__":
    main()
