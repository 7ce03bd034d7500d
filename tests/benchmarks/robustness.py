"""What HIDEF loses where the instrument isn't what its file says: one thing wrong at a time, then all at once.

The same particles are recorded anew under every condition by multi-slice on a grid twice as fine, with the light, pixels and
noise of that condition, and reconstructed by the shipped int8 file with the *nominal* wavelength, pitch and distance.
Depths are uniform over +-100 um. Score: complex correlation in each particle's box with the true field of that recording;
medians over particles, and the loss of the median against the nominal recording with its 95 % bootstrap interval
(particles resampled, the same in both). Bar: a loss of 0.02 each, 0.05 all at once. Beside the pass alone: refined by the
pipeline's own settings.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.robustness [--fields 8] [--keep FOLDER]

Rendering takes longer than reconstruction: `--keep` a folder of the recordings to score another file on the same ones.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.analysis.pipeline import Pipeline
from device.analysis.reconstruct import reconstruct
from device.config import load_config
from device.frames import Hologram
from device.rig.models import build_pipeline, model_store
from device.twin.forward import multislice_hologram, multislice_object_field
from device.twin.illumination import Illumination
from device.twin.scene import SimulatedParticle, draw_particle
from models.recipes.hidef.evaluation import FIELD_PX, GEOMETRY, LABELS, LIGHT, field_metrics

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]
PER_FIELD = 8
INSET_PX = 32
HALF_RANGE_UM = 100.0
SHAPE = (FIELD_PX, FIELD_PX)
FULL_WELL_E, READ_NOISE_E, BITS, EXPOSED = 4700.0, 3.0, 10, 0.6
"""The bioaerosol instrument's sensor, exposed to six tenths of its well."""


@dataclass(frozen=True)
class Condition:
    """How the world differs from the instrument's file."""

    name: str
    depth_um: float = 0.0
    """All particles lie so much farther from the sensor."""
    wavelength: float = 1.0
    """True over stated."""
    pitch: float = 1.0
    """True over stated."""
    bandwidth_um: float = LIGHT.bandwidth_um
    blur_px: float | None = None
    """Diameter of the source's image at the sensor; None: the instrument's source."""
    bits: int = BITS
    photons: float = FULL_WELL_E * EXPOSED
    """Electrons a pixel where nothing is."""
    read_noise_e: float = READ_NOISE_E
    limit: float = 0.02
    """Loss that is allowed."""

    @property
    def light(self) -> Illumination:
        """The light that is."""
        diameter_um = LIGHT.source_diameter_um
        if self.blur_px is not None:
            lever = (LIGHT.source_distance_um - GEOMETRY.distance_um) / GEOMETRY.distance_um
            diameter_um = self.blur_px * GEOMETRY.pitch_um * lever
        return Illumination(LIGHT.wavelength_um * self.wavelength, self.bandwidth_um, diameter_um, LIGHT.source_distance_um)

    @property
    def counts_per_electron(self) -> float:
        """The gain puts the exposure at the same share of the converter's range."""
        return EXPOSED * 2**self.bits / self.photons

    @property
    def noise(self) -> float:
        """Relative standard deviation of a pixel where nothing is; the background is averaged and adds none."""
        variance = self.photons + self.read_noise_e**2 + 1 / (12 * self.counts_per_electron**2)
        return math.sqrt(variance) / self.photons


NOMINAL = Condition("nominal", limit=math.inf)
WORST = Condition(
    "all at once", depth_um=50.0, wavelength=1.02, pitch=1.02, bandwidth_um=0.020, blur_px=3.0, bits=6, photons=10.0,
    read_noise_e=0.0, limit=0.05,
)  # fmt: skip
CONDITIONS = (
    Condition("depth -50 um", depth_um=-50.0),
    Condition("depth +50 um", depth_um=50.0),
    Condition("wavelength -2 %", wavelength=0.98),
    Condition("wavelength +2 %", wavelength=1.02),
    Condition("pitch -2 %", pitch=0.98),
    Condition("pitch +2 %", pitch=1.02),
    Condition("bandwidth 0 nm", bandwidth_um=0.0),
    Condition("bandwidth 20 nm", bandwidth_um=0.020),
    Condition("source blur 0 px", blur_px=0.0),
    Condition("source blur 3 px", blur_px=3.0),
    Condition("6-bit sensor", bits=6),
    Condition("10 photons a pixel", photons=10.0, read_noise_e=0.0),
    Condition("10 photons, read noise 3 e", photons=10.0, limit=math.inf),
    WORST,
    replace(WORST, name="all but the 10 photons", photons=NOMINAL.photons, read_noise_e=READ_NOISE_E, limit=math.inf),
)


def particles_of(seed: int, condition: Condition) -> list[SimulatedParticle]:
    """The same particles under every condition: places in pixels, sizes in micrometres; none is cut by the border."""
    rng = np.random.default_rng(seed)
    pitch_um = GEOMETRY.pitch_um * condition.pitch
    middle_um, inner_um = GEOMETRY.distance_um + condition.depth_um, (FIELD_PX - 2 * INSET_PX) * pitch_um
    drawn = [
        draw_particle(
            rng,
            LABELS[int(rng.integers(len(LABELS)))],
            field_um=(inner_um, inner_um),
            depth_um=(middle_um - HALF_RANGE_UM, middle_um + HALF_RANGE_UM),
            voxel_um=pitch_um / 2,
        )
        for _ in range(PER_FIELD)
    ]
    # By whole pixels, so that what lies between the pixels stays.
    return [replace(p, x_um=p.x_um + INSET_PX * pitch_um, y_um=p.y_um + INSET_PX * pitch_um) for p in drawn]


def recorded(clean: Real, condition: Condition, rng: np.random.Generator) -> Real:
    electrons = rng.poisson(clean * condition.photons) + rng.normal(0, condition.read_noise_e, clean.shape)
    counts = np.clip(np.round(electrons * condition.counts_per_electron), 0, 2**condition.bits - 1)
    return (counts / (condition.photons * condition.counts_per_electron)).astype(np.float32)


def record(seed: int, condition: Condition, particles: list[SimulatedParticle], keep: Path | None) -> tuple[Real, Complex]:
    """Intensity float32 and true field complex64, both [height, width]; from the folder where it has them."""
    kept = keep / f"{seed} {condition.name}.npz" if keep else None
    if kept and kept.exists():
        with np.load(kept) as both:
            return both["intensity"], both["truth"]
    pitch_um, light = GEOMETRY.pitch_um * condition.pitch, condition.light
    nodes = 3 if condition.bandwidth_um <= LIGHT.bandwidth_um else 7
    clean = multislice_hologram(SHAPE, pitch_um, particles, light, margin_px=160, wavelengths=nodes)
    intensity = recorded(clean, condition, np.random.default_rng(seed + 1))
    truth = multislice_object_field(SHAPE, pitch_um, particles, light)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, intensity=intensity, truth=truth)
    return intensity, truth


def score(seed: int, condition: Condition, pipeline: Pipeline, keep: Path | None) -> list[tuple[float, float]]:
    """Complex correlation of every particle of a field, one pass and refined."""
    particles = particles_of(seed, condition)
    intensity, truth = record(seed, condition, particles, keep)
    pitch_um = GEOMETRY.pitch_um * condition.pitch
    hologram = Hologram(intensity, GEOMETRY, condition.noise, datetime.now(UTC))
    passed = reconstruct(hologram, pipeline.network, whole=True).field
    refined = pipeline.whole_field(hologram)
    rows: list[tuple[float, float]] = []
    for particle in particles:
        half = particle.volume.length_um / 2 / pitch_um + 4
        y, x = particle.y_um / pitch_um, particle.x_um / pitch_um
        if min(y, x) - half < 0 or max(y, x) + half + 1 > FIELD_PX:
            rows.append((math.nan, math.nan))  # cut by the border under this condition or another
            continue
        box = (slice(int(y - half), int(y + half) + 1), slice(int(x - half), int(x + half) + 1))
        one, two = (field_metrics(field[box], truth[box])["complex_correlation"] for field in (passed, refined))
        rows.append((one, two))
    return rows


def loss(nominal: NDArray[np.float64], now: NDArray[np.float64], draws: int = 1000) -> tuple[float, float, float]:
    """Loss of the median over particles, with its 95 % interval."""
    rng = np.random.default_rng(0)
    picks = rng.integers(len(nominal), size=(draws, len(nominal)))
    lost = np.median(nominal[picks], axis=1) - np.median(now[picks], axis=1)
    low, high = np.percentile(lost, [2.5, 97.5])
    return float(np.median(nominal) - np.median(now)), float(low), float(high)


def report(scores: dict[str, NDArray[np.float64]], conditions: Sequence[Condition]) -> None:
    whole = np.all([np.isfinite(values[:, 0]) for values in scores.values()], axis=0)
    nominal = scores[NOMINAL.name][whole]
    print(f"{whole.sum()} particles; complex correlation, median")
    print(f"{'':28s}{'one pass':>10s}{'loss (95 %)':>34s}{'refined':>10s}{'loss (95 %)':>34s}")
    print(f"{NOMINAL.name:28s}{np.median(nominal[:, 0]):10.3f}{'':34s}{np.median(nominal[:, 1]):10.3f}")
    for condition in conditions:
        values = scores[condition.name][whole]
        cells: list[str] = []
        for column in (0, 1):
            lost, low, high = loss(nominal[:, column], values[:, column])
            verdict = "" if math.isinf(condition.limit) else " met" if lost <= condition.limit else " NOT"
            text = f"{lost:+.3f} ({low:+.3f} to {high:+.3f}){verdict}"
            cells.append(f"{np.median(values[:, column]):10.3f}{text:>34s}")
        print(f"{condition.name:28s}" + "".join(cells))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=8, help="of eight particles")
    parser.add_argument("--keep", type=Path, help="folder of recordings, made where it lacks them")
    args = parser.parse_args()
    config = load_config(None)
    pipeline, _ = build_pipeline(model_store(config), config.analysis, GEOMETRY)
    use = pipeline.models.get("reconstruction")
    print(f"simulated; {use.name} {use.version}, int8; bar: loss 0.02 each, 0.05 all at once" if use else "no network")
    scores = {
        condition.name: np.array([row for k in range(args.fields) for row in score(31_000 + k, condition, pipeline, args.keep)])
        for condition in (NOMINAL, *CONDITIONS)
    }
    report(scores, CONDITIONS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
