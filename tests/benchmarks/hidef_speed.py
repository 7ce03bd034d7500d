"""What a HIDEF field costs beside classical retrievals of the same hologram, on one core, and how far it is from the floor.

Field of 512 x 512 with particles on eight depths over +-100 um, by multi-slice on a grid twice as fine with the sensor's
noise. All tasks take turns in one process; seconds of processor time (other jobs don't count) and, beside them, of wall
time: medians with least and most; a ratio is the median of the rounds' own ratios.

What is compared: HIDEF is one back-propagation and one pass for all depths. A classical single-frame method retrieves one
plane; depths are unknown, so it is run at every plane of the range, a depth of field apart: wavelength / NA^2, NA from
the pixels (wavelength / 2 pitch). Eight heights are retrieved once, for the field is then known as a wave, and carried to
every one of those planes. The ratio for a single plane is printed too. Quality stands beside each cost: particle-local
complex error and correlation (medians, 95 % bootstrap), the classical methods told each particle's depth.

Floor: multiply-accumulates of the file over what the runtime reaches on one large convolution (needs the training extra),
and bytes of a transform over what a copy moves.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.hidef_speed [--rounds 3] [--quick]
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from device.analysis.locate import is_empty
from device.analysis.pipeline import Pipeline
from device.analysis.reconstruct import reconstruct
from device.config import load_config
from device.frames import Hologram
from device.inference.interpreter import Interpreter
from device.inference.networks import HidefNetwork
from device.optics import fft
from device.optics.multiheight import retrieve_multi_height
from device.optics.phase_retrieval import retrieve_single_shot
from device.optics.propagation import backpropagate, compute_transfer_function, propagate
from device.rig.models import build_pipeline, model_store
from device.twin.forward import multislice_hologram, multislice_object_field, scattered_wave
from device.twin.scene import SimulatedParticle, draw_particle, snap_depths
from models.recipes.hidef.evaluation import GEOMETRY, LABELS, LIGHT, field_metrics
from models.training.quality import bootstrap_median

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]
Task = Callable[[], object]

SIDE_PX = 512
HALF_RANGE_UM = 100.0
PLANES = 8
PITCH_UM, WAVELENGTH_UM = GEOMETRY.pitch_um, GEOMETRY.wavelength_um
ELECTRONS = 0.6 * 4700.0
NOISE = math.sqrt(2 * (1 / ELECTRONS + (3 / ELECTRONS) ** 2 + (4.9 / ELECTRONS) ** 2 / 12))
HEIGHTS_UM = tuple(60.0 * k for k in range(8))
SWEEPS = 60
"""Of the textbook multi-height loop; what it gains from more is printed by multi_height_speed."""
CLASSICAL_ITERATIONS, COMPRESSIVE_ITERATIONS = 30, 200


@dataclass(frozen=True)
class Cost:
    """Seconds of a task, one a round."""

    cpu_s: tuple[float, ...]
    wall_s: tuple[float, ...]

    def __str__(self) -> str:
        spread = f"{min(self.cpu_s):.3g} to {max(self.cpu_s):.3g}"
        return f"{np.median(self.cpu_s):.3g} s ({spread}; wall {np.median(self.wall_s):.3g})"


def timed(tasks: dict[str, Task], rounds: int) -> dict[str, Cost]:
    """Each task once a round, in turns; the first round warms caches and isn't kept."""
    cpu: dict[str, list[float]] = {name: [] for name in tasks}
    wall: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, task in tasks.items():
            wall_started, started = time.perf_counter(), time.process_time()
            task()
            if number:
                cpu[name].append(time.process_time() - started)
                wall[name].append(time.perf_counter() - wall_started)
    return {name: Cost(tuple(cpu[name]), tuple(wall[name])) for name in tasks}


def ratio(theirs: Cost, ours: Cost, factor: float = 1.0) -> str:
    """Median of the rounds' ratios with least and most, by processor time."""
    each = [factor * a / b for a, b in zip(theirs.cpu_s, ours.cpu_s, strict=True)]
    return f"{np.median(each):.3g} ({min(each):.3g} to {max(each):.3g})"


def depth_of_field_um() -> float:
    """wavelength / NA^2 with the aperture that the pixels can sample."""
    aperture = WAVELENGTH_UM / (2 * PITCH_UM)
    return WAVELENGTH_UM / aperture**2


@dataclass(frozen=True)
class Scene:
    """Particles, their holograms at one or eight heights, and what is to be found."""

    particles: tuple[SimulatedParticle, ...]
    intensities: tuple[Real, ...]
    truth: Complex
    boxes: tuple[tuple[slice, slice], ...]

    @property
    def hologram(self) -> Hologram:
        """The frame at the nominal height."""
        return _hologram(self.intensities[0])


def _hologram(intensity: Real) -> Hologram:
    return Hologram(intensity, GEOMETRY, NOISE, datetime.now(UTC))


def _recorded(clean: Real, rng: np.random.Generator) -> Real:
    frame, before = (rng.poisson(level * ELECTRONS) + rng.normal(0, 3, clean.shape) for level in (clean, np.ones_like(clean)))
    return (np.round(frame / 4.9) / np.maximum(np.round(before / 4.9), 1)).astype(np.float32)


def render(heights_um: Sequence[float], seed: int = 512, count: int = 24) -> Scene:
    rng = np.random.default_rng(seed)
    side_um = SIDE_PX * PITCH_UM
    depths = (GEOMETRY.distance_um - HALF_RANGE_UM, GEOMETRY.distance_um + HALF_RANGE_UM)
    drawn = [
        draw_particle(rng, LABELS[k % len(LABELS)], field_um=(side_um, side_um), depth_um=depths, voxel_um=PITCH_UM / 2)
        for k in range(count)
    ]
    particles = snap_depths(drawn, PLANES)
    shape = (SIDE_PX, SIDE_PX)
    frames: list[Real] = []
    for more_um in heights_um:
        raised = [replace(p, z_um=p.z_um + more_um) for p in particles]
        frames.append(_recorded(multislice_hologram(shape, PITCH_UM, raised, LIGHT, margin_px=128), rng))
    truth = multislice_object_field(shape, PITCH_UM, particles, LIGHT)
    inner = [(p, _box(p)) for p in particles]
    whole = [(p, box) for p, box in inner if all(s.start >= 0 and s.stop <= SIDE_PX for s in box)]
    return Scene(tuple(p for p, _ in whole), tuple(frames), truth, tuple(box for _, box in whole))


def _box(particle: SimulatedParticle, margin_px: int = 4) -> tuple[slice, slice]:
    half = particle.volume.length_um / 2 / PITCH_UM + margin_px
    y, x = particle.y_um / PITCH_UM, particle.x_um / PITCH_UM
    return slice(int(y - half), int(y + half) + 1), slice(int(x - half), int(x + half) + 1)


def quality(scene: Scene, fields: Sequence[Complex]) -> str:
    """Complex error and correlation over particles, from each one's box."""
    rows = [field_metrics(field, scene.truth[box]) for field, box in zip(fields, scene.boxes, strict=True)]
    cells: list[str] = []
    for name in ("complex_error", "complex_correlation"):
        middle, low, high = bootstrap_median([row[name] for row in rows])
        cells.append(f"{middle:.3f} ({low:.3f} to {high:.3f})")
    return " / ".join(cells)


def carried(field: Complex, distance_um: float) -> Complex:
    return propagate(field, pitch_um=PITCH_UM, wavelength_um=WAVELENGTH_UM, distance_um=distance_um, margin_px=0)


def at_true_depths(scene: Scene, field: Complex) -> list[Complex]:
    """Boxes of a field at the nominal plane, each carried to its particle's depth."""
    by_depth = {p.z_um: carried(field, GEOMETRY.distance_um - p.z_um) for p in scene.particles}
    return [by_depth[p.z_um][box] for p, box in zip(scene.particles, scene.boxes, strict=True)]


def textbook_heights(frames: Sequence[Real], sweeps: int) -> Complex:
    """Alternating projections (Fienup 1982, doi:10.1364/AO.21.002758) over exact heights; field at the nominal plane."""
    margin = SIDE_PX // 4
    side = SIDE_PX + 2 * margin
    window = (slice(margin, -margin),) * 2
    distances = [GEOMETRY.distance_um + more_um for more_um in HEIGHTS_UM]
    transfers = [compute_transfer_function((side, side), PITCH_UM, WAVELENGTH_UM, z) for z in distances]
    amplitudes = [np.sqrt(frame) for frame in frames]
    spectrum = fft.fft2(np.ones((side, side), np.complex64))
    for _ in range(sweeps):
        for amplitude, transfer in zip(amplitudes, transfers, strict=True):
            at_sensor = fft.ifft2(spectrum * transfer)
            inside = at_sensor[window]
            inside *= amplitude / np.maximum(np.abs(inside), np.float32(1e-9))
            spectrum = fft.fft2(at_sensor) * np.conj(transfer)
    return np.ascontiguousarray(fft.ifft2(spectrum)[window])


def our_heights(frames: Sequence[Real]) -> Complex:
    """The registered eight-height retrieval of this project, at its defaults; field at the nominal plane."""
    geometries = [GEOMETRY.at(GEOMETRY.distance_um + more_um) for more_um in HEIGHTS_UM]
    found = retrieve_multi_height(frames, geometries, sparse=True)
    return carried(found.field, found.placements[0].distance_um - GEOMETRY.distance_um)


def compare(pipeline: Pipeline, rounds: int, *, heights: bool) -> Cost:
    """Print costs and qualities; the cost of HIDEF is returned."""
    scene = render(HEIGHTS_UM if heights else HEIGHTS_UM[:1])
    hologram = scene.hologram
    amplitude_only = scene.intensities[0]
    planes = math.ceil(2 * HALF_RANGE_UM / depth_of_field_um())
    start = backpropagate(amplitude_only, GEOMETRY)
    tasks: dict[str, Task] = {
        "HIDEF, one pass": lambda: reconstruct(hologram, pipeline.network, whole=True),
        "HIDEF, refined": lambda: pipeline.whole_field(hologram),
        "back-propagation, one plane": lambda: backpropagate(amplitude_only, GEOMETRY),
        "refocusing, one plane": lambda: carried(start, 13.0),
        "iterative, one plane": lambda: retrieve_single_shot(amplitude_only, GEOMETRY, iterations=CLASSICAL_ITERATIONS),
        "compressive, one plane": lambda: retrieve_single_shot(amplitude_only, GEOMETRY, iterations=COMPRESSIVE_ITERATIONS),
    }
    if heights:
        tasks["eight heights, textbook, one sweep"] = lambda: textbook_heights(scene.intensities, 1)
        tasks["eight heights, this project's"] = lambda: our_heights(scene.intensities)
    costs = timed(tasks, rounds)
    print(
        f"{SIDE_PX} x {SIDE_PX}, {len(scene.boxes)} particles on {PLANES} depths over +-{HALF_RANGE_UM:g} um; {rounds} rounds; processor time"
    )
    print(f"depth of field {depth_of_field_um():.1f} um: {planes} planes cover the range")
    for name, cost in costs.items():
        print(f"  {name:36s}{cost}")
    ours, refocus = costs["HIDEF, one pass"], costs["refocusing, one plane"]
    print("times the cost of HIDEF's one pass (bars: 30 iterative, 100 eight heights, aim 600 compressive)")
    single = (("iterative", CLASSICAL_ITERATIONS), ("compressive", COMPRESSIVE_ITERATIONS))
    for name, iterations in single:
        cost = costs[f"{name}, one plane"]
        told = f"told the {PLANES} depths {ratio(cost, ours, PLANES)}"
        print(
            f"  {name}, {iterations} iterations: {planes} planes {ratio(cost, ours, planes)}; {told}; one plane {ratio(cost, ours)}"
        )
    print(
        f"  iterative at one plane, then carried to {planes}: {ratio(_sum(costs['iterative, one plane'], refocus, planes), ours)}"
    )
    if heights:
        sweep = costs["eight heights, textbook, one sweep"]
        textbook = Cost(tuple(SWEEPS * s for s in sweep.cpu_s), tuple(SWEEPS * s for s in sweep.wall_s))
        for name, cost in (
            (f"textbook, {SWEEPS} sweeps", textbook),
            ("this project's", costs["eight heights, this project's"]),
        ):
            with_planes = ratio(_sum(cost, refocus, planes), ours)
            print(f"  eight heights, {name}: carried to {planes} planes {with_planes}; one plane {ratio(cost, ours)}")
    print(f"  refinement of all: {ratio(costs['HIDEF, refined'], ours)} times the pass alone")
    _qualities(scene, pipeline, heights=heights)
    return ours


def _sum(first: Cost, refocus: Cost, planes: int) -> Cost:
    cpu = tuple(a + planes * b for a, b in zip(first.cpu_s, refocus.cpu_s, strict=True))
    return Cost(cpu, tuple(a + planes * b for a, b in zip(first.wall_s, refocus.wall_s, strict=True)))


def _qualities(scene: Scene, pipeline: Pipeline, *, heights: bool) -> None:
    intensity = scene.intensities[0]
    print("quality: complex error / correlation")
    passed = reconstruct(scene.hologram, pipeline.network, whole=True).field
    refined = pipeline.whole_field(scene.hologram)
    for name, field in (("HIDEF, one pass", passed), ("HIDEF, refined", refined)):
        print(f"  {name:36s}{quality(scene, [field[box] for box in scene.boxes])}")
    base = at_true_depths(scene, backpropagate(intensity, GEOMETRY))
    print(f"  {'back-propagation, told depths':36s}{quality(scene, base)}")
    for name, iterations in (("iterative", CLASSICAL_ITERATIONS), ("compressive", COMPRESSIVE_ITERATIONS)):
        focal = retrieve_single_shot(intensity, GEOMETRY, iterations=iterations)
        print(f"  {name + ', one plane, then carried':36s}{quality(scene, at_true_depths(scene, focal))}")
        planes = {
            z_um: retrieve_single_shot(intensity, GEOMETRY.at(z_um), iterations=iterations)
            for z_um in {p.z_um for p in scene.particles}
        }
        boxes = [planes[p.z_um][box] for p, box in zip(scene.particles, scene.boxes, strict=True)]
        print(f"  {name + ', at each told depth':36s}{quality(scene, boxes)}")
    if heights:
        for sweeps in (SWEEPS // 4, SWEEPS):
            field = textbook_heights(scene.intensities, sweeps)
            print(f"  {f'eight heights, textbook, {sweeps} sweeps':36s}{quality(scene, at_true_depths(scene, field))}")
        print(
            f"  {'eight heights, this project' + chr(39) + 's':36s}{quality(scene, at_true_depths(scene, our_heights(scene.intensities)))}"
        )


def crowded(count: int, half_range_um: float, seed: int = 1000, side_px: int = 1024) -> Hologram:
    """A frame of the sampler's own size with so many spores (thin model: nothing is scored on it)."""
    rng = np.random.default_rng(seed)
    side_um = side_px * PITCH_UM
    depths = (GEOMETRY.distance_um - half_range_um, GEOMETRY.distance_um + half_range_um)
    spores = [
        draw_particle(rng, "alternaria", field_um=(side_um, side_um), depth_um=depths, voxel_um=PITCH_UM) for _ in range(count)
    ]
    spores = snap_depths(spores, 8)
    clean = np.abs(1 + scattered_wave((side_px, side_px), PITCH_UM, spores, LIGHT)) ** 2
    return _hologram(_recorded(clean.astype(np.float32), rng))


def slope(pipeline: Pipeline, rounds: int) -> None:
    """Cost against the number and the depth of particles, 1024 x 1024."""
    frames = {f"{n} particles over +-100 um": crowded(n, 100.0) for n in (1, 10, 100, 1000)}
    frames["100 particles on one plane"] = crowded(100, 0.0)
    tasks: dict[str, Task] = {
        name: (lambda frame=frame: reconstruct(frame, pipeline.network, whole=True)) for name, frame in frames.items()
    }
    costs = timed(tasks, rounds)
    print(f"1024 x 1024, full field, no refinement; {rounds} rounds")
    one = costs["1 particles over +-100 um"]
    for name, cost in costs.items():
        print(f"  {name:36s}{cost}; of one particle's {ratio(cost, one)}")
    hundred = frames["100 particles over +-100 um"]
    plain = replace(pipeline, settings=replace(pipeline.settings, refine_iterations=0))
    extra = timed({"plain": lambda: plain.analyse(hundred), "refined": lambda: pipeline.analyse(hundred)}, rounds)
    found = len(pipeline.analyse(hundred).particles)
    more = [(a - b) / found for a, b in zip(extra["refined"].cpu_s, extra["plain"].cpu_s, strict=True)]
    passes = [m / (c / 1.048576) for m, c in zip(more, one.cpu_s, strict=True)]
    print(
        f"  refinement, depth and guard: {1e3 * float(np.median(more)):.1f} ms a particle ({found} found), "
        f"{np.median(passes):.3f} passes per megapixel ({min(passes):.3f} to {max(passes):.3f}; bar 0.5, aim 0.1)"
    )


def gate(rounds: int, side_px: int = 2048) -> None:
    """Nanoseconds a pixel to find nothing."""
    rng = np.random.default_rng(0)
    nothing = _recorded(np.ones((side_px, side_px), np.float32), rng)
    if not is_empty(nothing, NOISE):
        print("gate: the empty frame wasn't found empty")
    cost = timed({"gate": lambda: is_empty(nothing, NOISE)}, max(rounds, 10))["gate"]
    each = [1e9 * s / side_px**2 for s in cost.cpu_s]
    print(
        f"gate on an empty frame of {side_px} x {side_px}: {np.median(each):.2f} ns a pixel ({min(each):.2f} to {max(each):.2f}; bar 10)"
    )


def transform_floor(rounds: int, side_px: int = 2048) -> None:
    """Our transform against others, and against what a copy moves."""
    rng = np.random.default_rng(0)
    field = (rng.standard_normal((side_px, side_px)) + 1j * rng.standard_normal((side_px, side_px))).astype(np.complex64)
    two_channels = np.ascontiguousarray(field.view(np.float32).reshape(side_px, side_px, 2))
    room = np.empty_like(field)
    tasks: dict[str, Task] = {
        "ours": lambda: fft.fft2(field),
        "scipy.fft": lambda: scipy.fft.fft2(field),
        "cv2.dft": lambda: cv2.dft(two_channels, flags=cv2.DFT_COMPLEX_OUTPUT),
        "numpy.fft": lambda: np.fft.fft2(field),
        "copy": lambda: np.copyto(room, field),
    }
    costs = timed(tasks, max(rounds, 5))
    print(f"transform of {side_px} x {side_px} complex64")
    for name, cost in costs.items():
        print(f"  {name:12s}{cost}; {ratio(cost, costs['ours'])} times ours")
    best = min((n for n in costs if n not in {"ours", "copy"}), key=lambda n: np.median(costs[n].cpu_s))
    print(f"  fraction of the best library here ({best}): {ratio(costs[best], costs['ours'])}")
    # Rows and columns: the field is read and written at least twice.
    print(f"  fraction of the floor by bytes (read and written twice): {ratio(costs['copy'], costs['ours'], 2)}")


def multiplications(path: Path) -> int:
    """Multiply-accumulates of one pass through a file of convolutions."""
    runner: Any = Interpreter(path)._runner
    tensors = {t["index"]: [int(n) for n in t["shape"]] for t in runner.get_tensor_details()}
    total = 0
    for operator in runner._get_ops_details():
        name = operator["op_name"]
        if name not in {"CONV_2D", "TRANSPOSE_CONV", "DEPTHWISE_CONV_2D"}:
            continue
        kernel = tensors[operator["inputs"][1]]
        # A transposed convolution multiplies each pixel of its input, the others each pixel of their output.
        places = tensors[operator["inputs"][2]] if name == "TRANSPOSE_CONV" else tensors[operator["outputs"][0]]
        total += places[1] * places[2] * math.prod(kernel)
    return total


PEAK_SHAPE = (128, 128, 64)
"""Height, width and channels of the large convolution, 3 x 3, as many channels out as in."""


def make_convolution(path: Path) -> None:
    """An int8 file of one large convolution."""
    import keras

    from models.training.export import to_tflite

    inputs = keras.Input(PEAK_SHAPE, batch_size=1)
    model = keras.Model(inputs, keras.layers.Conv2D(PEAK_SHAPE[2], 3, padding="same", activation="relu")(inputs))
    rng = np.random.default_rng(0)
    path.write_bytes(to_tflite(model, [rng.standard_normal((1, *PEAK_SHAPE)).astype(np.float32) for _ in range(2)]))


def network_floor(network: HidefNetwork, rounds: int) -> None:
    """Multiply-accumulates a second of the shipped file and of one large convolution, in turns."""
    path = model_store(load_config(None)).open("hidef")[0].model
    work = multiplications(path)
    tile = network.tile_px
    rng = np.random.default_rng(0)
    sample = network.interpreter.quantise((0.1 * rng.standard_normal((1, tile, tile, 2))).astype(np.float32))
    piece = np.ones((tile, tile), np.complex64)
    tasks: dict[str, Task] = {
        "int8 pass": lambda: network.interpreter.run_quantised(sample),
        "with fields in and out": lambda: network.run(piece),
    }
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "convolution.tflite"
        made = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.hidef_speed", "--make-convolution", str(large)],
            capture_output=True,
            check=False,
        )
        peak_work = PEAK_SHAPE[0] * PEAK_SHAPE[1] * PEAK_SHAPE[2] ** 2 * 9
        if made.returncode == 0:
            peak = Interpreter(large)
            block = np.zeros((1, *PEAK_SHAPE), np.int8)
            tasks["large convolution"] = lambda: peak.run_quantised(block)
        costs = timed(tasks, max(rounds, 7))
    print(f"network: {work / 1e9:.2f} GMAC a tile of {tile} x {tile}, {work / tile**2 / 1e3:.1f} kMAC a pixel")
    for name, cost in costs.items():
        done = peak_work if name == "large convolution" else work
        print(f"  {name:24s}{cost}; {done / np.median(cost.cpu_s) / 1e9:.1f} GMAC/s")
    if "large convolution" in costs:
        factor = work / peak_work
        print(f"  fraction of the runtime's peak: {ratio(costs['large convolution'], costs['int8 pass'], factor)}")
    else:
        print("  (no large convolution: the training extra isn't installed)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="without eight heights")
    parser.add_argument("--make-convolution", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make_convolution:
        make_convolution(args.make_convolution)
        return 0
    cv2.setNumThreads(1)
    config = load_config(None)
    pipeline, _ = build_pipeline(model_store(config), config.analysis, GEOMETRY)
    if not isinstance(pipeline.network, HidefNetwork):
        print("no reconstruction network is configured", file=sys.stderr)
        return 3
    uses = pipeline.models.get("reconstruction")
    print(f"simulated; {uses.name if uses else ''} {uses.version if uses else ''}, int8")
    gate(args.rounds)
    transform_floor(args.rounds)
    network_floor(pipeline.network, args.rounds)
    slope(pipeline, args.rounds)
    compare(pipeline, args.rounds, heights=not args.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
