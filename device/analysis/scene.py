"""What the field holds, and whether counts of it mean anything: the measured hologram against what was found, carried forward.

Everything is asked of the fringes, the departure of the measured amplitude from its tile's mean, above the noise. Tile by tile:

empty       no fringes above the noise
sparse      the particles that were found predict the fringes
dense       the same, where they cover more than a twentieth of the tile
extended    what was found does not predict them: tissue, a mat, a film, or something out of reach of every depth tried
too strong  more than a fifth of the light is scattered: no weak object beside a reference wave, which in-line holography needs

The prediction that a field is judged by is that of the fields as they were *given*, before refinement, which can bend a wrong
field until it explains a good deal. Scattered light comes from the fringes' contrast: where scattered waves of a share s meet at
random with the rest, a tile's relative variance is 1 - (1 - s)^2 (Goodman, Speckle Phenomena in Optics, 2007, section 3.2.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.depth import Depth
from device.analysis.segment import Segment
from device.optics.autofocus import FocusEstimate
from device.optics.geometry import Geometry
from device.records import SCENE_KINDS

__all__ = [
    "KINDS",
    "LEAST_AMPLITUDE",
    "LEAST_EXPLAINED",
    "TILE_PX",
    "FieldScene",
    "Fringes",
    "Verdict",
    "fringes_of",
    "in_pieces",
    "off_focus",
    "off_plane",
    "scene_of",
    "too_noisy",
]

Real = NDArray[np.float32]

KINDS: Final = SCENE_KINDS
"""Of tiles, in the order of `FieldScene.kinds`."""

TILE_PX: Final = 64
"""Side of a tile: a few Fresnel lengths sqrt(wavelength * distance) of the geometries the networks cover."""

LEAST_EXPLAINED: Final = 0.45
"""Share of the fringes' energy that what was given must predict, for the field to be one of particles. Measured: 0.55 to 0.76 of 57
recordings of beads and red cells, 0.94 and more of simulated particles, 0 to 0.26 of sections, tissue and films, up to 0.65 of mats
whose threads lie apart."""

_SURELY_EXPLAINED = 0.5
"""Below this, counts are suspect."""

_WELL_EXPLAINED = 0.65
"""Share that a refined reconstruction predicts of such fields: 0.72 and more."""

_MOST_SCATTERED = 0.2
_MOST_NOISE = 0.2
"""Relative, of a pixel: 25 electrons. More is speckle as fine as the pixels, which reads like noise, or too dark to see by."""
_MOST_COVERED, _MUCH_COVERED = 0.35, 0.25
"""Share of the field. A complex field on a support s has 2 s unknowns for every measured pixel: half would explain anything."""

_DENSE_COVERED = 0.05
_LIT_ALL_OVER = 0.25
"""Share of the tiles: more of them with fringes that nothing accounts for, and the field is full."""

_NOISE_MARGIN = 0.05
"""By which the noise's energy may be off, relative."""

LEAST_AMPLITUDE = 0.005
"""Standard deviation that compression and slow light leave where the sensor's noise is lower."""

_ROWS = 8
"""Every so manieth row is looked at: five hundred pixels a tile tell its energy to 6 %."""

_LIT = 0.3
"""Fringes count in a tile from this share of the noise's energy: five standard deviations of its estimate."""

_GAP_PX = 4
_LONG_PX = 100
_SLENDER = 8.0
"""Squared length over area from which a body is a thread: a disc has 2.5, a chain of five beads 6.4."""

_SURE = 2.58
"""Deviations that 99 in 100 lie within."""

Level = Literal["suspect", "fail"]


@dataclass(frozen=True)
class Verdict:
    """Something that speaks against the counts of a frame."""

    level: Level
    reason: str
    """In words, for the record."""


@dataclass(frozen=True)
class Fringes:
    """Energies of the amplitude's departure from its tile's mean, a pixel, in tiles."""

    measured: NDArray[np.float64]
    """[rows, columns], the noise's taken off."""
    left: NDArray[np.float64]
    """The same of the measured less the predicted; a few per cent more than the noise's taken off."""
    lit: NDArray[np.bool_]
    """Tiles whose fringes stand above the noise."""

    @property
    def explained(self) -> float | None:
        """Share of the field's fringe energy that is predicted, 0 to 1; None where no tile is lit."""
        total = float(self.measured[self.lit].sum())
        return None if total <= 0 else min(max(1 - float(self.left[self.lit].sum()) / total, 0.0), 1.0)

    @property
    def confidence(self) -> Real:
        """The same by tile, float32 [rows, columns]; NaN where a tile isn't lit."""
        share = np.clip(1 - self.left / np.maximum(self.measured, 1e-12), 0, 1)
        return np.where(self.lit, share, np.nan).astype(np.float32)

    @property
    def scattered(self) -> float:
        """Share of the light of the whole field that is scattered."""
        return float(_scattered(np.asarray(self.measured.mean())))


@dataclass(frozen=True)
class FieldScene:
    """What a frame holds."""

    kinds: NDArray[np.uint8] = field(repr=False)
    """[rows, columns] of tiles of about TILE_PX, index in KINDS."""
    confidence: Real = field(repr=False)
    """[rows, columns]: share of a tile's fringe energy that the reconstruction predicts, 0 to 1; NaN where nothing stands out."""
    explained: float | None
    """The same of the whole field; None where nothing stands out."""
    way: str
    """How it was reconstructed."""
    shape: tuple[int, ...]
    """Of the frame, in pixels: height, width."""
    verdicts: tuple[Verdict, ...] = ()

    @property
    def fails(self) -> bool:
        """Whether it is no particle field: no count of it is good, nor a zero."""
        return any(verdict.level == "fail" for verdict in self.verdicts)

    @property
    def shares(self) -> dict[str, float]:
        """Share of the tiles, by kind."""
        counts = np.bincount(self.kinds.ravel(), minlength=len(KINDS)) / max(self.kinds.size, 1)
        return dict(zip(KINDS, counts.tolist(), strict=True))

    @classmethod
    def empty(cls, shape: tuple[int, ...], noise: float = 0.0) -> FieldScene:
        """Of a frame [height, width] in which nothing stands above the noise (relative, of a pixel)."""
        grid, verdicts = _grid(shape), tuple(too_noisy(noise))
        return cls(np.zeros(grid, np.uint8), np.full(grid, np.nan, np.float32), None, "nothing to reconstruct", shape, verdicts)

    def at(self, x_px: float, y_px: float) -> float | None:
        """Confidence of the tile that a pixel is in; None where nothing stands out there."""
        row, column = (
            min(max(int(place * tiles / length), 0), tiles - 1)
            for place, tiles, length in zip((y_px, x_px), self.confidence.shape, self.shape, strict=True)
        )
        value = float(self.confidence[row, column])
        return None if math.isnan(value) else value


def fringes_of(amplitude: Real, predicted: Real | None, noise: float) -> Fringes:
    """Energies of what was measured and of what a prediction leaves.

    Parameters: both float32 [height, width], amplitudes at the sensor, 1 where nothing is; None: nothing is predicted. `noise`
    relative standard deviation of a pixel's intensity.
    """
    # The amplitude of Poisson counts has the same variance everywhere: a quarter of the relative variance at 1.
    floor = max(noise**2 / 4, LEAST_AMPLITUDE**2)
    rows = slice(None, None, _ROWS)
    measured = _tile_variances(amplitude[rows] - np.float32(1), amplitude.shape)
    left = measured if predicted is None else _tile_variances(amplitude[rows] - predicted[rows], amplitude.shape)
    over = np.maximum(left - (1 + _NOISE_MARGIN) * floor, 0)
    return Fringes(measured - floor, over, measured - floor > _LIT * floor)


def scene_of(
    given: Fringes, final: Fringes, covered: NDArray[np.bool_], found: int, way: str, others: Sequence[Verdict] = ()
) -> FieldScene:
    """Judge a frame.

    Parameters: fringes under the fields as `given` and under the `final` ones; `covered` bool [height, width], where particles
    are; how many were `found`; `others` that speak against the counts.
    """
    confidence = final.confidence
    cover = _tile_means(covered[::_ROWS].astype(np.float32), covered.shape)
    kinds = np.where(cover > _DENSE_COVERED, 2, 1)
    kinds = np.where(given.confidence < LEAST_EXPLAINED, 3, kinds)
    kinds = np.where(_scattered(given.measured) > _MOST_SCATTERED, 4, kinds)
    kinds = np.where(given.lit, kinds, 0).astype(np.uint8)
    verdicts = (*_verdicts(given, float(covered.mean()), found), *others)
    refined = given is not final
    if refined and final.explained is not None and final.explained < _WELL_EXPLAINED:
        told = (
            f"the refined reconstruction predicts {final.explained:.0%} of the fringes' energy, {_WELL_EXPLAINED:.0%} is asked"
        )
        verdicts = (*verdicts, Verdict("suspect", told))
    return FieldScene(kinds, confidence, final.explained, way, covered.shape, verdicts)


def _verdicts(given: Fringes, covered: float, found: int) -> list[Verdict]:
    verdicts: list[Verdict] = []
    explained, lit = given.explained, float(given.lit.mean())
    if given.scattered > _MOST_SCATTERED:
        share = f"{given.scattered:.0%} of the light is scattered, at most {_MOST_SCATTERED:.0%} can be"
        verdicts.append(Verdict("fail", f"too strong: {share}"))
    if explained is not None and found == 0:
        level: Level = "fail" if lit > _LIT_ALL_OVER else "suspect"
        verdicts.append(Verdict(level, f"fringes in {lit:.0%} of the field, and nothing was found that makes them"))
    elif explained is not None and explained < _SURELY_EXPLAINED:
        least = LEAST_EXPLAINED if explained < LEAST_EXPLAINED else _SURELY_EXPLAINED
        told = f"what was found predicts {explained:.0%} of the fringes' energy, at least {least:.0%} is asked"
        failed = explained < LEAST_EXPLAINED
        verdicts.append(Verdict("fail", f"not a particle field: {told}") if failed else Verdict("suspect", told))
    if covered > _MUCH_COVERED:
        told = f"what was found covers {covered:.0%} of the field, and one hologram can't tell so much"
        failed = covered > _MOST_COVERED
        verdicts.append(Verdict("fail", f"not a particle field: {told}") if failed else Verdict("suspect", told))
    return verdicts


def too_noisy(noise: float) -> list[Verdict]:
    """Whether pixels vary by so much (relative) that nothing can be told from it, not even that nothing is there."""
    if noise <= _MOST_NOISE:
        return []
    told = f"pixels vary by {noise:.0%}, at most {_MOST_NOISE:.0%} can be noise: speckle, or too little light to see by"
    return [Verdict("fail", told)]


def in_pieces(parts: Sequence[Segment], covered: NDArray[np.bool_], geometry: Geometry) -> list[Verdict]:
    """Long slender bodies that came out as several particles: fibres, threads, walls.

    `covered` bool [height, width]: the pixels of all `parts`.
    """
    if len(parts) < 2:
        return []
    mask = covered.astype(np.uint8)
    size = 2 * _GAP_PX + 1
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    owners = [int(labels[_inside(part)]) for part in parts]
    verdicts: list[Verdict] = []
    for label in range(1, count):
        length = math.hypot(*stats[label, cv2.CC_STAT_WIDTH : cv2.CC_STAT_HEIGHT + 1].tolist())
        slender = length**2 > _SLENDER * float(stats[label, cv2.CC_STAT_AREA])
        if length > _LONG_PX and slender and owners.count(label) > 1:
            told = f"a body {length * geometry.object_pitch_um:.0f} um long was found in {owners.count(label)} pieces"
            verdicts.append(Verdict("suspect", told))
    return verdicts


def _inside(part: Segment) -> tuple[int, int]:
    """A pixel of a part: row, column of the frame."""
    row, column = np.argwhere(part.mask)[0].tolist()
    return part.y_px + row, part.x_px + column


def off_plane(depths: Sequence[Depth], geometry: Geometry, *, calibration_um: float, half_range_um: float) -> list[Verdict]:
    """Whether the particles lie where they are said to.

    Parameters: `depths` from the sensor; `calibration_um` uncertainty of the stated distance, one standard deviation;
    `half_range_um` by which particles may lie before and behind it (0: a plane, or not known). Particles at one depth that is
    not the stated one say that the distance is wrong: by more than three deviations, between 2.5 and 4.5 depths of
    field wavelength / NA^2, NA = wavelength / (2 pitch). Particles that float at depths of their own say nothing.
    """
    if not depths:
        return []
    middle, scatter_um, own_um = _plane(depths)
    off_um = abs(middle - geometry.distance_um) - half_range_um
    limit_um = _misplaced_um(geometry, math.hypot(calibration_um, own_um / math.sqrt(len(depths))))
    if off_um <= limit_um or off_um < 2 * scatter_um:
        return []
    return [
        Verdict("suspect", f"what was found lies {middle:.0f} um from the sensor, not the {geometry.distance_um:.0f} um stated")
    ]


def off_focus(depths: Sequence[Depth], focus: FocusEstimate, geometry: Geometry, *, calibration_um: float) -> list[Verdict]:
    """Whether the frame's own focus, which knows nothing of particles, lies where they do and where they are said to.

    Parameters: as of `off_plane`, of particles in a plane; `focus` of the same frame. The two ways to a plane err by what each states,
    and by a depth of field.
    """
    if not depths or not focus.found:
        return []
    middle, scatter_um, own_um = _plane(depths)
    told = f"the frame's own focus lies {focus.distance_um:.0f} um from the sensor, "
    apart_um = abs(focus.distance_um - middle)
    if apart_um > max(_SURE * math.hypot(focus.uncertainty_um, own_um), _depth_of_field_um(geometry), 2 * scatter_um):
        return [Verdict("suspect", f"{told}what was found {middle:.0f} um")]
    off_um = abs(focus.distance_um - geometry.distance_um)
    if off_um > _misplaced_um(geometry, math.hypot(calibration_um, focus.uncertainty_um)):
        return [Verdict("suspect", f"{told}not the {geometry.distance_um:.0f} um stated")]
    return []


def _plane(depths: Sequence[Depth]) -> tuple[float, float, float]:
    """Median, scatter and median uncertainty of depths, in micrometres."""
    places = np.array([depth.z_um for depth in depths])
    middle = float(np.median(places))
    scatter_um = 1.4826 * float(np.median(np.abs(places - middle)))
    return middle, scatter_um, float(np.median([depth.uncertainty_um for depth in depths]))


def _misplaced_um(geometry: Geometry, uncertainty_um: float) -> float:
    """From where on a plane isn't the stated one: three deviations, between 2.5 and 4.5 depths of field."""
    unit_um = _depth_of_field_um(geometry)
    return min(max(3 * uncertainty_um, 2.5 * unit_um), 4.5 * unit_um)


def _depth_of_field_um(geometry: Geometry) -> float:
    """wavelength / NA^2, NA = wavelength / (2 pitch), of distance to the sensor."""
    return 4 * geometry.object_pitch_um**2 / geometry.wavelength_medium_um * _stretch(geometry)


def _stretch(geometry: Geometry) -> float:
    """Micrometres of distance a micrometre of the equivalent plane-wave recording."""
    there = geometry.propagation_um
    return (geometry.distance_of(1.01 * there) - geometry.distance_of(0.99 * there)) / (0.02 * there) if there else 1.0


def _scattered(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the light that is scattered, from fringe energy of the amplitude: a quarter of the intensity's variance."""
    return 1 - np.sqrt(1 - np.clip(4 * energy, 0, 1))


def _grid(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of tiles."""
    height, width = (max(round(n / TILE_PX), 1) for n in shape)
    return height, width


def _tile_means(image: Real, shape: tuple[int, ...]) -> NDArray[np.float64]:
    rows, columns = _grid(shape)
    return np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA), np.float64).reshape(rows, columns)


def _tile_variances(image: Real, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Of each tile about its own mean, which is slow light."""
    return _tile_means(np.square(image), shape) - _tile_means(image, shape) ** 2
