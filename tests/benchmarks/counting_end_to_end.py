"""Known concentrations through the whole instrument: `python -m tests.benchmarks.counting_end_to_end [--minutes 30] [--report]`.

The simulated world in front of the real service's chain: lamp, pump and flow meter speak the real serial protocol to the real
firmware on a simulated microcontroller, the frames go through reconstruction, tracking and counting into the store, and what is
scored are the interval records read back from it. The flow meter of every run is off by what its calibration may leave
(1 %, one standard deviation), and the particles move with the true flow.

The detection efficiency comes from a count calibration first: other seeds, one concentration, the same mixture, the procedure of
`holonode-calibrate counts`. Runs go on for `--minutes` and add up in the folder of `--work` over many calls; every call prints
what there is so far. Everything here is simulated.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import msgspec
import numpy as np

from calibration.procedures.counts import measure_counts
from device.analysis.pipeline import Pipeline
from device.analysis.report import RecordProvenance
from device.calibration import CalibrationRecord, sealed, write_record
from device.config import Config, PumpConfig, config_hash, load_config
from device.instrument import Instrument, load_instrument
from device.records import Interval, from_json
from device.rig.build import build_rig
from device.rig.models import build_pipeline, model_store
from device.rig.modes import build_mode
from device.rig.records import calibrations
from device.rig.rig import Rig
from device.rig.simulated import twin_world
from device.service.recorder import Recorder
from device.service.timekeeper import Beginning
from device.storage.outbox import Outbox
from device.twin.world import TwinWorld
from tests.benchmarks.counting_twin import AIR_PER_M3, FLOW_PER_ML, Row, picture
from tests.firmware import Firmware

METER_UNCERTAINTY = 0.01
"""Of the flow meter after `holonode-calibrate flow`, one standard deviation, relative."""
LEAST_EXPECTED = 3.0
"""Fewer particles in an interval tell nothing of bias or coverage: zero is then the likeliest count and always covered."""


@dataclass(frozen=True)
class Bench:
    """One of the two instruments on the bench."""

    preset: str
    unit: str
    put_in: tuple[float, ...]
    calibrated_at: float
    """Concentration of the count calibration."""
    mixture: dict[str, float]
    """Shares of the particles, by morphology."""
    intervals: int
    """Of one run."""
    full_flow_ml_min: float
    meter_ml_per_pulse: float


BENCHES = {
    "flow": Bench(
        "simulated-flow", "per mL", FLOW_PER_ML, 500.0,
        {"centric-diatom": 0.15, "pennate-diatom": 0.25, "euglena": 0.25, "giardia": 0.15, "detritus": 0.2}, 2, 2.0, 0.001,
    ),
    "impactor": Bench(
        "simulated-bioaerosol", "per m3", AIR_PER_M3, 10_000.0,
        {"birch": 0.15, "grass": 0.1, "ragweed": 0.15, "alternaria": 0.2, "cladosporium": 0.2, "dust": 0.2}, 6, 20_000.0, 10.0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One interval record, and what is known of the truth."""

    bench: str
    purpose: str
    """calibration, or score."""
    put_in: float
    run: int
    counted: int
    volume: float
    """As recorded: millilitres, or cubic metres."""
    true_volume: float
    """That the meter's error made of it."""
    value: float
    low: float
    high: float
    frames: int
    elapsed_s: float


class Plumbing:
    """Moves the sample as the controller's pump pin says, and turns the flow meter's wheel, a little off."""

    def __init__(self, bench: Bench, firmware: Firmware, world: TwinWorld, scale: float) -> None:
        self._bench, self._firmware, self._world, self._scale = bench, firmware, world, scale
        self._moved_ml, self._pulses = 0.0, 0
        self._simulated_sleep = world.sleep
        world.sleep = self._sleep

    def volume_ml(self) -> float:
        """Truly moved."""
        return self._moved_ml

    def _sleep(self, seconds: float) -> None:
        flow_ml_min = self._firmware.pump() * self._bench.full_flow_ml_min
        self._world.set_flow(flow_ml_min)
        self._simulated_sleep(seconds)
        self._moved_ml += flow_ml_min * seconds / 60
        due = math.floor(self._moved_ml / (self._bench.meter_ml_per_pulse * self._scale)) - self._pulses
        if due > 0:
            self._firmware.pulse_flow(due)
            self._pulses += due


def configured(bench: Bench, folder: Path, put_in: float, seed: int, port: str, calibration: Path) -> Config:
    """The preset in simulated time with lamp, pump and sensors on the controller."""
    config = load_config(bench.preset)
    per_litre = 1000.0 if bench.unit == "per mL" else 1.0
    particles = {label: share * put_in * per_litre for label, share in bench.mixture.items()}
    replace = msgspec.structs.replace
    return replace(
        config,
        twin=replace(config.twin, realtime=False, seed=seed, concentration_per_m3=particles),
        analysis=replace(config.analysis, classifier_model=""),
        storage=replace(config.storage, folder=str(folder / "store")),
        calibration=replace(config.calibration, folder=str(calibration)),
        # Of the whole 13 L that the instrument's pump moves in a minute.
        sampling=replace(config.sampling, sample_volume_l=13.0),
        controller=replace(config.controller, port=port, acknowledge_timeout_s=2.0),
        lamp=replace(config.lamp, driver="serial", current_ma=min(config.lamp.current_ma, 50.0)),
        pump=PumpConfig(
            driver="serial", full_flow_ml_min=bench.full_flow_ml_min, meter_ml_per_pulse=bench.meter_ml_per_pulse
        ),
        environment=replace(config.environment, driver="serial"),
    )  # fmt: skip


def instrument_of(bench: Bench) -> Instrument:
    """The reference instrument with its flow meter calibrated; the flow cytometer's lamp at what the controller can give."""
    nominal = load_instrument(load_config(bench.preset).device.instrument)
    fluidics = msgspec.structs.replace(nominal.fluidics, flow_relative_uncertainty=METER_UNCERTAINTY)
    lamp = msgspec.structs.replace(nominal.lamp, max_current_ma=50.0)
    return msgspec.structs.replace(nominal, fluidics=fluidics, lamp=lamp)


@contextmanager
def wired(config: Config, bench: Bench, firmware: Firmware, instrument: Instrument, scale: float) -> Generator[Rig]:
    """The drivers over a world that moves as the controller's pins say."""
    world = twin_world(config, instrument=instrument)
    plumbing = Plumbing(bench, firmware, world, scale)
    drivers = build_rig(config, instrument, world)
    world.follow_pump(plumbing.volume_ml)
    try:
        drivers.camera.start()
        yield drivers
    finally:
        drivers.close()


def one_run(
    name: str, purpose: str, put_in: float, run: int, pipeline: Pipeline, instrument: Instrument, calibration: Path
) -> list[Line]:
    """Intervals of one box at one concentration, as its store holds them afterwards."""
    bench = BENCHES[name]
    seed = (1_000_000 if purpose == "calibration" else 2_000_000) + run
    scale = math.exp(METER_UNCERTAINTY * np.random.default_rng([seed, 7]).normal())
    folder, firmware, times_s = Path(tempfile.mkdtemp()), Firmware(), list[float]()
    try:
        firmware.set_sensors(0.5, 0.5, 0.5, 0.8, 0.5)
        config = configured(bench, folder, put_in, seed, firmware.port, calibration)
        calibrated = calibrations(config, instrument)
        outbox = Outbox(folder / "store", config.device.id)
        origin = RecordProvenance(config.device.id, outbox.spool_id, config_hash(config), pipeline.id, pipeline.models, config.sampling.mode,
                        calibrated.id, ("particle",))  # fmt: skip
        recorder = Recorder(outbox, None, lambda _line: None)
        with wired(config, bench, firmware, instrument, scale) as drivers:
            mode = build_mode(config, calibrated, pipeline, drivers, drivers.time.sleep, outbox)
            for _ in range(bench.intervals):
                began_s, began = time.monotonic(), Beginning.at(outbox.clock)
                found = mode.take()
                assert found is not None
                recorder.interval(origin, found, began, {})
                times_s.append(time.monotonic() - began_s)
        records = [from_json(row.body, Interval) for row in outbox.pending(100_000) if row.kind == "intervals"]
        outbox.close()
    finally:
        firmware.close()
        shutil.rmtree(folder)
    assert len(records) == len(times_s)
    return [_line(name, purpose, put_in, run, r, scale, t) for r, t in zip(records, times_s, strict=True)]


def _line(name: str, purpose: str, put_in: float, run: int, record: Interval, scale: float, elapsed_s: float) -> Line:
    total = record.concentration["total"]
    volume = record.volume_ml if name == "flow" else record.volume_m3
    assert volume
    return Line(name, purpose, put_in, run, record.counts["total"].n, volume, volume * scale, total.value, total.low, total.high,
                record.frames.analysed, round(elapsed_s, 2))  # fmt: skip


def lines_of(work: Path) -> list[Line]:
    """What earlier calls left."""
    path = work / "intervals.jsonl"
    return [Line(**json.loads(text)) for text in path.read_text().splitlines()] if path.exists() else []


def calibrate(name: str, instrument: Instrument, lines: Sequence[Line], folder: Path) -> float:
    """Write the count calibration of the runs so far; returns the efficiency."""
    runs = [line for line in lines if line.bench == name and line.purpose == "calibration"]
    outcome = measure_counts(
        sum(line.counted for line in runs), volume_ml=sum(line.volume for line in runs),
        concentration_per_ml=BENCHES[name].calibrated_at, relative_uncertainty=METER_UNCERTAINTY,
    )  # fmt: skip
    assert outcome.passed, outcome.reasons
    now = datetime.now(UTC)
    record = CalibrationRecord(
        instrument_id=instrument.id, made_at=now, procedure="counts", values=outcome.values, residuals=outcome.residuals,
        verdict="pass", valid_until=now + timedelta(days=365),
    )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    write_record(folder, sealed(record))
    return outcome.values["detection_efficiency"].value


def campaign(names: Sequence[str], work: Path, minutes: float, calibration_runs: int) -> None:
    """Runs, the concentrations in turn, until the time is up; each is kept as soon as it is done."""
    until_s = time.monotonic() + 60 * minutes
    pipelines: dict[str, tuple[Pipeline, Instrument]] = {}
    for name in names:
        config, instrument = load_config(BENCHES[name].preset), instrument_of(BENCHES[name])
        settings = msgspec.structs.replace(config.analysis, classifier_model="")
        pipeline, _ = build_pipeline(model_store(config), settings, instrument.geometry, instrument=instrument)
        pipelines[name] = (pipeline, instrument)
    with (work / "intervals.jsonl").open("a", encoding="utf-8") as kept:
        while time.monotonic() < until_s:
            for name in names:
                lines, bench = [line for line in lines_of(work) if line.bench == name], BENCHES[name]
                folder = work / f"calibration-{name}"
                calibrated = {line.run for line in lines if line.purpose == "calibration"}
                if len(calibrated) < calibration_runs:
                    purpose, put_in, run, used = "calibration", bench.calibrated_at, len(calibrated), work / "none"
                else:
                    calibrate(name, pipelines[name][1], lines, folder)
                    counts = {
                        c: len({line.run for line in lines if line.purpose == "score" and line.put_in == c})
                        for c in bench.put_in
                    }
                    put_in = min(bench.put_in, key=lambda c: (counts[c], c))
                    purpose, used = "score", folder
                    run = 1000 * bench.put_in.index(put_in) + counts[put_in]
                for line in one_run(name, purpose, put_in, run, *pipelines[name], used):
                    kept.write(json.dumps(asdict(line)) + "\n")
                kept.flush()


def report(name: str, lines: Sequence[Line], out: Path) -> None:
    """The table and the picture of one instrument."""
    bench = BENCHES[name]
    runs = [line for line in lines if line.bench == name and line.purpose == "calibration"]
    if not runs:
        return
    efficiency = sum(r.counted for r in runs) / sum(r.volume * bench.calibrated_at for r in runs)
    print(f"\n{name.upper()}, end to end over the serial protocol and the simulated controller; efficiency {efficiency:.3f} from a count "
          f"calibration on {sum(r.counted for r in runs)} particles")  # fmt: skip
    print(f"{'put in ' + bench.unit:>16} {'intervals':>9} {'expected':>9} {'counted':>8} {'mean':>10} {'bias (95 %)':>22} "
          f"{'variance/Poisson':>17} {'covered':>12} {'seen':>6}")  # fmt: skip
    rows, pooled, covered, volume = list[Row](), [0.0, 0.0], list[bool](), 0.0
    for put_in in bench.put_in:
        here = [line for line in lines if line.bench == name and line.purpose == "score" and line.put_in == put_in]
        if not here:
            continue
        rows.append(_row(here, put_in, efficiency))
        expected = put_in * efficiency * sum(line.true_volume for line in here)
        weight = sum(line.volume for line in here)
        mean = sum(line.value * line.volume for line in here) / weight
        volume = weight / len(here)
        spread = 1.96 * math.hypot(
            1 / math.sqrt(max(expected, 1e-9)), METER_UNCERTAINTY / math.sqrt(len({r.run for r in here}))
        )
        inside = [line.low <= put_in <= line.high for line in here]
        tells = expected / len(here) >= LEAST_EXPECTED
        if tells:
            pooled[0] += mean / put_in * expected
            pooled[1] += expected
            covered += inside
        print(f"{put_in:16g} {len(here):9d} {expected / len(here):9.3g} {sum(r.counted for r in here):8d} {mean:10.4g} "
              f"{mean / put_in - 1:+10.1%} +- {spread:7.1%} {rows[-1].variance_over_poisson:17.2f} "
              f"{sum(inside):5d}/{len(inside):<6d} {rows[-1].seen:6.0%}" + ("" if tells else "   too few to tell"))  # fmt: skip
    if pooled[1]:
        spread = 1.96 / math.sqrt(pooled[1])
        print(f"pooled where {LEAST_EXPECTED:g} or more were expected an interval: bias {pooled[0] / pooled[1] - 1:+.1%} +- {spread:.1%}, "
              f"covered {np.mean(covered):.1%} of {len(covered)}")  # fmt: skip
    if not rows:
        return
    floor = -math.log(0.05) / efficiency
    print(f"limit of detection {floor / volume:.4g} {bench.unit} in one interval: zero-background Poisson floor 3 / efficiency = "
          f"{floor:.2f} particles in {volume:.4g}")  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out / f"{name}.png"), picture(rows, [], floor / volume, bench.unit))


def _row(here: Sequence[Line], put_in: float, efficiency: float) -> Row:
    values = [line.value for line in here]
    expected = np.array([put_in * efficiency * line.true_volume for line in here])
    counted = np.array([line.counted for line in here])
    # Against the mean that was, so that a bias isn't taken for spread.
    mean = expected * counted.sum() / expected.sum()
    ratio = float(((counted - mean) ** 2 / np.maximum(mean, 1e-9)).sum() / max(len(here) - 1, 1)) if counted.sum() else math.nan
    low, high = np.quantile(values, [0.025, 0.975])
    return Row(put_in, float(np.mean(values)), ratio, math.nan, float(np.mean(counted > 0)), (float(low), float(high)))


def main() -> None:
    """Run, or only report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/counting-end-to-end"))
    parser.add_argument("--minutes", type=float, default=30.0, help="go on for this long")
    parser.add_argument("--mode", choices=[*BENCHES], action="append", help="one instrument only")
    parser.add_argument("--calibration-runs", type=int, default=30, help="runs of the count calibration before scoring")
    parser.add_argument("--report", action="store_true", help="only print what there is")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    names = args.mode or list(BENCHES)
    if not args.report:
        campaign(names, args.work, args.minutes, args.calibration_runs)
    for name in names:
        report(name, lines_of(args.work), args.work)
    print(f"\npictures in {args.work}")


if __name__ == "__main__":
    main()
