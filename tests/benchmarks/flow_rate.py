"""How fast a stream can be looked at: `python -m tests.benchmarks.flow_rate [--flow-ml-h 100] [--density 0 10 100 1000 10000]`.

Full frames of the 12-megapixel flow cytometer on one core, by stage, against particles per millilitre. Gapless means that every
volume is shown by some frame: a frame for every field of view that flows by, flow / (field * channel height) a second at the mean
speed; the fastest layer, in the channel's middle, asks for more, which is printed beside it. What is sustained is how many frames
a second one core analyses, so the flow that is gapless in steady state is that rate times the volume of a field.

The named baseline, in the same run: back-propagation of the whole frame, the least that a holographic reconstruction does. Frames
are simulated; seconds are the process's own on the processor, which are the machine's; the ratios carry over.

A stream is weighed by its frames as they come: seconds are means over all of them, the empty ones among the others, for that is what
a core has to keep up with; most frames of thin suspensions hold nothing, and a median would speak of those alone. Beside the mean stands
its standard error from frame to frame.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
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
from device.arguments import whole
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
    """Means over the stream."""
    baseline_s: float
    whole_error_s: float
    """Standard error of the mean of a whole frame."""
    empty_share: float
    """Frames that `look` found empty."""

    @property
    def whole_s(self) -> float:
        return sum(self.stages_s.values())


def holograms(instrument: Instrument, per_ml: float, seed: int, count: int) -> Iterator[tuple[Hologram, float]]:
    """Frames of a stream, each over the median of its burst, and the seconds that this took."""
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
    world.set_flow(instrument.fluidics.flow_ml_min)
    for first in range(0, count, BACKGROUND_FRAMES):
        frames: list[RawFrame] = []
        for k in range(BACKGROUND_FRAMES):
            world.sleep(1.0)
            frames.append(_raw(world.expose(exposure), exposure, world.lamp, instrument, first + k))
        burst = [frame.pixels.astype(np.float32) for frame in frames]
        background_s, background = timed(lambda b=burst: median_background(b))
        for frame in frames[: count - first]:
            divided_s, hologram = timed(lambda f=frame, b=background: divided(instrument, f, b))
            yield hologram, background_s / len(frames) + divided_s


def _raw(pixels: NDArray[np.uint16], exposure: Exposure, lamp: LampState, instrument: Instrument, index: int) -> RawFrame:
    return RawFrame(pixels, instrument.sensor.bit_depth, exposure, lamp, index + 1, datetime.now(UTC), index=index)


def timed(action: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what came of it."""
    began_s = time.process_time()
    result = action()
    return time.process_time() - began_s, result


def rate(instrument: Instrument, plain: Pipeline, refined: Pipeline, per_ml: float, seed: int, count: int) -> Rate:
    """Stages of a frame: means over `count` frames of a stream."""
    kept: dict[str, list[float]] = {"divide": [], "look": [], "reconstruct": [], "measure": [], "refine": []}
    baseline, tiles, found = list[float](), list[float](), list[float]()
    empties = 0
    assert plain.network is not None
    shape = instrument.sensor.height_px, instrument.sensor.width_px
    side = [fitted_tile(n, plain.network) for n in shape]
    every = len(tile_starts(shape[0], side[0], plain.network.margin_px)) * len(
        tile_starts(shape[1], side[1], plain.network.margin_px)
    )
    per_pass = side[0] * side[1] * every
    for hologram, divided_s in holograms(instrument, per_ml, seed, count):
        kept["divide"].append(divided_s)
        baseline.append(timed(lambda h=hologram: backpropagate(h.intensity, h.geometry))[0])
        look_s, empty = timed(lambda h=hologram: is_empty(h.intensity, h.noise))
        rest_s, analysis = timed(lambda h=hologram: plain.analyse(h))
        all_s, _ = timed(lambda h=hologram: refined.analyse(h))
        network_s, result = (0.0, None) if empty else timed(lambda h=hologram: reconstruct(h, plain.network))
        empties += empty
        kept["look"].append(look_s)
        kept["reconstruct"].append(network_s)
        kept["measure"].append(max(rest_s - network_s - look_s, 0.0))
        kept["refine"].append(max(all_s - rest_s, 0.0))
        found.append(len(analysis.particles))
        passes = 0 if result is None else result.tiles
        small = plain.network.tile_px**2
        tiles.append(min(passes * small / per_pass, 1.0) if passes != every else 1.0)
    stages = {name: statistics.mean(values) for name, values in kept.items()}
    whole_s = [sum(values) for values in zip(*kept.values(), strict=True)]
    error_s = statistics.stdev(whole_s) / len(whole_s) ** 0.5
    return Rate(
        per_ml, statistics.mean(found), statistics.mean(tiles), stages, statistics.mean(baseline), error_s, empties / count
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flow-ml-h", type=float, default=100.0)
    parser.add_argument("--density", type=float, nargs="+", default=[0.0, 10.0, 100.0, 1000.0, 10_000.0], metavar="PER_ML")
    parser.add_argument("--frames", type=whole(2, 100_000), default=20, help="frames of each density (default 20)")
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
    print(f"{'per mL':>8} {'found':>6} {'empty':>6} {'tiles':>6} {'divide':>8} {'look':>8} {'network':>8} {'measure':>8} {'refine':>8} "
          f"{'frame, s':>15} {'over back-prop.':>15} {'frames/s':>9} {'gapless mL/h, one core':>23} {'without refining':>17}")  # fmt: skip
    for per_ml in args.density:
        found = rate(instrument, plain, refined, per_ml, args.seed, args.frames)
        stages, whole_s = found.stages_s, found.whole_s
        without_s = whole_s - stages["refine"]
        gapless = [3.6 * field_ul / seconds for seconds in (whole_s, without_s)]
        print(f"{per_ml:8g} {found.particles:6.1f} {found.empty_share:6.0%} {found.tiles_share:6.0%} {stages['divide']:8.3f} {stages['look']:8.3f} "
              f"{stages['reconstruct']:8.3f} {stages['measure']:8.3f} {stages['refine']:8.3f} {whole_s:7.2f} +- {found.whole_error_s:4.2f} "
              f"{whole_s / found.baseline_s:15.1f} {1 / whole_s:9.3f} {gapless[0]:23.1f} {gapless[1]:17.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
