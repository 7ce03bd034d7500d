"""The biosensor against the twin's truth: `python -m tests.benchmarks.assay_twin [--out DIR] [--replicates 8]`.

Chambers of beads, blanks and doses over the range, looked at four times over twenty minutes (tests.benchmarks.assay_chambers). Two
methods measure the same frames:

ours      reconstruction, refinement and bead classifier; growth of the mean cluster size over all looks
baseline  single-bead autofocus and an area threshold: objects of more than k times a single bead's area are clusters. Focus,
          threshold, k and reading (share of clusters at the end, its change, or its growth by our own line) are those that give it
          the lowest limit of detection on the fitted set

ceiling   every bond of the truth counted, read as ours: what the scatter of the bonds themselves leaves

Both get a curve of their own from the fitted set and tell the doses of the scored set with it: other seeds, forward model, beads,
light and debris. The limit of detection is that of a curve fitted to the scored set, the ratio's interval by drawing chambers again,
the same ones for both methods. Fields of several such tiles are computed, not simulated: their responses are means, so that
variances fall by the number of tiles. Everything here is simulated. Chambers stay in the folder; a second run measures what is missing.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import cv2
import msgspec
import numpy as np

from device.analysis.aggregation import clusters_of, growth, look_at, start_line
from device.analysis.dose_response import Dose, DoseResponse, fit_dose_response
from device.analysis.drawing import FONT, INK, PAPER
from device.analysis.pipeline import Pipeline
from device.config import Config
from device.errors import InputError
from device.rig.models import build_pipeline, model_store
from tests.benchmarks.assay_chambers import (
    FITTED,
    FOCUSES,
    SCORED,
    THRESHOLDS,
    Conditions,
    Measured,
    chamber_frames,
    instrument_of,
    measured,
    single_area_um2,
)

SIDE_PX = 768
TIMES_S = (0.0, 400.0, 800.0, 1200.0)
LOW_PER_UL, HIGH_PER_UL = (0.0, 0.0, 5.0, 10.0, 20.0), (40.0, 80.0, 160.0)
"""Doses of one replicate, blanks twice; every other one has the high ones, too, which bind the curve and not the limits."""
BEAD_UM = 10.0
"""As the configuration says; the scored chambers' beads are a little larger."""
AREAS = (1.3, 1.5, 1.8, 2.2)
"""Of single beads, from which the baseline may count an object as a cluster."""
READINGS = ("share at the end", "change of the share", "growth by our line")
FIELD_UM = (SIDE_PX * 3.0, SIDE_PX * 3.0)
TILES = (1.0, 1.74, 4.0)
"""Fields: a tile as simulated, 5.3 mm2; the sensor's whole read-out, 9.2 mm2; 21 mm2, as published for such sensors."""
DRAWS = 400


class Chamber(msgspec.Struct, frozen=True):
    """One chamber, by its looks."""

    dose_per_ul: float
    number: int
    looks: list[Measured]


def chambers(out: Path, replicates: int) -> dict[str, list[Chamber]]:
    """Both sets, rendered and measured where they are not in the folder yet; some 25 minutes a set on a desktop core."""
    found = {where.name: list(_kept(_file(out, where))) for where in (FITTED, SCORED)}
    pipeline: Pipeline | None = None
    for replicate in range(replicates):
        for where in (FITTED, SCORED):
            for k, dose in enumerate(LOW_PER_UL if replicate % 2 else (*LOW_PER_UL, *HIGH_PER_UL)):
                number = 10 * replicate + k
                if any(chamber.number == number for chamber in found[where.name]):
                    continue
                pipeline = pipeline or _pipeline()
                frames = chamber_frames(where, instrument_of(SIDE_PX), dose, number, TIMES_S)
                chamber = Chamber(dose, number, [measured(frame, pipeline) for frame in frames])
                found[where.name].append(chamber)
                with _file(out, where).open("ab") as lines:
                    lines.write(msgspec.json.encode(chamber) + b"\n")
            print(f"{where.name}: {len(found[where.name])} chambers", flush=True)
    return found


def _file(out: Path, where: Conditions) -> Path:
    return out / f"chambers-{'fitted' if where is FITTED else 'scored'}.jsonl"


def _kept(path: Path) -> Iterator[Chamber]:
    for line in path.read_bytes().splitlines() if path.exists() else []:
        yield msgspec.json.decode(line, type=Chamber)


def _pipeline() -> Pipeline:
    config = Config()
    analysis = msgspec.structs.replace(config.analysis, classifier_model="beads", refine_most_particles=600)
    instrument = instrument_of(SIDE_PX)
    return build_pipeline(model_store(config), analysis, instrument.geometry, instrument=instrument)[0]


def ours(chamber: Chamber) -> float:
    """Bonds per bead, as the assay mode tells it."""
    looks = []
    for seen in chamber.looks:
        clusters, debris = clusters_of(seen.pieces, BEAD_UM)
        looks.append(look_at(clusters, FIELD_UM, seen.elapsed_s, debris))
    grown = growth(looks, TIMES_S[-1])
    return math.nan if grown is None else grown.bonds_per_bead


def ceiling(chamber: Chamber) -> float:
    """As ours, from the true clusters."""
    sizes = np.array([[sum(seen.true_clusters) / len(seen.true_clusters)] for seen in chamber.looks])
    return TIMES_S[-1] * float(start_line(np.array(TIMES_S), sizes)[0])


def baseline(focus: str, threshold: float, areas: float, reading: str) -> Callable[[Chamber], float]:
    """A way to read the area threshold."""
    key = f"{focus}/{threshold}"

    def response(chamber: Chamber) -> float:
        one_um2 = single_area_um2([seen.areas_um2[key] for seen in chamber.looks])
        shares = [
            float(np.mean(np.asarray(seen.areas_um2[key]) > areas * one_um2)) if seen.areas_um2[key] else 0.0
            for seen in chamber.looks
        ]
        if reading == READINGS[0]:
            return shares[-1]
        if reading == READINGS[1]:
            return shares[-1] - shares[0]
        rise = start_line(np.array(TIMES_S), 1 + np.array(shares)[:, None])
        return TIMES_S[-1] * float(rise[0])

    return response


@dataclass(frozen=True)
class Method:
    """A response, and the curve fitted to it."""

    name: str
    response: Callable[[Chamber], float]
    curve: DoseResponse

    @classmethod
    def fitted(cls, name: str, response: Callable[[Chamber], float], chambers: Sequence[Chamber]) -> Method:
        return cls(name, response, curve_of([c.dose_per_ul for c in chambers], [response(c) for c in chambers]))


def curve_of(doses: Sequence[float], responses: Sequence[float]) -> DoseResponse:
    return fit_dose_response(doses, responses)


def limit_of(curve: DoseResponse, tiles: float = 1.0) -> float:
    """Limit of detection per microlitre of a field of so many tiles; infinite where the range doesn't reach it."""
    wide = replace(curve, variance_blank=curve.variance_blank / tiles, variance_rise=curve.variance_rise / tiles)
    found = wide.limits().detection_per_ul
    return math.inf if found is None else found


def best_baselines(chambers: Sequence[Chamber]) -> list[Method]:
    """Of every reading the settings with the lowest limit on the fitted set, the best reading first."""
    found: list[Method] = []
    for reading in READINGS:
        tried = []
        for focus, threshold, areas in product(FOCUSES, THRESHOLDS, AREAS):
            name = f"{reading}; focus {focus}, |field - 1| > {threshold}, area > {areas} beads"
            try:
                tried.append(Method.fitted(name, baseline(focus, threshold, areas, reading), chambers))
            except InputError:
                continue
        found.append(min(tried, key=lambda method: limit_of(method.curve)))
    return sorted(found, key=lambda method: limit_of(method.curve))


def ratio_intervals(methods: Sequence[Method], scored: Sequence[Chamber], seed: int) -> list[tuple[float, float]]:
    """95 % of the ratio of the first method's limit to the second's for each width of field, chambers of each dose drawn again."""
    rng = np.random.default_rng(seed)
    doses = np.array([c.dose_per_ul for c in scored])
    responses = np.array([[method.response(c) for c in scored] for method in methods])
    ratios = np.zeros((DRAWS, len(TILES)))
    for draw in range(DRAWS):
        drawn = np.concatenate([rng.choice(np.flatnonzero(doses == d), int((doses == d).sum())) for d in np.unique(doses)])
        one, other = (curve_of(doses[drawn].tolist(), row[drawn].tolist()) for row in responses)
        for k, tiles in enumerate(TILES):
            mine, theirs = limit_of(one, tiles), limit_of(other, tiles)
            ratios[draw, k] = mine / theirs if math.isfinite(mine) else math.inf
    return [(float(low), float(high)) for low, high in np.quantile(ratios, [0.025, 0.975], axis=0, method="nearest").T]


def covers(dose: Dose, true_per_ul: float) -> bool:
    return dose.low <= true_per_ul <= (math.inf if dose.high is None else dose.high)


def table(method: Method, scored: Sequence[Chamber]) -> float:
    """Print dose, estimate and coverage; the coverage over all."""
    print(f"{'put in per uL':>14} {'chambers':>9} {'told':>6} {'median':>8} {'typical 95 % interval':>24} {'covered':>8}")
    covered = 0
    for level in sorted({c.dose_per_ul for c in scored}):
        doses = [method.curve.dose(method.response(c)) for c in scored if c.dose_per_ul == level]
        told = [d.value for d in doses if d.value is not None]
        low, high = (float(np.median(side)) for side in zip(*[_ends(d) for d in doses], strict=True))
        hits = sum(covers(d, level) for d in doses)
        covered += hits
        middle = f"{np.median(told):8.1f}" if told else "       -"
        interval = f"{low:.1f} to {high:.1f}" if math.isfinite(high) else f"above {low:.1f}"
        print(f"{level:14g} {len(doses):9d} {len(told):6d} {middle} {interval:>24} {hits:5d}/{len(doses)}")
    return covered / len(scored)


def _ends(dose: Dose) -> tuple[float, float]:
    return dose.low, math.inf if dose.high is None else dose.high


def picture(methods: Sequence[Method], limits: Sequence[float], scored: Sequence[Chamber]) -> np.ndarray:
    """Told against put in, both logarithmic, uint8 BGR: ours blue, the baseline red; nothing put in or told at the lower edges."""
    width, height, margin, least, most = 900, 640, 80, 1.0, 400.0
    out = np.full((height, width, 3), PAPER, np.uint8)

    def at(x: float, y: float) -> tuple[int, int]:
        across, up = ((math.log(min(max(v, least), most)) - math.log(least)) / math.log(most / least) for v in (x, y))
        return round(margin + across * (width - 1.5 * margin)), round(height - margin - up * (height - 1.5 * margin))

    for value in (1.0, 10.0, 100.0):
        cv2.line(out, at(value, least), at(value, most), (230, 230, 230), 1)
        cv2.line(out, at(least, value), at(most, value), (230, 230, 230), 1)
        name = "none" if value == least else f"{value:g}"
        cv2.putText(out, name, (at(value, least)[0] - 16, height - margin + 24), FONT, 0.5, INK, 1, cv2.LINE_AA)
        cv2.putText(out, name, (24, at(least, value)[1] + 5), FONT, 0.5, INK, 1, cv2.LINE_AA)
    cv2.line(out, at(least, least), at(most, most), (150, 150, 150), 1, cv2.LINE_AA)
    for k, (method, limit) in enumerate(zip(methods, limits, strict=True)):
        colour, aside = ((160, 90, 30), (60, 60, 200))[k], (0.96, 1.04)[k]
        if math.isfinite(limit):
            cv2.line(out, at(limit, least), at(limit, most), colour, 1, cv2.LINE_AA)
            cv2.putText(out, "limit", (at(limit, most)[0] + 4, 50 + 20 * k), FONT, 0.45, colour, 1, cv2.LINE_AA)
        for n, chamber in enumerate(scored):
            dose = method.curve.dose(method.response(chamber))
            x = max(chamber.dose_per_ul, least) * aside * math.exp(0.015 * (n % 7 - 3))
            low, high = _ends(dose)
            cv2.line(out, at(x, low), at(x, high), colour, 1, cv2.LINE_AA)
            cv2.circle(out, at(x, dose.value or least), 3, colour, -1, cv2.LINE_AA)
    cv2.putText(out, "put in, per uL (simulated)", (width // 2 - 120, height - 18), FONT, 0.55, INK, 1, cv2.LINE_AA)
    caption = "told, per uL, with 95 % interval: ours blue, single-bead autofocus and area threshold red"
    cv2.putText(out, caption, (margin, 24), FONT, 0.45, INK, 1, cv2.LINE_AA)
    return out


def report(fitted: Sequence[Chamber], scored: Sequence[Chamber], out: Path) -> None:
    """Print the tables and the limits, draw the picture."""
    mine, baselines = Method.fitted("ours", ours, fitted), best_baselines(fitted)
    base = baselines[0]
    volume_ul = math.prod(FIELD_UM) * 100.0 * 1e-9
    beads = np.mean([sum(c.looks[0].true_clusters) for c in scored])
    print(f"SIMULATED: {len(fitted)} chambers fitted ({FITTED.name}), {len(scored)} scored ({SCORED.name}); a field of {SIDE_PX} px, "
          f"{volume_ul:.2f} uL, {beads:.0f} beads; looks at {', '.join(f'{t / 60:.0f}' for t in TIMES_S)} min")  # fmt: skip
    limits: list[float] = []
    for title, method in (("OURS", mine), ("BASELINE", base)):
        print(f"\n{title}: {method.name}; curve from the fitted set, doses of the scored set")
        coverage = table(method, scored)
        print(f"95 % intervals cover {coverage:.1%} of {len(scored)} chambers")
        rescored = Method.fitted(method.name, method.response, scored)
        blanks = [method.response(c) for c in scored if c.dose_per_ul == 0]
        limits.append(limit_of(rescored.curve))
        print(f"blanks respond {np.mean(blanks):.4f} +- {np.std(blanks, ddof=1):.4f}; limit of detection {limits[-1]:.2f} per uL "
              f"(fitted set: {limit_of(method.curve):.2f})")  # fmt: skip
    print(
        "\nbaseline by reading, limit of detection per uL on the fitted and the scored set, and ours over it on the scored one:"
    )
    for method in baselines:
        there = limit_of(Method.fitted(method.name, method.response, scored).curve)
        print(f"  {limit_of(method.curve):7.2f} {there:7.2f} {limits[0] / there:7.2f}   {method.name}")
    _print_ratios(mine, base, scored)
    cv2.imwrite(str(out / "assay.png"), picture((mine, base), limits, scored))
    print(f"picture in {out / 'assay.png'}")


def _print_ratios(mine: Method, base: Method, scored: Sequence[Chamber]) -> None:
    """Limits on the scored set by width of field, the ceiling's and the ratio to the best baseline beside them."""
    curves = [Method.fitted("", response, scored).curve for response in (mine.response, base.response, ceiling)]
    print(
        "\nlimit of detection per uL, scored set (1 tile simulated, wider fields computed); bar: ours at most half the baseline's"
    )
    print(f"{'tiles':>7} {'ours':>7} {'baseline':>9} {'ceiling':>8} {'ours/baseline':>14} {'95 %':>14}  bar")
    for tiles, (low, high) in zip(TILES, ratio_intervals((mine, base), scored, seed=1), strict=True):
        one, other, most = (limit_of(curve, tiles) for curve in curves)
        verdict = "met" if one <= 0.5 * other else "missed"
        print(f"{tiles:7g} {one:7.2f} {other:9.2f} {most:8.2f} {one / other:14.2f} {low:6.2f} to {high:.2f}  {verdict}")


def main() -> None:
    """Render, measure, fit, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/assay"))
    parser.add_argument("--replicates", type=int, default=8)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    found = chambers(args.out, args.replicates)
    numbers = 10 * args.replicates
    report(*([c for c in found[where.name] if c.number < numbers] for where in (FITTED, SCORED)), args.out)


if __name__ == "__main__":
    main()
