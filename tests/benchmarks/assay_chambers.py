"""Simulated chambers of the biosensor, each looked at over time and measured by two methods on the same frames.

Doses are drawn and their response fitted under one set of conditions, scored under another: other seeds, another forward model
(the wave carried from bead to bead through slices on a finer grid, three wavelengths, where the fitted one adds up exact waves of
single spheres), other beads, light, debris and an instrument that isn't quite where it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from device.analysis.aggregation import Piece, bead_area_um2, pieces_of
from device.analysis.background import normalise
from device.analysis.pipeline import Pipeline
from device.errors import InputError
from device.frames import Exposure, Hologram, LampState
from device.instrument import Instrument, load_instrument
from device.optics.autofocus import estimate_distance, region
from device.optics.geometry import Geometry
from device.optics.propagation import backpropagate
from device.twin.aggregation import BeadSuspension
from device.twin.chamber import Chamber
from device.twin.forward import multislice_hologram, scattered_wave
from device.twin.illumination import Illumination
from device.twin.scene import snap_depths
from device.twin.sensor import SensorModel

FINER, PLANES, MARGIN_PX = 2, 4, 64
LIGHT = Exposure(1500.0, lamp_current_ma=20.0)
THRESHOLDS = (0.1, 0.13, 0.16, 0.2, 0.25, 0.3)
"""Of |field - 1|, that the baseline may choose from."""
FOCUSES = ("one bead's for all", "each bead's own")


@dataclass(frozen=True)
class Conditions:
    """What chambers are drawn with."""

    name: str
    exact: bool
    """Exact waves of spheres, added up; False: slices, on a finer grid."""
    seed: int
    sample: BeadSuspension
    debris_per_ul: float
    bandwidth_um: float
    source_um: float
    distance_error_um: float
    """Of the floor, one standard deviation, from chamber to chamber."""


FITTED = Conditions("exact waves", True, 11, BeadSuspension(), 20.0, 0.030, 100.0, 8.0)
SCORED = Conditions(
    "slices on a finer grid",
    False,
    23,
    BeadSuspension(bead_um=10.15, bead_contrast=0.117),
    30.0,
    0.026,
    80.0,
    15.0,
)


def instrument_of(side_px: int) -> Instrument:
    """The assay's instrument with a square field."""
    whole = load_instrument("assay-ov9281-850nm")
    return msgspec.structs.replace(whole, sensor=msgspec.structs.replace(whole.sensor, width_px=side_px, height_px=side_px))


@dataclass(frozen=True)
class Frame:
    """One look at a chamber."""

    elapsed_s: float
    hologram: Hologram
    true_clusters: list[int]
    """Beads of each in the field."""


def chamber_frames(
    where: Conditions, instrument: Instrument, dose_per_ul: float, number: int, times_s: tuple[float, ...]
) -> Iterator[Frame]:
    """The looks at one chamber, divided by frames of it empty."""
    rng = np.random.default_rng([where.seed, number, round(1000 * dose_per_ul)])
    geometry, side_px = instrument.geometry, instrument.sensor.width_px
    pitch_um = geometry.pitch_um
    voxel_um = pitch_um if where.exact else pitch_um / FINER
    distance_um = geometry.distance_um + where.distance_error_um * rng.normal()
    sample = replace(where.sample, analyte_per_ul=dose_per_ul)
    field_um = (side_px * pitch_um,) * 2
    chamber = Chamber(sample, field_um, 100.0, distance_um, voxel_um, rng, {"dust": where.debris_per_ul})
    light = Illumination(geometry.wavelength_um, where.bandwidth_um, where.source_um, instrument.lamp.source_distance_um or 1e9)
    sensor = SensorModel.draw(instrument.sensor, rng)
    lamp = LampState(0, LIGHT.lamp_current_ma, acknowledged=True)
    dark = instrument.sensor.dark_level_counts
    empty = [sensor.expose(np.ones((side_px, side_px), np.float32), LIGHT, lamp, rng).astype(np.float32) for _ in range(4)]
    background = np.mean(empty, axis=0).astype(np.float32)
    now_s = 0.0
    for time_s in times_s:
        chamber.advance(time_s - now_s)
        now_s = time_s
        counts = sensor.expose(_intensity(chamber, where, side_px, pitch_um, light), LIGHT, lamp, rng)
        ready = normalise(counts.astype(np.float32), background, dark_counts=dark)
        hologram = Hologram(ready.intensity, geometry, ready.noise, datetime.now(UTC))
        yield Frame(time_s, hologram, [beads for beads, _, _ in chamber.in_field()])


def _intensity(chamber: Chamber, where: Conditions, side_px: int, pitch_um: float, light: Illumination) -> NDArray[np.float32]:
    shape = (side_px, side_px)
    if where.exact:
        wave = scattered_wave(shape, pitch_um, chamber.bodies("lorenz-mie"), light, "lorenz-mie")
        wave = wave + scattered_wave(shape, pitch_um, chamber.debris(), light, "multislice")
        return (np.abs(1 + wave) ** 2).astype(np.float32)
    bodies = snap_depths(chamber.bodies("multislice"), PLANES)
    return multislice_hologram(shape, pitch_um, bodies, light, finer=FINER, margin_px=MARGIN_PX)


class Measured(msgspec.Struct, frozen=True):
    """What both methods read off one look."""

    elapsed_s: float
    pieces: list[Piece]
    areas_um2: dict[str, list[float]]
    """Of the baseline's objects, by its settings."""
    true_clusters: list[int]


def measured(frame: Frame, pipeline: Pipeline) -> Measured:
    """One look, by the pipeline and by the baseline."""
    hologram, geometry = frame.hologram, frame.hologram.geometry
    analysis = pipeline.analyse(hologram)
    pieces = pieces_of(analysis.particles, analysis.classifications, geometry.object_pitch_um)
    return Measured(frame.elapsed_s, pieces, baseline_areas(hologram), frame.true_clusters)


def baseline_areas(hologram: Hologram) -> dict[str, list[float]]:
    """Areas of what passes a threshold in the back-propagated field, for every focus and threshold it may use."""
    geometry = hologram.geometry
    one = _magnitude(hologram, _single_bead_focus_um(hologram))
    stack = [_magnitude(hologram, geometry.distance_um + dz) for dz in np.linspace(-60, 60, 7)]
    found: dict[str, list[float]] = {}
    for threshold in THRESHOLDS:
        boxes, areas = _objects(one, threshold)
        found[f"{FOCUSES[0]}/{threshold}"] = [a * geometry.object_pitch_um**2 for a in areas]
        own = [_own_focus_area(stack, box, threshold) for box in boxes]
        found[f"{FOCUSES[1]}/{threshold}"] = [a * geometry.object_pitch_um**2 for a in own if a]
    return found


def _magnitude(hologram: Hologram, distance_um: float) -> NDArray[np.float32]:
    field = backpropagate(hologram.intensity, replace(hologram.geometry, distance_um=distance_um))
    return cv2.GaussianBlur(np.abs(field - 1).astype(np.float32), (0, 0), 0.8)


def _single_bead_focus_um(hologram: Hologram, half_px: int = 64) -> float:
    """Focus of the loneliest bright object near the middle of the field."""
    geometry: Geometry = hologram.geometry
    magnitude = _magnitude(hologram, geometry.distance_um)
    boxes, _ = _objects(magnitude, 0.25)
    places = np.array([[x + w / 2, y + h / 2] for x, y, w, h in boxes])
    size = magnitude.shape[0]
    inside = [k for k, p in enumerate(places) if (p > half_px).all() and (p < size - half_px).all()]
    if len(inside) < 2:
        return geometry.distance_um
    lonely = max(inside, key=lambda k: np.partition(np.hypot(*(places - places[k]).T), 1)[1])
    x, y = (int(c) - half_px for c in places[lonely])
    try:
        part = region(hologram.intensity, (x, y, 2 * half_px, 2 * half_px))
        found = estimate_distance(part, geometry, geometry.distance_um - 80, geometry.distance_um + 80)
        return found.distance_um if found.found else geometry.distance_um
    except InputError:
        return geometry.distance_um


def _objects(magnitude: NDArray[np.float32], threshold: float) -> tuple[list[tuple[int, int, int, int]], list[int]]:
    """Box and filled area of every connected object that the border doesn't cut."""
    outlines, _ = cv2.findContours((magnitude > threshold).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    boxes, areas = [], []
    height, width = magnitude.shape
    for outline in outlines:
        x, y, w, h = cv2.boundingRect(outline)
        if x <= 1 or y <= 1 or x + w >= width - 1 or y + h >= height - 1:
            continue
        filled = np.zeros((h, w), np.uint8)
        cv2.drawContours(filled, [outline - (x, y)], 0, 1, -1)
        if (area := int(filled.sum())) >= 6:
            boxes.append((x, y, w, h))
            areas.append(area)
    return boxes, areas


def _own_focus_area(stack: list[NDArray[np.float32]], box: tuple[int, int, int, int], threshold: float) -> int:
    """Area in the plane where the edges of what the box holds are sharpest (Tamura coefficient of the gradient)."""
    x, y, w, h = box
    rows, columns = slice(max(y - 3, 0), y + h + 3), slice(max(x - 3, 0), x + w + 3)
    sharpness = []
    for plane in stack:
        gradient = np.hypot(*np.gradient(plane[rows, columns]))
        sharpness.append(float(gradient.std() / max(gradient.mean(), 1e-9)))
    best = stack[int(np.argmax(sharpness))][rows, columns]
    count, _, stats, _ = cv2.connectedComponentsWithStats((best > threshold).astype(np.uint8), connectivity=8)
    return int(stats[1:, cv2.CC_STAT_AREA].max()) if count > 1 else 0


def single_area_um2(looks: list[list[float]]) -> float:
    """Of one bead, by the commonest area."""
    return bead_area_um2(np.concatenate([np.asarray(areas, float) for areas in looks if areas] or [np.ones(1)]))
