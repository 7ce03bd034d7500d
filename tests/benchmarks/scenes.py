"""Outside its own world the pipeline must not be sure: `python -m tests.benchmarks.scenes [--part P] [--fields 20] [--log FILE]`.

full      simulated full fields of eleven kinds (tests/foreign_fields.py), a share of them replayed at a wrong distance, on a window
          or too bright: none may pass as a good count, or as a good zero
threads   lint in an else clean field: how many pieces, and whether they pass
wrong     every in-line recording five depths of field and more from its own distance, both ways: 95 % must not pass. Of single
          beads that is the measured one (tests/benchmarks/focus_references.py)
right     beads and red cells at their own distance, and simulated particles: at most 2 % suspect
twin      intervals of the simulated instruments as they come: at most 2 % suspect
cost      the scene test and an empty frame, in ns a pixel

With a log, what stands in it isn't run again: runs of hours can be stopped and go on.

A row is passed where the interval's `qc` is 1. Shares with their 95 % Wilson interval; the reasons that were given, counted.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from itertools import count
from pathlib import Path

import msgspec
import numpy as np

from device.analysis.background import normalise
from device.analysis.locate import is_empty
from device.analysis.pipeline import FrameAnalysis, Pipeline
from device.analysis.report import RecordProvenance, interval_record
from device.analysis.scene import fringes_of
from device.config import load_config
from device.drivers.recorded import read_each
from device.errors import InputError
from device.frames import Clock, Hologram
from device.optics.geometry import Geometry
from device.records import Interval, Models
from device.rig.models import build_pipeline, model_store
from device.sampling.findings import Mode
from models.training.blind_spots import depth_of_field_um
from models.training.quality import wilson_interval
from tests.benchmarks.focus_references import by_bead_wave
from tests.conftest import real_data_folder
from tests.foreign_fields import FULL_FIELDS, OPTICS, FullField, canvas_px, particle_field, recorded, threads

OFFSETS_DOF = (-40.0, -20.0, -10.0, -5.0, 5.0, 10.0, 20.0, 40.0)
NOW = datetime(2026, 11, 27, tzinfo=UTC)


@dataclass(frozen=True)
class Recording:
    """A hologram on disk, with how it was recorded."""

    kind: str
    path: Path
    geometry: Geometry
    background: Path | None = None

    def hologram(self, off_dof: float = 0.0) -> Hologram:
        """As if it had been recorded so many depths of field farther away."""
        frame = next(iter(read_each(self.path)))
        if isinstance(frame, InputError):
            raise frame
        below = None if self.background is None else next(iter(read_each(self.background)))
        if isinstance(below, InputError):
            raise below
        ready = normalise(frame.pixels, None if below is None else below.pixels, white_counts=frame.white)
        there_um = self.geometry.propagation_um + off_dof * depth_of_field_um(self.geometry)
        geometry = self.geometry if off_dof == 0 else self.geometry.at(self.geometry.distance_of(there_um * self._stretch))
        return Hologram(ready.intensity, geometry, ready.noise, NOW)

    def at_its_distance(self) -> Recording:
        """With the distance that was measured, where the label is nominal and one was."""
        if self.path.parent.parent.name != "beads_singleheight":
            return self
        measured_um = by_bead_wave(self.path.parents[2], self.hologram().intensity, self.geometry.distance_um)
        return replace(self, geometry=self.geometry.at(measured_um))

    @property
    def _stretch(self) -> float:
        return self.geometry.equivalent_um(self.geometry.distance_um) / self.geometry.propagation_um


def recordings(folder: Path) -> list[Recording]:
    """In-line recordings of known optics."""
    beads = Geometry(wavelength_um=0.532, pitch_um=6.5, distance_um=9000.0)
    found = [
        Recording("beads", path, beads.at(1000.0 * int(path.stem[5:7])))
        for path in sorted((folder / "beads_multiheight_gt" / "fov1").glob("holo_*.mat"))
    ]
    found += [
        Recording("beads", path, beads.at(1000.0 * int(path.parent.name[:2])))
        for path in sorted((folder / "beads_singleheight").glob("*mm/*.mat"))
    ]
    cells = sorted((folder / "red_blood_cells").glob("s*/*.mat"))
    found += [Recording("red cells", path, beads.at(24_000.0)) for path in cells]
    found.append(Recording("tissue", folder / "tissue_gt" / "colon" / "holo_26mm.mat", beads.at(26_200.0)))
    animals = folder / "paramecium_dlhm"
    for z_um in (5600.0, 6800.0):
        geometry = Geometry(wavelength_um=0.532, pitch_um=6.9, distance_um=20_000.0 - z_um, source_distance_um=20_000.0)
        found.append(Recording("paramecia", animals / "hologram.bmp", geometry, animals / "reference.bmp"))
    for path in sorted((folder / "simulated_multiheight").glob("*.tif")):
        geometry = Geometry(wavelength_um=0.532, pitch_um=1.12, distance_um=float(path.stem.split("_")[1]))
        found.append(Recording("pictures", path, geometry))
    return found


class Judge:
    """Holograms through the pipeline of their geometry, to an interval."""

    def __init__(self) -> None:
        config = load_config(None)
        self._store = model_store(config)
        self._settings = msgspec.structs.replace(config.analysis, min_esd_um=0.0)

    def pipeline(self, geometry: Geometry) -> Pipeline:
        return build_pipeline(self._store, self._settings, geometry, strict=False)[0]

    def interval(self, hologram: Hologram) -> Interval:
        """Of this one frame."""
        return interval_of(self.pipeline(hologram.geometry).analyse(hologram))


def interval_of(analysis: FrameAnalysis) -> Interval:
    """The record that an interval of this one frame would have."""
    labels = ["particle"] * len(analysis.particles)
    origin = RecordProvenance("bench", "bench", "", "", Models(), "replay", labels=("particle",))
    return interval_record(
        origin, seq=1, interval_id="i", span=(NOW, NOW), clock=Clock(source="file"), frames=analysis.counts, labels=labels,
        unexplained=analysis.unexplained, scenes=[analysis.scene] if analysis.scene else [],
        flags=[c.flag for c in analysis.consistencies],
    )  # fmt: skip


class Table:
    """Rows of one kind."""

    def __init__(self, title: str, *, log: Path | None, verbose: bool) -> None:
        self.title, self._log, self._verbose = title, log, verbose
        self.flags: dict[str, list[int]] = {}
        self.reasons: Counter[str] = Counter()
        lines = log.read_text().splitlines() if log is not None and log.exists() else []
        self._known = {(row["title"], row["kind"], row["name"]): row for row in map(json.loads, lines)}

    def run(self, kind: str, name: str, judged: Callable[[], Interval | None]) -> None:
        """Judge and add, or add what the log holds; None: refused, not added."""
        row = self._known.get((self.title, kind, name))
        if row is None:
            interval = judged()
            row = {"title": self.title, "kind": kind, "name": name, "qc": None, "n": 0, "explained": None, "reasons": []}
            if interval is not None:
                explained = interval.scene.explained if interval.scene else None
                said = {"qc": interval.qc, "n": interval.counts["total"].n, "explained": explained}
                row |= said | {"reasons": list(interval.reasons)}
            if self._log is not None:
                with self._log.open("a") as out:
                    out.write(json.dumps(row) + "\n")
        if row["qc"] is None:
            return
        self.flags.setdefault(kind, []).append(row["qc"])
        self.reasons.update("".join("#" if c.isdigit() else c for c in reason) for reason in row["reasons"])
        if self._verbose:
            print(f"  {kind} {name}: qc {row['qc']}, {row['n']} particles, explained {row['explained']}; "
                  f"{'; '.join(row['reasons'])}", flush=True)  # fmt: skip

    def print(self) -> None:
        print(f"\n{self.title}\n{'':14s}{'n':>5s}{'qc 1':>6s}{'qc 2':>6s}{'qc 3':>6s}{'qc 4':>6s}   passed (95 %)")
        every = [flag for flags in self.flags.values() for flag in flags]
        for kind, flags in [*self.flags.items(), ("all", every)]:
            low, high = wilson_interval(flags.count(1), len(flags))
            share = f"{flags.count(1) / len(flags):.1%} ({low:.1%} to {high:.1%})"
            print(f"{kind:14s}{len(flags):5d}{''.join(f'{flags.count(q):6d}' for q in (1, 2, 3, 4))}   {share}")
        for reason, times in self.reasons.most_common(12):
            print(f"    {times:4d}  {reason}")


def full(judge: Judge, table: Table, fields: int, kinds: Sequence[str]) -> None:
    for k in range(fields):
        for kind, what in ((name, FULL_FIELDS[name]) for name in kinds):
            table.run(kind, str(k), lambda what=what, k=k: judge.interval(_full_field(what, k)))


def _full_field(what: FullField, k: int, side: int = 384) -> Hologram:
    rng = np.random.default_rng(1000 + k)
    geometry = OPTICS[k % len(OPTICS)]
    field = what.draw(rng, canvas_px(side))
    off_um = rng.uniform(*what.off_dof) * depth_of_field_um(geometry) * float(rng.choice([-1, 1]))
    off_um -= rng.uniform(*what.nearer) * geometry.distance_um
    return recorded(
        field, geometry, rng, electrons=_light(rng), bits=int(rng.choice([8, 10])),
        offset_um=max(off_um, -0.9 * geometry.distance_um), brightness=float(rng.uniform(*what.brightness)),
    )  # fmt: skip


def _light(rng: np.random.Generator) -> float:
    """Electrons a pixel."""
    return float(rng.choice([500.0, 3000.0, 10_000.0]))


def lint(judge: Judge, table: Table, fields: int) -> None:
    for k in range(fields):
        table.run("threads", str(k), lambda k=k: judge.interval(_full_field(FullField(threads), 1000 + k)))


def right(judge: Judge, table: Table, fields: int, every: int) -> None:
    for k in range(fields):
        table.run("simulated", str(k), lambda k=k: judge.interval(_particles(k)))
    for recording in recordings(real_data_folder())[::every]:
        if recording.kind in ("beads", "red cells"):
            name = f"{recording.path.parent.name}/{recording.path.name}"
            table.run(recording.kind, name, lambda r=recording: judge.interval(r.at_its_distance().hologram()))


def _particles(k: int) -> Hologram:
    rng = np.random.default_rng(3000 + k)
    field = particle_field(rng, canvas_px(384), int(rng.integers(1, 14)))
    return recorded(field, OPTICS[k % len(OPTICS)], rng, electrons=_light(rng))


def wrong(judge: Judge, table: Table, every: int, each: int) -> None:
    def judged(recording: Recording, off_dof: float) -> Interval | None:
        try:
            return judge.interval(recording.at_its_distance().hologram(off_dof))
        except InputError:
            return None  # nearer than the sensor, or optics that no model covers: refused

    for k, recording in enumerate(recordings(real_data_folder())[::every]):
        for off_dof in np.roll(OFFSETS_DOF, -3 * k)[:each].tolist():
            name = f"{recording.path.parent.name}/{recording.path.name} {recording.geometry.distance_um:.0f} {off_dof:+g}"
            table.run(recording.kind, name, lambda r=recording, off=off_dof: judged(r, off))


TWINS = ("simulated-bioaerosol", "simulated-flow")


def twin(table: Table, intervals: int, seeds: range, presets: tuple[str, ...] = TWINS) -> None:
    """Each seed is a box of its own; one that was begun and cut off takes its intervals again up to where it was."""
    from tests.benchmarks.counting_twin import configured, started

    for seed in seeds:
        for preset in presets:
            with tempfile.TemporaryDirectory() as name:
                config = configured(preset, Path(name), load_config(preset).twin.concentration_per_m3, seed)
                box = cache(lambda c=config, n=name: started(c, Path(n)))
                taken = count()
                for k in range(intervals):
                    table.run(preset, f"{seed}/{k}", lambda b=box, t=taken, k=k, p=preset: _of_twin(b()[0], t, k, p))


def _of_twin(mode: Mode, taken: Iterator[int], number: int, preset: str) -> Interval | None:
    found = mode.take()
    while next(taken) < number:
        found = mode.take()
    if found is None:
        return None
    return interval_record(
        RecordProvenance("bench", "bench", "", "", Models(), preset), seq=1, interval_id="i", span=(NOW, NOW), clock=Clock(),
        frames=found.taken, labels=["particle" for frame in found.frames for _ in frame.analysis.particles],
        unexplained=found.unexplained, seen=found.seen, suspect=found.suspect,
        scenes=[frame.analysis.scene for frame in found.frames if frame.analysis.scene is not None],
        flags=[c.flag for frame in found.frames for c in frame.analysis.consistencies],
    )  # fmt: skip


def cost(side: int = 2048, repeats: int = 7) -> None:
    """Least of some repeats, in turns."""
    rng = np.random.default_rng(0)
    frame = (1 + 0.02 * rng.standard_normal((side, side))).astype(np.float32)
    amplitude = np.sqrt(frame)
    least = {"empty frame": math.inf, "scene test": math.inf}
    for _ in range(repeats):
        for name, work in {
            "empty frame": lambda: is_empty(frame, 0.02), "scene test": lambda: fringes_of(amplitude, amplitude, 0.02)
        }.items():  # fmt: skip
            started = time.perf_counter()
            work()
            least[name] = min(least[name], time.perf_counter() - started)
    for name, took in least.items():
        print(f"{name}: {took / side**2 * 1e9:.2f} ns a pixel ({side} x {side}, one run of {repeats})")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("full", "threads", "right", "wrong", "twin", "cost"), action="append")
    parser.add_argument("--fields", type=int, default=20, help="simulated, of each kind")
    parser.add_argument("--kind", choices=tuple(FULL_FIELDS), action="append", help="of full fields (default: all)")
    parser.add_argument("--every", type=int, default=1, help="every so manieth recording")
    parser.add_argument("--each", type=int, default=2, help="wrong distances of a recording, at most eight")
    parser.add_argument("--intervals", type=int, default=8, help="of each simulated box")
    parser.add_argument("--seeds", type=int, default=10, help="simulated boxes of each kind")
    parser.add_argument("--log", type=Path, metavar="FILE", help="of rows, appended to; what stands in it isn't run again")
    parser.add_argument("--verbose", action="store_true", help="a line for each")
    args = parser.parse_args()
    judge = Judge()
    parts: dict[str, tuple[str, Callable[[Table], None]]] = {
        "full": (
            "fields without particles, simulated: passed must be 0",
            lambda t: full(judge, t, args.fields, args.kind or tuple(FULL_FIELDS)),
        ),
        "threads": ("lint, simulated", lambda t: lint(judge, t, args.fields)),
        "right": ("at their own distance: passed must be 98 %", lambda t: right(judge, t, args.fields, args.every)),
        "wrong": ("at a wrong distance: passed must be at most 5 %", lambda t: wrong(judge, t, args.every, args.each)),
        "twin": ("intervals of the twin: passed must be 98 %", lambda t: twin(t, args.intervals, range(11, 11 + args.seeds))),
    }
    for name in args.part or [*parts, "cost"]:
        if name == "cost":
            cost()
            continue
        title, run = parts[name]
        table = Table(title, log=args.log, verbose=args.verbose)
        run(table)
        table.print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
