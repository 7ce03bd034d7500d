"""Counting against the twin's truth: `python -m tests.benchmarks.counting_twin [--out DIR] [--bursts 4] [--repeats 2000]`.

Two layers, each labelled in what is printed:

end to end      frames of the simulated instrument through reconstruction, tracking and counting: recall, particles counted
                twice, false ones, concentration against what was put in. A few concentrations, for it takes a second a frame.
counting layer  detections drawn with the recall that was measured end to end, volume and recall off by what their
                uncertainties say, particles that overlap in a frame joined; then the code that makes the records. Thousands of
                intervals at every concentration: bias, variance over Poisson, coverage of the 95 % intervals.

The limit of detection is the concentration that shows at least one particle in 95 of 100 intervals: 3 / (recall * volume) where
nothing is counted falsely. Everything here is simulated.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np
from scipy.spatial import cKDTree

from device.analysis.bubbles import BUBBLE
from device.analysis.count import concentration, poisson_interval
from device.analysis.drawing import FONT, INK, PAPER
from device.analysis.efficiency import DetectionEfficiency
from device.analysis.overlap import overlap_of
from device.config import Config, load_config
from device.duct_flow import duct_of
from device.instrument import Instrument, load_instrument
from device.rig.build import build_rig
from device.rig.models import build_pipeline, model_store
from device.rig.modes import build_mode
from device.rig.records import calibrations
from device.sampling.findings import Findings, Mode
from device.sampling.flow.mode import view_of
from device.storage.outbox import Outbox

LEAST_UM = {"flow": 8.0, "impactor": 8.0}
"""Smaller true particles don't count as missed."""
FLOW_PER_ML = (0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)
AIR_PER_M3 = (10.0, 100.0, 1000.0, 10_000.0, 100_000.0)


@dataclass
class EndToEnd:
    """Sums over the intervals of one concentration."""

    put_in: float
    """Per millilitre or per cubic metre."""
    present: int = 0
    """True particles that could be counted."""
    found: int = 0
    """Of those, counted at least once."""
    twice: int = 0
    """Counted again."""
    false: int = 0
    """Counted where no true particle is."""
    counted: int = 0
    corrected: float = 0.0
    """Counted, with the records' own correction for overlap."""
    volume: float = 0.0
    frames: int = 0

    @property
    def recall(self) -> float:
        return self.found / max(self.present, 1)

    @property
    def measured(self) -> float:
        return self.corrected / self.volume


def configured(preset: str, folder: Path, particles: Mapping[str, float], seed: int) -> Config:
    """A packaged configuration in simulated time, with other particles."""
    config = load_config(preset)
    twin = msgspec.structs.replace(
        config.twin, realtime=False, seed=seed, truth_file=str(folder / "truth.jsonl"), concentration_per_m3=dict(particles)
    )
    analysis = msgspec.structs.replace(config.analysis, classifier_model="")
    storage = msgspec.structs.replace(config.storage, folder=str(folder / "store"))
    sampling = msgspec.structs.replace(config.sampling, window_intervals=1)
    return msgspec.structs.replace(config, twin=twin, analysis=analysis, storage=storage, sampling=sampling)


def started(config: Config, folder: Path) -> tuple[Mode, Instrument, Outbox]:
    """The mode of a configuration over the simulated instrument, without calibration."""
    nominal = load_instrument(config.device.instrument)
    calibrated = calibrations(
        msgspec.structs.replace(config, calibration=msgspec.structs.replace(config.calibration, folder=str(folder))), nominal
    )
    pipeline, _ = build_pipeline(model_store(config), config.analysis, nominal.geometry, instrument=nominal)
    drivers = build_rig(config, nominal)
    drivers.camera.start()
    outbox = Outbox(folder / "store", config.device.id)
    return build_mode(config, calibrated, pipeline, drivers, drivers.time.sleep, outbox), nominal, outbox


def score(sums: EndToEnd, found: Findings, truth: list[dict], inside: dict[int, bool], seen: set[int]) -> None:
    """Add the findings of one interval; `inside` holds the true particles that could be counted, by number."""
    before = sums.counted
    for frame in found.frames:
        here = [t for t in truth if t["frame"] == frame.hologram.index]
        places = np.array([[t["x_um"], t["y_um"]] for t in here]).reshape(-1, 2)
        sums.frames += 1
        for particle, name in zip(frame.analysis.particles, frame.analysis.classifications, strict=True):
            if name.label == BUBBLE:
                continue
            sums.counted += 1
            distance = np.hypot(*(places - (particle.x_um, particle.y_um)).T)
            best = int(np.argmin(distance)) if here else -1
            if best < 0 or distance[best] > max(0.7 * here[best]["esd_um"], 10.0):
                sums.false += 1
                continue
            number = here[best]["particle"]
            sums.twice += number in seen
            if number not in seen and number in inside:
                sums.found += 1
            seen.add(number)
    sums.corrected += (sums.counted - before) * found.losses.overlap.factor
    sums.volume += found.volume.value


def flow_end_to_end(particles: Mapping[str, float], bursts: int, seed: int) -> EndToEnd:
    """Bursts of a suspension; `particles` per millilitre."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = configured("simulated-flow", folder, {k: 1000 * v for k, v in particles.items()}, seed)
        mode, instrument, outbox = started(config, folder)
        view = view_of(instrument, duct_of(instrument))
        sums, seen, inside = EndToEnd(sum(particles.values())), set[int](), dict[int, bool]()
        for _ in range(bursts):
            found = mode.take()
            assert found is not None
            truth = _truth(folder)
            for t in truth:
                in_view = view.x_um[0] <= t["x_um"] < view.x_um[1] and view.y_um[0] <= t["y_um"] < view.y_um[1]
                if in_view and t["esd_um"] >= LEAST_UM["flow"]:
                    inside[t["particle"]] = True
            score(sums, found, truth, inside, seen)
        sums.present = len(inside)
        outbox.close()
    return sums


def impactor_end_to_end(particles: Mapping[str, float], samples: int, seed: int) -> EndToEnd:
    """Samples of air, each on a clean window; `particles` per cubic metre."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mode, _, outbox = started(configured("simulated-bioaerosol", folder, particles, seed), folder)
        sums, seen, inside = EndToEnd(sum(particles.values())), set[int](), dict[int, bool]()
        known = 0
        for _ in range(samples):
            found = mode.take()
            assert found is not None
            truth = _truth(folder)
            for number, t in enumerate(truth):
                # What landed since the last frame is seen in the frame after.
                t["particle"], t["frame"] = number, found.frames[0].hologram.index if number >= known else -1
                if number >= known and t["esd_um"] >= LEAST_UM["impactor"]:
                    inside[number] = True
            known = len(truth)
            score(sums, found, truth, inside, seen)
        sums.present = len(inside)
        outbox.close()
    return sums


def _truth(folder: Path) -> list[dict]:
    path = folder / "truth.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@dataclass(frozen=True)
class Layer:
    """What the counting layer draws from."""

    recall: float
    recall_uncertainty: float
    volume: float
    """Of one interval, as the record states it."""
    volume_uncertainty: float
    """Relative."""
    unit: str
    fields: int
    """Views that the volume is spread over."""
    field_um: float
    separation_um: float
    """Nearer particles are one."""


@dataclass(frozen=True)
class Row:
    """Many intervals at one concentration."""

    put_in: float
    mean: float
    variance_over_poisson: float
    coverage: float
    seen: float
    """Share of intervals with at least one particle."""
    quantiles: tuple[float, float]
    """2.5 and 97.5 % of what was measured."""

    @property
    def bias(self) -> float:
        return self.mean / self.put_in - 1


def counting_layer(layer: Layer, put_in: float, repeats: int, rng: np.random.Generator) -> Row:
    """Intervals at one concentration through the code that makes the records."""
    efficiency = DetectionEfficiency.of({"detection_efficiency": (layer.recall, layer.recall_uncertainty)})
    assert efficiency is not None
    values, covered, seen, spread = [], 0, 0, []
    for _ in range(repeats):
        volume = layer.volume * math.exp(layer.volume_uncertainty * rng.normal())
        recall = min(layer.recall + layer.recall_uncertainty * rng.normal(), 1.0)
        n = _counted(layer, put_in * volume, recall, rng)
        spread.append(_counted(layer, put_in * layer.volume, layer.recall, rng))
        recovered = efficiency.recovered([10.0] * n)
        overlap = overlap_of(n / layer.fields, layer.separation_um, layer.field_um**2)
        result = concentration(
            poisson_interval(n), layer.volume, layer.volume_uncertainty, layer.unit, recovered=recovered, overlap=overlap
        )  # type: ignore[arg-type]
        values.append(result.value)
        covered += result.low <= put_in <= result.high
        seen += n > 0
    low, high = np.quantile(values, [0.025, 0.975])
    ratio = float(np.var(spread) / np.mean(spread)) if np.mean(spread) > 0 else math.nan
    return Row(put_in, float(np.mean(values)), ratio, covered / repeats, seen / repeats, (float(low), float(high)))


def _counted(layer: Layer, expected: float, recall: float, rng: np.random.Generator) -> int:
    """Particles counted: seen with the recall, at random places in the views, those that touch joined."""
    total = int(rng.poisson(expected * recall))
    if total < 2:
        return total
    field = rng.integers(0, layer.fields, total)
    # Fields lie far apart along a third axis, so that one tree holds them all; the error of a field's border is left in.
    places = np.column_stack([rng.uniform(0, layer.field_um, (total, 2)), field * 10 * layer.field_um])
    pairs = cKDTree(places).query_pairs(layer.separation_um, output_type="ndarray")
    return total - _joins(pairs, total)


def _joins(pairs: np.ndarray, total: int) -> int:
    """By how much the number of groups is less than the number of particles."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if len(pairs) == 0:
        return 0
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(total, total))
    return total - int(connected_components(graph, directed=False)[0])


def _print_end_to_end(title: str, unit: str, rows: list[EndToEnd]) -> None:
    print(f"\nEND TO END, {title}: every step of the instrument, simulated")
    print(
        f"{'put in ' + unit:>16} {'intervals of':>14} {'present':>8} {'counted':>8} {'recall':>7} {'twice':>6} {'false':>6} {'measured/put in':>20}"
    )
    for row in rows:
        expected = row.put_in * row.volume
        ratio = row.corrected / expected if expected else math.nan
        spread = 1.96 / math.sqrt(max(expected, 1))
        print(f"{row.put_in:16g} {row.volume:14.4g} {row.present:8d} {row.counted:8d} {row.recall:7.3f} {row.twice:6d} {row.false:6d} "
              f"{ratio:11.3f} +- {spread:.3f}")  # fmt: skip


def _print_layer(title: str, unit: str, layer: Layer, rows: list[Row]) -> None:
    print(f"\nCOUNTING LAYER, {title}: detections drawn with the recall measured end to end ({layer.recall:.3f} +- "
          f"{layer.recall_uncertainty:.3f}); one interval looks at {layer.volume:.4g} ({unit.replace('per ', '')}), known to "
          f"{layer.volume_uncertainty:.1%}")  # fmt: skip
    print(f"{'put in ' + unit:>16} {'mean':>12} {'bias':>8} {'variance/Poisson':>17} {'coverage':>9} {'seen':>6}")
    for row in rows:
        print(
            f"{row.put_in:16g} {row.mean:12.5g} {row.bias:8.1%} {row.variance_over_poisson:17.3f} {row.coverage:9.1%} {row.seen:6.1%}"
        )
    floor = -math.log(0.05) / layer.recall
    print(f"limit of detection {floor / layer.volume:.4g} {unit} in one interval: zero-background Poisson floor "
          f"3 / recall = {floor:.2f} particles in the volume")  # fmt: skip


def picture(rows: list[Row], dots: list[EndToEnd], floor: float, unit: str) -> np.ndarray:
    """Measured against put in, both logarithmic, uint8 BGR: bars hold 95 % of the intervals, dots are end to end."""
    width, height, margin = 900, 640, 80
    out = np.full((height, width, 3), PAPER, np.uint8)
    low, high = math.log10(min(r.put_in for r in rows)) - 0.5, math.log10(max(r.put_in for r in rows)) + 0.5

    def at(x: float, y: float) -> tuple[int, int]:
        across = (math.log10(x) - low) / (high - low)
        up = (math.log10(max(y, 10**low)) - low) / (high - low)
        return round(margin + across * (width - 1.5 * margin)), round(height - margin - min(up, 1.0) * (height - 1.5 * margin))

    for power in range(math.ceil(low), math.floor(high) + 1):
        value = 10.0**power
        cv2.line(out, at(value, 10**low), at(value, 10**high), (230, 230, 230), 1)
        cv2.line(out, at(10**low, value), at(10**high, value), (230, 230, 230), 1)
        cv2.putText(out, f"{value:g}", (at(value, 10**low)[0] - 16, height - margin + 24), FONT, 0.5, INK, 1, cv2.LINE_AA)
        cv2.putText(out, f"{value:g}", (8, at(10**low, value)[1] + 5), FONT, 0.5, INK, 1, cv2.LINE_AA)
    cv2.line(out, at(10**low, 10**low), at(10**high, 10**high), (150, 150, 150), 1, cv2.LINE_AA)
    cv2.line(out, at(floor, 10**low), at(floor, 10**high), (60, 60, 200), 1, cv2.LINE_AA)
    cv2.putText(out, "limit of detection", (at(floor, 1)[0] + 6, 30), FONT, 0.5, (60, 60, 200), 1, cv2.LINE_AA)
    for row in rows:
        cv2.line(out, at(row.put_in, row.quantiles[0]), at(row.put_in, row.quantiles[1]), (160, 90, 30), 2, cv2.LINE_AA)
        cv2.circle(out, at(row.put_in, row.mean), 4, (160, 90, 30), -1, cv2.LINE_AA)
    for dot in dots:
        if dot.put_in > 0:
            cv2.circle(out, at(dot.put_in, dot.measured), 8, INK, 2, cv2.LINE_AA)
    cv2.putText(out, f"put in, {unit} (simulated)", (width // 2 - 120, height - 18), FONT, 0.55, INK, 1, cv2.LINE_AA)
    of = "; rings: end to end" if dots else ""
    caption = f"measured, {unit}: dots and bars: mean and 95 % of intervals{of}"
    cv2.putText(out, caption, (margin, 16), FONT, 0.45, INK, 1, cv2.LINE_AA)
    return out


def _recall(rows: list[EndToEnd]) -> tuple[float, float]:
    """Recall over runs that are not crowded, and its standard uncertainty."""
    present, found = sum(r.present for r in rows), sum(r.found for r in rows)
    share = found / present
    return share, math.sqrt(share * (1 - share) / present)


def main() -> None:
    """Run both instruments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/counting"))
    parser.add_argument("--bursts", type=int, default=4, help="bursts or samples of every end-to-end run")
    parser.add_argument("--repeats", type=int, default=2000, help="intervals of every concentration of the counting layer")
    parser.add_argument("--seed", type=int, default=20261)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    flow = load_instrument("flow-imx296-530nm")
    view = view_of(flow, duct_of(flow))

    dots = [
        flow_end_to_end({"bead-in-water": c}, max(args.bursts // (3 if c > 2000 else 1), 1), args.seed)
        for c in (0.0, 100.0, 1000.0, 10_000.0)
    ]
    mixed = {"centric-diatom": 100.0, "pennate-diatom": 150.0, "euglena": 150.0, "giardia": 100.0, "detritus": 200.0}
    water = flow_end_to_end(mixed, args.bursts, args.seed + 1)
    _print_end_to_end("flow, 10 um beads in water (0: clean water)", "per mL", dots)
    _print_end_to_end("flow, a mixture of life and flakes", "per mL", [water])
    recall, spread = _recall(dots[1:3])
    bursts = 20
    volume = bursts * dots[1].volume / args.bursts
    layer = Layer(recall, spread, volume, 0.03, "mL^-1", 12 * bursts, math.sqrt(view.area_um2), 14.0 + 13.8)
    rows = [counting_layer(layer, c, args.repeats if c < 2000 else args.repeats // 10, rng) for c in FLOW_PER_ML]
    _print_layer(f"flow, {bursts} bursts", "per mL", layer, rows)
    floor = -math.log(0.05) / layer.recall / layer.volume
    cv2.imwrite(str(args.out / "flow.png"), picture(rows, dots, floor, "per mL"))

    air = {"birch": 0.25, "grass": 0.25, "ragweed": 0.25, "dust": 0.25}
    puffs = [
        impactor_end_to_end({k: v * c for k, v in air.items()}, args.bursts, args.seed + 2)
        for c in (0.0, 10_000.0, 100_000.0, 300_000.0)
    ]
    _print_end_to_end("impactor, pollen and dust, each sample on a clean window (0: clean air)", "per m3", puffs)
    recall, spread = _recall(puffs[1:3])
    sampler = load_instrument("bioaerosol-imx219-850nm")
    volume = 13e-3 * sampler.fluidics.collection_fraction * 12
    side_um = sampler.sensor.width_px * sampler.sensor.pitch_um
    air_layer = Layer(recall, spread, volume, sampler.fluidics.flow_relative_uncertainty, "m^-3", 12, side_um, 25.0)
    air_rows = [counting_layer(air_layer, c, args.repeats, rng) for c in AIR_PER_M3]
    _print_layer("impactor, 12 samples of 13 L", "per m3", air_layer, air_rows)
    floor = -math.log(0.05) / air_layer.recall / air_layer.volume
    cv2.imwrite(str(args.out / "impactor.png"), picture(air_rows, puffs, floor, "per m3"))
    print(f"\npictures in {args.out}")


if __name__ == "__main__":
    main()
