"""How the denoiser is scored: on light that went through rough surfaces, and with grains that no training saw.

The object lies between two ground surfaces, some hundred defocus numbers off. What they scatter is clipped by a round, hard pupil and
reaches the object before or behind it, so that part of the light is scattered twice. Half of the scenes are organisms by the
`multislice` model, half thin cells whose phase is known without a wrap. What is told to the classical filters and not to the network:
a sample of the noise alone, and their best strength on other scenes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from device.analysis.denoise import without_speckle
from device.inference.networks import ImageNetwork
from device.optics import fft
from device.optics.propagation import propagate
from device.twin.forward import multislice_object_field
from device.twin.illumination import Illumination
from device.twin.scene import draw_particle
from models.training.field_filters import tuned_filters
from models.training.hallucination import Insertion, feature_lines, strange_shape
from models.training.rings import RingTally, ring_lines
from models.training.tables import Bar, Scores, bar_lines, score_lines

__all__ = ["SpeckledScene", "report", "scene"]

Complex = NDArray[np.complex64]
SIDE_PX = 160
PITCH_UM = 0.8
LIGHT = Illumination(0.633 / 1.33)
ORGANISMS = ("euglena", "giardia", "cryptosporidium", "centric-diatom", "pennate-diatom", "olive")
GRAIN_PX = (1.2, 4.0)
POWER = (0.02, 0.4)
"""Of the diffuse light over the direct light's."""
_INSERTED_PX = 18
OURS = "--denoise: measured, weighed by the network"
METRICS = (
    "amplitude_psnr_db", "object_psnr_db", "complex_error", "phase_bias_rad", "phase_rmse_rad", "dry_mass_lost_percent",
)  # fmt: skip


@dataclass(frozen=True)
class SpeckledScene:
    """One field with its coherent noise; fields complex64 [SIDE_PX, SIDE_PX], 1 where nothing is."""

    truth: Complex
    noisy: Complex
    looks: tuple[Complex, ...]
    """The same with four other pairs of surfaces."""
    noise: Complex
    """What another pair leaves of nothing, less 1."""
    phase_rad: NDArray[np.float32] | None
    """The true phase without a wrap, where the object is thin."""
    grain_px: float
    power: float
    with_strange: tuple[Complex, Complex]
    """(truth, noisy) with a strange structure, the same surfaces."""
    empty: tuple[tuple[slice, slice], ...]


@dataclass(frozen=True)
class _Surfaces:
    """Two rough surfaces, before and behind the object; phases in rad, distances as defocus numbers."""

    before: NDArray[np.float32]
    behind: NDArray[np.float32]
    distances: tuple[float, float]
    pupil: NDArray[np.bool_]
    power: float
    twin: float
    white: Complex

    def through(self, truth: Complex) -> Complex:
        """What is recorded of an object field, its own light 1."""
        scattered = self._clipped(_moved(np.exp(1j * self.before), self.distances[0]) - np.exp(1j * self.before).mean())
        lit = truth * (1 + self._share(scattered))
        at_second = _moved(lit, self.distances[1]) * np.exp(1j * self.behind) / np.exp(1j * self.behind).mean()
        rest = self._clipped((_moved(at_second, -self.distances[1]) - lit).astype(np.complex64))
        empty = _moved(_moved(np.ones_like(truth), self.distances[1]) * np.exp(1j * self.behind), -self.distances[1])
        scale = np.sqrt(self.power / 2 / np.mean(np.abs(self._clipped(empty / np.exp(1j * self.behind).mean() - 1)) ** 2))
        twin = self.twin * _moved(np.conj(truth - 1), 2 * self.distances[0])
        return (lit + scale * rest + twin + self.white).astype(np.complex64)

    def _clipped(self, field: Complex) -> Complex:
        return fft.ifft2(fft.fft2(field) * self.pupil)

    def _share(self, scattered: Complex) -> Complex:
        return scattered * np.sqrt(self.power / 2 / np.mean(np.abs(scattered) ** 2))


def _moved(field: Complex, number: float) -> Complex:
    return propagate(
        field, pitch_um=1.0, wavelength_um=LIGHT.wavelength_um / PITCH_UM, distance_um=number / (LIGHT.wavelength_um / PITCH_UM), margin_px=0
    )  # fmt: skip


def _surfaces(rng: np.random.Generator, grain_px: float, power: float) -> _Surfaces:
    heights = [cv2.GaussianBlur(rng.standard_normal((SIDE_PX, SIDE_PX)).astype(np.float32), (0, 0), 0.4) for _ in range(2)]
    before, behind = (float(rng.uniform(0.5, 1.2)) * h / h.std() for h in heights)
    # A round pupil's speckle is 0.514 over its radius wide.
    pupil = np.hypot(fft.fftfreq(SIDE_PX)[:, None], fft.fftfreq(SIDE_PX)[None, :]) < 0.514 / grain_px
    white = 0.015 * (rng.standard_normal(pupil.shape) + 1j * rng.standard_normal(pupil.shape)) / np.sqrt(2)
    distances = float(rng.uniform(100, 500)), float(rng.uniform(100, 500))
    twin = float(rng.uniform(0.05, 0.25)) if rng.random() < 0.5 else 0.0
    return _Surfaces(before, behind, distances, pupil, power, twin, white.astype(np.complex64))


def _cells(rng: np.random.Generator) -> NDArray[np.float32]:
    """Phase of a few cells, thicker to the middle, with a nucleus and granules; rad, float32 [SIDE_PX, SIDE_PX]."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    phase = np.zeros((SIDE_PX, SIDE_PX), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        (row, column), (long, short), angle = rng.uniform(30, SIDE_PX - 30, 2), rng.uniform(9, 28, 2), rng.uniform(0, np.pi)
        along = ((x - column) * np.cos(angle) + (y - row) * np.sin(angle)) / long
        across = ((y - row) * np.cos(angle) - (x - column) * np.sin(angle)) / short
        height = np.sqrt(np.maximum(1 - along**2 - across**2, 0))
        nucleus = 0.4 * np.sqrt(np.maximum(0.16 - (along - 0.2) ** 2 - across**2, 0))
        granules = 0.1 * np.tanh(2 * cv2.GaussianBlur(rng.standard_normal(phase.shape), (0, 0), 1.2) / 0.23) * (height > 0.3)
        phase = np.maximum(phase, float(rng.uniform(0.4, 2.4)) * (height + nucleus + granules * height))
    return np.asarray(cv2.GaussianBlur(phase, (0, 0), 0.6), np.float32)


def scene(rng: np.random.Generator) -> SpeckledScene:
    """One at random."""
    grain, power = (float(np.exp(rng.uniform(*np.log(limits)))) for limits in (GRAIN_PX, POWER))
    phase: NDArray[np.float32] | None = None
    if rng.random() < 0.5:
        phase = _cells(rng)
        truth = np.exp((1j - float(rng.uniform(0, 0.15))) * phase).astype(np.complex64)
    else:
        side_um = SIDE_PX * PITCH_UM
        particles = [
            draw_particle(rng, str(rng.choice(ORGANISMS)), field_um=(side_um, side_um), depth_um=(1, 1), voxel_um=PITCH_UM / 2)
            for _ in range(int(rng.integers(1, 5)))
        ]
        truth = multislice_object_field((SIDE_PX, SIDE_PX), PITCH_UM, particles, LIGHT)
    surfaces = _surfaces(rng, grain, power)
    boxes = _empty_boxes(truth)
    strange = truth.copy()
    if boxes:
        shape = strange_shape(rng, _INSERTED_PX)
        strange[boxes[0]] *= np.exp(1j * float(rng.choice([0.5, 1.0, 2.0])) * shape)
    looks = tuple(_surfaces(rng, grain, power).through(truth) for _ in range(4))
    noise = _surfaces(rng, grain, power).through(np.ones_like(truth)) - 1
    return SpeckledScene(
        truth,
        surfaces.through(truth),
        looks,
        noise,
        phase,
        grain,
        power,
        (strange, surfaces.through(strange)),
        tuple(boxes[1:5]),
    )


def _empty_boxes(truth: Complex) -> list[tuple[slice, slice]]:
    """Boxes where nothing is, 12 pixels from everything."""
    free = scipy.ndimage.binary_erosion(np.abs(truth - 1) < 0.05, iterations=12)
    n = _INSERTED_PX
    corners = [(y, x) for y in range(8, SIDE_PX - n - 8, n) for x in range(8, SIDE_PX - n - 8, n)]
    return [(slice(y, y + n), slice(x, x + n)) for y, x in corners if free[y : y + n, x : x + n].all()]


def _psnr_db(found: Complex, truth: Complex) -> float:
    return float(-10 * np.log10(max(float(np.mean((np.abs(found) - np.abs(truth)) ** 2)), 1e-12)))


def metrics(found: Complex, truth: Complex, phase_rad: NDArray[np.float32] | None) -> dict[str, float]:
    """Of one field: amplitudes' PSNR (peak 1) in all and where the object is; error and phase there; what of its phase's sum is lost."""
    inside = np.asarray(scipy.ndimage.binary_dilation(np.abs(truth - 1) > 0.1, iterations=2), bool)
    out = {"amplitude_psnr_db": _psnr_db(found, truth)}
    if inside.any():
        off = np.angle(found * np.conj(truth))[inside & (np.abs(truth) > 0.3)]
        out |= {
            "object_psnr_db": _psnr_db(found[inside], truth[inside]),
            "complex_error": float(np.linalg.norm((found - truth)[inside]) / np.linalg.norm(truth[inside])),
            "phase_bias_rad": float(off.mean()),
            "phase_rmse_rad": float(np.sqrt(np.mean(off**2))),
        }
    if phase_rad is not None:
        lost = -np.angle(found * np.conj(truth))[inside].sum() / phase_rad[inside].sum()
        out["dry_mass_lost_percent"] = float(100 * lost)
    return out


def report(network: ImageNetwork, count: int) -> list[str]:
    """Tables of 4 `count` scenes: all of it, by grain and strength, ring by ring, and what is invented or erased."""
    others = [scene(np.random.default_rng((7000, k))) for k in range(4)]
    filters = tuned_filters([(s.noisy, s.noise, s.truth) for s in others])
    ways: dict[str, Callable[[SpeckledScene], Complex]] = {
        "as it came": lambda s: s.noisy,
        **{name: lambda s, way=way: way(s.noisy, s.noise) for name, way in filters.items()},
        "four looks averaged": lambda s: np.mean(s.looks, axis=0),
        "network alone": lambda s: without_speckle(s.noisy, network, weighed=False),
        OURS: lambda s: without_speckle(s.noisy, network),
    }
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    parts: dict[str, list[dict[str, float]]] = {}
    rings = {name: RingTally() for name in ways}
    insertions: dict[str, list[Insertion]] = {name: [] for name in ways if name != "four looks averaged"}
    for k in range(4 * count):
        one = scene(np.random.default_rng((8500, k)))
        part = f"{'fine' if one.grain_px < 2.2 else 'coarse'} grain, {'weak' if one.power < 0.09 else 'strong'}"
        for name, way in ways.items():
            found = way(one)
            scores[name].append(metrics(found, one.truth, one.phase_rad))
            if name in (OURS, "BM3D, complex"):
                parts.setdefault(f"{name}: {part}", []).append(scores[name][-1])
            rings[name].add(found, one.truth)
            if name in insertions and one.empty:
                truth, noisy = one.with_strange
                shown = way(SpeckledScene(truth, noisy, (), one.noise, None, one.grain_px, one.power, (truth, noisy), ()))
                insertions[name].append(Insertion(shown, found, truth, one.truth, one.empty))
    return [
        *score_lines(scores, METRICS), "", *bar_lines(_bars(scores), scores), "", "By grain (fine: under 2.2 pixels) and strength (weak: diffuse "
        "light under 0.09 of the direct):", "", *score_lines(dict(sorted(parts.items())), METRICS[:5]), "", "Fourier ring correlation "
        "with the truth (and power over the truth's):", "",
        *ring_lines([(n, f"{np.median([s['amplitude_psnr_db'] for s in scores[n]]):.1f} dB", t) for n, t in rings.items()]), "",
        *feature_lines(insertions),
    ]  # fmt: skip


def _bars(scores: Scores) -> list[Bar]:
    others = [name for name in scores if name not in (OURS, "network alone")]
    best = max(others, key=lambda name: float(np.median([s["amplitude_psnr_db"] for s in scores[name]])))
    return [
        Bar(OURS, "amplitude_psnr_db", least=1.0, against=best),
        Bar(OURS, "phase_bias_rad", least=-0.02, most=0.02),
        Bar(OURS, "dry_mass_lost_percent", least=-1.0, most=1.0),
    ]
