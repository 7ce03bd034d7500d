"""How fast a stream can be looked at: `python -m tests.benchmarks.flow_rate [--flow-ml-h 100] [--density 0 10 100 1000 10000]`.

Full frames of the 12-megapixel flow cytometer on one core, by stage, against particles per millilitre. Gapless means that every
volume is shown by some frame: a frame for every field of view that flows by, flow / (field * channel height) a second at the mean
speed; the fastest layer, in the channel's middle, asks for more, which is printed beside it. What is sustained is how many frames
a second one core analyses, so the flow that is gapless in steady state is that rate times the volume of a field.

The named baseline, in the same run: back-propagation of the whole frame, the least that a holographic reconstruction does. Frames
are simulated; the machine's seconds are its own, the ratios carry over.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from device.analysis.background import median_background
from device.analysis.locate import is_empty
from device.analysis.pipeline import Pipeline
from device.analysis.reconstruct import fitted_tile, reconstruct, tile_starts
from device.config import load_config
from device.duct_flow import duct_of
from device.frames import Exposure, Hologram, LampState, RawFrame
from device.instrument import Instrument, load_instrument
from device.optics.propagation import backpropagate
from device.rig.models import build_pipeline, model_store
from device.rig.simulated import twin_world
from device.sampling.holograms import divided

WIDTH_PX, HEIGHT_PX = 4056, 3040
"""Of the whole IMX477."""
INSTRUMENT = Path(__file__).resolve().parents[2] / "calibration" / "instruments" / "flow-imx477-530nm.toml"
BACKGROUND_FRAMES = 5
T = TypeVar("T")


@dataclass(frozen=True)
class Rate:
    """Seconds of one frame, by stage."""

    per_ml: float
    particles: float
    tiles_share: float
    """Tile passes over those of the whole field."""
    stages_s: dict[str, float]
    baseline_s: float

    @property
    def whole_s(self) -> float:
        return sum(self.stages_s.values())


def holograms(instrument: Instrument, per_ml: float, seed: int, count: int) -> tuple[list[Hologram], float]:
    """Frames of a stream, each over the median of its neighbours, and the seconds that this took a frame."""
    config = load_config("simulated-flow")
    mixture = config.twin.concentration_per_m3
    scale = per_ml * 1000 / sum(mixture.values())
    twin = msgspec.structs.replace(
        config.twin, realtime=False, seed=seed, concentration_per_m3={k: v * scale for k, v in mixture.items()}
    )
    world = twin_world(msgspec.structs.replace(config, twin=twin), instrument=instrument)
    current_ma = instrument.lamp.max_current_ma
    world.lamp = LampState(0, current_ma, acknowledged=True)
    exposure = Exposure(config.camera.exposure_us, 1.0, 0, current_ma)
    frames = []
    world.set_flow(instrument.fluidics.flow_ml_min)
    for _ in range(max(count, BACKGROUND_FRAMES)):
        world.sleep(1.0)
        frames.append(_raw(world.expose(exposure), exposure, world.lamp, instrument, len(frames)))
    began_s = time.perf_counter()
    background = median_background([frame.pixels.astype(np.float32) for frame in frames])
    shared_s = (time.perf_counter() - began_s) / len(frames)
    took = [timed(lambda f=frame: divided(instrument, f, background)) for frame in frames[:count]]
    return [hologram for _, hologram in took], shared_s + statistics.median(seconds for seconds, _ in took)


def _raw(pixels: NDArray[np.uint16], exposure: Exposure, lamp: LampState, instrument: Instrument, index: int) -> RawFrame:
    return RawFrame(pixels, instrument.sensor.bit_depth, exposure, lamp, index + 1, datetime.now(UTC), index=index)


def timed(action: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what came of it."""
    began_s = time.perf_counter()
    result = action()
    return time.perf_counter() - began_s, result


def rate(instrument: Instrument, plain: Pipeline, refined: Pipeline, per_ml: float, seed: int, count: int) -> Rate:
    """Stages of a frame: medians over `count` frames."""
    frames, background_s = holograms(instrument, per_ml, seed, count)
    kept: dict[str, list[float]] = {"divide": [], "look": [], "reconstruct": [], "measure": [], "refine": []}
    baseline, tiles, found = list[float](), list[float](), list[float]()
    assert plain.network is not None
    shape = frames[0].intensity.shape
    side = [fitted_tile(n, plain.network) for n in shape]
    whole = len(tile_starts(shape[0], side[0], plain.network.margin_px)) * len(
        tile_starts(shape[1], side[1], plain.network.margin_px)
    )
    per_pass = side[0] * side[1] * whole
    for hologram in frames:
        baseline.append(timed(lambda h=hologram: backpropagate(h.intensity, h.geometry))[0])
        look_s, empty = timed(lambda h=hologram: is_empty(h.intensity, h.noise))
        rest_s, analysis = timed(lambda h=hologram: plain.analyse(h))
        all_s, _ = timed(lambda h=hologram: refined.analyse(h))
        network_s, result = (0.0, None) if empty else timed(lambda h=hologram: reconstruct(h, plain.network))
        kept["look"].append(look_s)
        kept["reconstruct"].append(network_s)
        kept["measure"].append(max(rest_s - network_s - look_s, 0.0))
        kept["refine"].append(max(all_s - rest_s, 0.0))
        found.append(len(analysis.particles))
        passes = 0 if result is None else result.tiles
        small = plain.network.tile_px**2
        tiles.append(min(passes * small / per_pass, 1.0) if passes != whole else 1.0)
    kept["divide"] = [background_s]
    stages = {name: statistics.median(values) for name, values in kept.items()}
    return Rate(per_ml, statistics.mean(found), statistics.mean(tiles), stages, statistics.median(baseline))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flow-ml-h", type=float, default=100.0)
    parser.add_argument("--density", type=float, nargs="+", default=[0.0, 10.0, 100.0, 1000.0, 10_000.0], metavar="PER_ML")
    parser.add_argument("--frames", type=int, default=3, help="frames of each density")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    config, region = load_config("simulated-flow"), load_instrument(str(INSTRUMENT))
    sensor = msgspec.structs.replace(region.sensor, width_px=WIDTH_PX, height_px=HEIGHT_PX)
    instrument = msgspec.structs.replace(region, sensor=sensor)
    pitch_um, duct = instrument.geometry.object_pitch_um, duct_of(instrument)
    field_ul = sensor.width_px * sensor.height_px * pitch_um**2 * duct.height_um * 1e-9
    needed_hz = args.flow_ml_h / 3.6 / field_ul
    megapixels = sensor.width_px * sensor.height_px / 1e6
    print(f"{instrument.name}: {megapixels:.1f} megapixels of {pitch_um:g} um over {duct.height_um:g} um: {field_ul:.1f} uL a frame; "
          f"{args.flow_ml_h:g} mL/h = {needed_hz:.2f} full frames a second at the mean speed, {needed_hz * duct.fastest():.2f} for the "
          f"fastest layer")  # fmt: skip
    store = model_store(config)
    plain, refined = (
        build_pipeline(
            store, msgspec.structs.replace(config.analysis, refine_iterations=k), instrument.geometry, instrument=instrument
        )[0]
        for k in (0, config.analysis.refine_iterations)
    )
    print(f"{'per mL':>8} {'found':>6} {'tiles':>6} {'divide':>8} {'look':>8} {'network':>8} {'measure':>8} {'refine':>8} "
          f"{'frame, s':>9} {'over back-prop.':>15} {'frames/s':>9} {'gapless mL/h, one core':>23} {'without refining':>17}")  # fmt: skip
    for per_ml in args.density:
        found = rate(instrument, plain, refined, per_ml, args.seed, args.frames)
        stages, whole_s = found.stages_s, found.whole_s
        without_s = whole_s - stages["refine"]
        gapless = [3.6 * field_ul / seconds for seconds in (whole_s, without_s)]
        print(f"{per_ml:8g} {found.particles:6.0f} {found.tiles_share:6.0%} {stages['divide']:8.3f} {stages['look']:8.3f} "
              f"{stages['reconstruct']:8.3f} {stages['measure']:8.3f} {stages['refine']:8.3f} {whole_s:9.2f} "
              f"{whole_s / found.baseline_s:15.1f} {1 / whole_s:9.3f} {gapless[0]:23.1f} {gapless[1]:17.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
