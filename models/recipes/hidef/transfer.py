"""HIDEF for one instrument: from a shipped file and what the instrument's own frames say of it.

Trains on freshly simulated scenes at the measured optics, on a few of the wide range (so that what was learned there isn't
lost), and on the instrument's frames themselves with what physics made of them (a transfer file, device/transfer.py). The
aberrations that were measured are taken off by back-propagation, here as on the box; what is left to learn is what that can't
mend: the twin image of this distance, this light, this noise. By how much the network's first depths read short with these
particles, stronger or weaker lenses than simulated ones, is fitted in seconds and needs no training.

A new file is kept only where it is no worse than the old one on frames and scenes that it was not trained on.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.analysis.depth import Depth, DepthSettings, estimate_depth
from device.analysis.reconstruct import tile_starts
from device.analysis.segment import segment
from device.errors import CheckError, InputError
from device.inference.interpreter import Interpreter
from device.inference.manifest import WeakLens
from device.inference.networks import HidefNetwork
from device.inference.store import ModelBundle, checked, verify_golden_in_child
from device.optics import fft
from device.optics.geometry import Geometry
from device.optics.propagation import backpropagate, compute_transfer_function, pad_to
from device.optics.pupil import Pupil
from device.transfer import TransferFile, read_transfer
from models.recipes.hidef.network import SAMPLE_SHAPE, SIZES, TILE_PX
from models.recipes.hidef.one_pass import field_method
from models.recipes.hidef.scenes import SceneRange, samples
from models.training.export import BundleSpec, channels_of, check_free, to_tflite, write_bundle
from models.training.loop import TrainingSchedule, train
from models.training.pool import Pool

__all__ = [
    "FineTunedNetwork",
    "TrainingBudget",
    "TransferComparison",
    "finetune",
    "instrument_scenes",
    "learn",
    "own_tiles",
    "own_weak_lens",
    "quantised",
]

Complex = NDArray[np.complex64]
Samples = NDArray[np.float32]
"""float32 [n, TILE_PX, TILE_PX, 5]: start field (2), object field (2), weight."""

_POOL_CAPACITY = 4096
_LEAST_STEPS = 10
_LEAST_LENSES = 8
"""Particles that it takes to speak of an instrument's lenses."""
_SAME = 1.01
"""A figure that is worse by no more than this factor is the same."""


@dataclass(frozen=True)
class TrainingBudget:
    """How processor time is spent."""

    minutes: float = 10.0
    """CPU time in all, every thread counted; 0: nothing is learned, the network stays as it is."""
    rendering: float = 0.27
    """Share of it for simulated scenes."""
    finishing: float = 0.12
    """Share of it kept for quantisation and comparison."""
    rehearsal: float = 0.12
    """Share of the scenes that are of the wide range."""
    own: float = 0.2
    """Share of the instrument's own tiles among all."""
    peak_rate: float = 5e-4
    """Learning rate, from where a trained network starts."""
    checks: int = 24
    """Simulated tiles of each kind to compare on."""


@dataclass(frozen=True)
class TransferComparison:
    """One comparison; smaller is better."""

    name: str
    before: float
    after: float
    decides: bool
    """Whether the new file must not be worse here."""

    @property
    def passed(self) -> bool:
        """Whether nothing was lost that counts."""
        return not self.decides or self.after <= _SAME * self.before


@dataclass(frozen=True)
class FineTunedNetwork:
    """What came of it."""

    path: Path
    """The bundle's model file."""
    checks: tuple[TransferComparison, ...]
    cpu_minutes: float


def instrument_scenes(
    geometry: Geometry, depth_um: float, photons: tuple[float, float], pupil_error_rad: float = 0.1,
    span: tuple[float, float] = (1.0, 1.0),
) -> SceneRange:  # fmt: skip
    """The scenes of one instrument.

    Parameters: `geometry` as measured, `depth_um` half range of depths around its distance, `photons` electrons per pixel,
    `pupil_error_rad` root mean square of what the measured aberrations are off by, `span` of its distances, relative.
    """
    number, unit_um = geometry.defocus_number, geometry.object_pitch_um**2 / geometry.wavelength_medium_um
    ratio = geometry.wavelength_medium_um / geometry.object_pitch_um
    pupil = geometry.pupil
    wide = SceneRange()
    scenes = replace(
        wide,
        defocus_number=(0.97 * span[0] * number, 1.03 * span[1] * number),
        wavelength_px=(0.98 * ratio, 1.02 * ratio),
        depth_number=min(max(1.2 * depth_um / unit_um, 15.0), wide.depth_number),
        photons=photons,
        distance_error=0.005,
    )
    if pupil is None:
        return scenes
    radius_per_px = pupil.radius_per_um * geometry.object_pitch_um
    scenes = replace(scenes, pupil=Pupil(pupil.coefficients_rad, radius_per_px), pupil_error_rad=pupil_error_rad)
    if radius_per_px >= _PIXEL_LIMITED_PER_PX:
        return scenes
    return replace(scenes, cutoff_per_px=(0.9 * radius_per_px, 1.1 * radius_per_px), without_cutoff=0.0)


_PIXEL_LIMITED_PER_PX = 0.35
"""A wider pupil isn't told from the pixels' own limit."""


def finetune(
    frames: Path, start_from: Path, out: Path, version: str, work: Path, *, budget: TrainingBudget | None = None, seed: int = 1,
    precision: str = "mixed_bfloat16",
) -> FineTunedNetwork:  # fmt: skip
    """Adapt a shipped file to the instrument of a transfer file and write the bundle.

    Parameters: `frames` the transfer file; `start_from` a .tflite file of this recipe with its manifest; `work` a folder for
    what is learned, taken up again after an interruption. InputError where the bundle exists already; CheckError, and nothing
    written, where the new file is worse than the old one on what neither was trained on.
    """
    chosen, started = budget or TrainingBudget(), time.process_time()
    old, file = checked(start_from), read_transfer(frames)
    check_free(out, old.manifest.name, version)
    if file.intensities.shape[0] < 1:
        raise InputError("the transfer file holds no frames", where=frames)
    scenes = instrument_scenes(
        file.geometry, file.depth_um, _photons(file), max(file.aberration_uncertainty_rad, 0.05), _span(file)
    )
    taught, held = _split(len(file.intensities))
    own = own_tiles(file, taught)
    digest = hashlib.sha256(frames.read_bytes() + old.manifest.sha256.encode()).hexdigest()[:12]
    folder = work / f"finetune-{digest}"
    content = start_from.read_bytes()
    if chosen.minutes > 0:
        pool = learn(folder, start_from, scenes, own, chosen, seed, precision=precision, size=old.manifest.name)
        content = quantised(folder, pool, own, seed, old.manifest.name)
    trial = folder / "trial"
    shutil.rmtree(trial, ignore_errors=True)
    trial.mkdir(parents=True)
    (trial / "network.tflite").write_bytes(content)
    lens = own_weak_lens(HidefNetwork(Interpreter(trial / "network.tflite"), old.manifest), file, taught)
    spec = BundleSpec(
        old.manifest.name, version, "reconstruction", "hidef.transfer", channels_of(old.manifest.takes),
        channels_of(old.manifest.gives), _narrowed(file), tile_multiple_px=16, second_look=old.manifest.second_look,
        weak_lens=lens,
    )  # fmt: skip
    path = write_bundle(spec, content, {"input": own[:1, ..., :2]}, trial)
    checks = compare(old, checked(path), file, held, scenes, chosen.checks)
    if not all(check.passed for check in checks):
        raise CheckError(
            "fine-tuning made it worse; nothing was written", where=frames,
            got="; ".join(f"{c.name}: {c.before:.4g} before, {c.after:.4g} after" for c in checks if not c.passed),
            remedy="Give it more frames or more time (--cpu-minutes), or keep the shipped model: it does better here.",
        )  # fmt: skip
    verify_golden_in_child(checked(path))
    out.mkdir(parents=True, exist_ok=True)
    for suffix in (".npz", ".tflite", ".toml"):
        shutil.move(path.with_suffix(suffix), out / path.with_suffix(suffix).name)
    shutil.rmtree(folder / "pool", ignore_errors=True)
    return FineTunedNetwork(out / path.name, checks, (time.process_time() - started) / 60)


def _split(frames: int) -> tuple[range, range]:
    """(frames to learn from, frames to check on): a quarter checks, where there are two or more."""
    held = max(frames // 4, 1) if frames > 1 else 0
    return range(frames - held), range(frames - held, frames)


def _photons(file: TransferFile) -> tuple[float, float]:
    """Electrons per pixel that make as much noise: between all of it from the frame and half of it from the background."""
    electrons = 1 / max(file.noise, 1e-3) ** 2
    low, high = SceneRange().photons
    return float(np.clip(0.6 * electrons, low, high / 2)), float(np.clip(2.5 * electrons, 2 * low, high))


def _span(file: TransferFile) -> tuple[float, float]:
    """Least and largest distance of its frames, relative to its geometry's."""
    relative = file.distances_um / file.geometry.distance_um
    return float(relative.min()), float(relative.max())


def own_weak_lens(network: HidefNetwork, file: TransferFile, frames: range) -> WeakLens | None:
    """By how much first depths read short with the particles of these frames; None where fewer than _LEAST_LENSES tell."""
    found = [
        (true_um - depth.z_um) / unit_um / diameter_px
        for depth, true_um, unit_um, diameter_px in _first_depths(network, file, frames, DepthSettings(weak_lens=0.0))
    ]
    if len(found) < _LEAST_LENSES:
        return None
    middle = float(np.median(found))
    deviation = 1.4826 * float(np.median(np.abs(np.array(found) - middle)))
    return WeakLens(number_per_px=round(middle, 4), deviation_per_px=round(deviation, 4))


def _first_depths(
    network: HidefNetwork, file: TransferFile, frames: range, settings: DepthSettings
) -> Iterator[tuple[Depth, float, float, float]]:
    """Of every particle that the file knows: its first depth and the one by physics, um; a defocus number, um; its diameter, px."""
    whole = field_method(network)
    for k in frames:
        geometry, labels = file.at(k), file.labels[k]
        start = backpropagate(file.intensities[k], geometry)
        field = whole(start)
        unit_um = geometry.object_pitch_um**2 / geometry.wavelength_medium_um
        for part in segment(field, start=start):
            height, width = part.mask.shape
            under = labels[part.y_px : part.y_px + height, part.x_px : part.x_px + width][part.mask]
            label = int(np.bincount(under).argmax())
            if label == 0 or part.touches_edge:
                continue
            depth = estimate_depth(start, field, part, geometry, settings).equivalent(geometry)
            yield depth, float(file.depths_um[label - 1]), unit_um, 2 * math.sqrt(float(part.mask.sum()) / math.pi)


def _depth_error(network: HidefNetwork, file: TransferFile, frames: range) -> float | None:
    """Median error of first depths, as a defocus number; None where there are too few."""
    found = [abs(d.z_um - true) / unit for d, true, unit, _ in _first_depths(network, file, frames, network.depth_settings)]
    return float(np.median(found)) if len(found) >= _LEAST_LENSES else None


def _narrowed(file: TransferFile) -> dict[str, tuple[float, float] | float]:
    """Optics that the new file covers: this instrument's, give or take what its calibration may be off by."""
    geometry = file.geometry
    spans = {
        "wavelength_um": (geometry.wavelength_um, 0.03), "pitch_um": (geometry.object_pitch_um, 0.03),
        "distance_um": (geometry.distance_um, 0.08), "defocus_number": (geometry.defocus_number, 0.12),
    }  # fmt: skip
    low, high = _span(file)
    reach = {"distance_um": (low, high), "defocus_number": (low, high)}
    optics: dict[str, tuple[float, float] | float] = {}
    for name, (value, share) in spans.items():
        least, most = reach.get(name, (1.0, 1.0))
        optics[name] = round(value * least * (1 - share), 5), round(value * most * (1 + share), 5)
    return optics | {"defocus_um": round(file.depth_um, 2)}


def own_tiles(file: TransferFile, frames: range) -> Samples:
    """The instrument's frames as samples, with what physics made of them as the truth."""
    out: list[NDArray[np.float32]] = []
    for k in frames:
        start, truth = backpropagate(file.intensities[k], file.at(k)), file.truth[k]
        height, width = start.shape
        for top in tile_starts(height, TILE_PX, 32):
            for left in tile_starts(width, TILE_PX, 32):
                box = (slice(top, top + TILE_PX), slice(left, left + TILE_PX))
                sample = np.zeros(SAMPLE_SHAPE, np.float32)
                there = (slice(0, min(TILE_PX, height - top)), slice(0, min(TILE_PX, width - left)))
                parts = (start[box].real - 1, start[box].imag, truth[box].real - 1, truth[box].imag, file.weight[k][box])
                for channel, part in enumerate(parts):
                    sample[(*there, channel)] = part
                out.append(sample)
    return np.stack(out) if out else np.zeros((0, *SAMPLE_SHAPE), np.float32)


def learn(
    work: Path,
    start_from: Path,
    scenes: SceneRange,
    own: Samples,
    budget: TrainingBudget,
    seed: int = 1,
    clock: Callable[[], float] = time.process_time,
    precision: str = "mixed_bfloat16",
    size: str = "hidef",
) -> Pool:
    """Render and train a network of the family in `work` for the budget's time by `clock`; `own` are the instrument's tiles.

    Returns the pool that was learned from.
    """
    seconds = 60 * budget.minutes
    pool = Pool(work / "pool", _POOL_CAPACITY, SAMPLE_SHAPE)
    if not (work / "filled").exists():
        _fill(pool, scenes, own, budget, seed, clock)
        (work / "filled").touch()
    # Nothing more is coming: what is there is all.
    pool = Pool(work / "pool", min(pool.written, pool.capacity), SAMPLE_SHAPE)
    schedule = TrainingSchedule(
        steps=10**6, seconds=seconds * (1 - budget.rendering - budget.finishing), peak_rate=budget.peak_rate,
        warmup=_LEAST_STEPS, round_steps=50, average=0.99, precision=precision,
    )  # fmt: skip
    train(SIZES[size].build, pool, work, schedule, seed, start_from, clock)
    return pool


def _fill(pool: Pool, scenes: SceneRange, own: Samples, budget: TrainingBudget, seed: int, clock: Callable[[], float]) -> None:
    rng = np.random.default_rng(seed)
    sources = samples(seed, scenes), samples(seed + 1, SceneRange())
    started, limit_s = clock(), 60 * budget.minutes * budget.rendering
    most = int(pool.capacity * (1 - budget.own)) - 8
    fresh = pool.written
    while (clock() - started < limit_s and fresh < most) or fresh < 8:
        batch = next(sources[int(rng.random() < budget.rehearsal)])
        pool.write(batch)
        fresh += len(batch)
    print(f"{fresh} simulated tiles, {len(own)} of the instrument's own", flush=True)
    for _ in range(math.ceil(budget.own * fresh / len(own)) if len(own) else 0):
        pool.write(own[: pool.capacity - pool.written])


def quantised(work: Path, pool: Pool, own: Samples, seed: int, size: str = "hidef") -> bytes:
    """int8 file of the weights in `work`; its ranges from the instrument's own tiles and from simulated ones."""
    import keras

    keras.mixed_precision.set_global_policy("float32")
    trained = SIZES[size].build()
    trained.load_weights(work / "weights.weights.h5")
    model = SIZES[size].for_export(trained, TILE_PX)
    drawn = pool.batch(np.random.default_rng(seed + 5), 96)[..., :2]
    return to_tflite(model, [sample[None] for sample in np.concatenate([own[..., :2], drawn])])


def compare(
    old: ModelBundle, new: ModelBundle, file: TransferFile, held: range, scenes: SceneRange, tiles: int, seed: int = 90_001
) -> tuple[TransferComparison, ...]:
    """Both int8 files on frames and scenes that the new one was not trained on."""
    networks = [HidefNetwork(Interpreter(b.model), b.manifest) for b in (old, new)]
    found: list[TransferComparison] = []
    if len(held):
        shares = [_unexplained(n, file, held) for n in networks]
        found.append(TransferComparison("own frames: share of the fringes unexplained", shares[0], shares[1], True))
        before, after = (_depth_error(n, file, held) for n in networks)
        if before is not None and after is not None:
            found.append(TransferComparison("own frames: first depths, in defocus numbers", before, after, True))
    if old.manifest.sha256 == new.manifest.sha256:
        return tuple(found)
    for name, ranges, decides in (
        ("scenes of this instrument: squared error near particles", scenes, True),
        ("scenes of the wide range: squared error near particles", SceneRange(), False),
    ):
        fresh = _some(samples(seed, ranges), tiles)
        errors = [_squared_error(n, fresh) for n in networks]
        found.append(TransferComparison(name, errors[0], errors[1], decides))
    return tuple(found)


def _some(source: Iterator[Samples], count: int) -> Samples:
    kept: list[Samples] = []
    while sum(map(len, kept)) < count:
        kept.append(next(source))
    return np.concatenate(kept)[:count]


def _squared_error(network: HidefNetwork, fresh: Samples) -> float:
    """Mean squared complex error near particles."""
    total = pixels = 0.0
    for sample in fresh:
        out = network.interpreter.run(sample[None, ..., :2])[0]
        near = sample[..., 4] > 1
        total += float(((out - sample[..., 2:4]) ** 2).sum(axis=-1)[near].sum())
        pixels += float(near.sum())
    return total / max(pixels, 1.0)


def _unexplained(network: HidefNetwork, file: TransferFile, frames: range) -> float:
    """What the network's fields leave unexplained of the measured amplitude, as a share of the fringes' energy.

    Every particle is carried to the sensor from the depth that physics gave it; where none is, nothing is carried.
    """
    whole = field_method(network)
    left = fringes = 0.0
    for k in frames:
        field = whole(backpropagate(file.intensities[k], file.at(k)))
        amplitude = np.sqrt(np.maximum(file.intensities[k], 0))
        left += float(((amplitude - predicted_amplitude(field, file, k)) ** 2).sum())
        fringes += float(((amplitude - 1) ** 2).sum())
    return left / max(fringes, 1e-9)


def predicted_amplitude(field: Complex, file: TransferFile, frame: int, margin_px: int = 64) -> NDArray[np.float32]:
    """Amplitude at the sensor, float32 [height, width], of the labelled particles of one frame's field."""
    geometry, labels = file.at(frame), file.labels[frame]
    height, width = field.shape
    shape = (pad_to(height, margin_px), pad_to(width, margin_px))
    pitch_um = geometry.object_pitch_um
    spectrum = np.zeros(shape, np.complex64)
    for label in np.unique(labels[labels > 0]):
        own = np.zeros(shape, np.complex64)
        own[:height, :width] = np.where(labels == label, field - 1, 0)
        transfer = compute_transfer_function(shape, pitch_um, geometry.wavelength_medium_um, float(file.depths_um[label - 1]))
        spectrum += fft.fft2(own, overwrite_x=True) * transfer
    if geometry.pupil is not None:
        spectrum *= geometry.pupil.transfer(shape, pitch_um)
    return np.abs(1 + fft.ifft2(spectrum)[:height, :width]).astype(np.float32)
