"""Which pixels belong to which particle."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.middle_line import is_stout, middle_line

__all__ = ["Segment", "SegmentSettings", "filled", "segment"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

_BLOCK_PX = 16
"""The highest peak in reach is looked up on blocks of this side."""


@dataclass(frozen=True)
class SegmentSettings:
    """Dimensionless: one setting serves every instrument."""

    seed_contrast: float = 0.45
    """Peak of |field - 1| of a particle, smoothed over a pixel, that is enough in any company."""
    seed_share: float = 0.3
    """Enough is also this share of the highest peak in reach: what is false is an image of what is strong."""
    seed_noise: float = 17.0
    """But not less than so many times the hologram's noise,"""
    faintest_contrast: float = 0.1
    """nor than this: what eight bits and slow light leave;"""
    seed_agreement: float = 0.25
    """and what is faint must have this share of its own in the back-propagated field, where a particle in focus has half."""
    ghost_share: float = 0.6
    """What has less than this share of the highest peak in reach may be where a bent body's twin image comes to a focus:"""
    ghost_agreement: float = 0.1
    """the back-propagated field then hasn't this share of it. Of strong bodies it may not have either."""
    edge_contrast: float = 0.3
    """Least |field - 1| at a particle's outline; less in proportion where less than seed_contrast is enough."""
    edge_share: float = 0.28
    """And at least this share of the particle's own peak, so that blur doesn't join neighbours."""
    noise_factor: float = 6.0
    """Both are at least so many times the background's own level."""
    smooth_px: float = 0.8
    """Gaussian smoothing before thresholds."""
    least_area_px: int = 6
    """Smaller specks are noise."""
    round_area: float = 1.4
    """A region under this multiple of its inscribed circle's area is one particle."""
    widest_px: int = 600
    """A region in a larger box is tissue or dirt, not particles that touch: it is left whole."""
    most_parts: int = 40
    """A region is split into no more than this; what is left over goes to the nearest."""
    measured_weight: float = 0.4
    """Weight of the back-propagated field in the contrast that splits: it is sharper than the network's, if not as clean."""
    agreement: tuple[float, float] = (0.3, 0.6)
    """Correlation of the two contrasts within a region from which that weight begins, and from which it is whole: out of focus
    the back-propagated field shows fringes, not bodies."""
    split_smoothing: float = 0.08
    """Contrast is smoothed over this share of a region's inscribed radius before it is split."""
    split_dip: float = 0.03
    """Two bodies are two particles where the contrast between them is lower by this share of the lesser peak."""
    resolved_px: float = 10.0
    """Bodies up to this diameter are smooth at the resolution of a reconstruction; larger ones show texture of their own."""
    texture_dip: float = 0.15
    """Dip asked of larger bodies on top, for every e-fold in diameter."""
    free_neck: float = 0.8
    """Bodies whose common border is shorter than this share of the lesser one's diameter have a neck between them."""
    neck_dip: float = 0.1
    """Dip asked on top where the border is longer, for every further diameter."""
    thread_elongation: float = 3.5
    """Length over mean width from which a body without a neck is a thread or an animal, one whatever its texture. Two round
    ones that touch have 2.5; with 2.8 recorded beads that stick together pass for threads."""
    thread_neck: float = 0.72
    """Of such a body the least width, as a share of the lesser width on either side."""
    chain_elongation: float = 5.5
    """And from which one that has necks is a chain."""
    thread_shares: tuple[float, ...] = (0.28, 0.42)
    """Shares of a body's peak above which a thread is looked for in it: without a network it has fringes at its sides."""
    thread_weight: float = 0.6
    """Of the body's contrast such a thread has at least this share."""
    tip_contrast: float = 0.1
    """Least |field - 1| at the outline of such a body: its tips are fainter than anything that is found by itself."""
    tip_reach: float = 0.35
    """The outline is at edge_share of the highest contrast so near, as a share of the body's inscribed radius."""
    tip_px: int = 24
    """So far from what is brighter its tips are looked for."""
    narrow_neck: float = 0.75
    """Round bodies whose border has less than this share of the lesser one's half width are two, whatever their contrast,"""
    disc_area: float = 1.3
    """where neither has more than this multiple of its inscribed circle's area."""


@dataclass(frozen=True)
class Segment:
    """One particle's pixels."""

    x_px: int
    """Left column of the box."""
    y_px: int
    """Top row of the box."""
    mask: Mask
    """bool [box height, box width]."""
    touches_edge: bool
    """Whether it is cut by the border of the frame."""


def segment(
    field: NDArray[np.complex64],
    settings: SegmentSettings | None = None,
    *,
    start: NDArray[np.complex64] | None = None,
    noise: float | None = None,
    reach_px: int = 0,
) -> list[Segment]:
    """Particles of an object field complex64 [height, width] that is near 1 where nothing is.

    The object field says where particles are; the back-propagated `start`, of the same shape, helps to part those that
    touch. `noise` relative standard deviation of the hologram's pixels, `reach_px` of a particle's fringes: what is faint is
    looked for where the one and what is strong within the other allow it; None: only what is enough in any company.
    """
    settings = settings or SegmentSettings()
    smooth = _contrast(field, settings)
    floor = settings.noise_factor * float(np.median(smooth[::2, ::2]))
    highest = None if noise is None else _highest(smooth, reach_px)
    seed = settings.seed_contrast if highest is None else _enough(highest, noise or 0.0, settings)
    edge = np.maximum(settings.edge_contrast / settings.seed_contrast * seed, 0.6 * floor)
    labels, count = _hysteresis(smooth, edge, np.maximum(seed, floor))
    found: list[Segment] = []
    for label, (x, y, width, height) in enumerate(_boxes(labels, count), start=1):
        box = (slice(y, y + height), slice(x, x + width))
        region, local = labels[box] == label, smooth[box]
        peak = float(local[region].max())
        body = filled(region & (local > settings.edge_share * peak))
        if body.sum() < settings.least_area_px:
            continue
        if start is not None and highest is not None:
            asked = _asked_agreement(peak, float(highest[box][region].max()), settings)
            if asked and _agreement(field[box], start[box], body) < asked:
                continue
        if _is_one_thread(filled(region), settings):
            found.append(
                _thread(smooth, labels, label, (x, y, width, height), max(settings.tip_contrast, 0.6 * floor), settings)
            )
            continue
        bright = _bright_thread(body, local, settings)
        if bright is not None:
            found.append(_cut(bright, x, y, field.shape))
            continue
        parting = local if start is None else _sharpened(local, _contrast(start[box], settings), body, settings)
        parts = [part for part in _split(body, parting, settings) if part.sum() >= settings.least_area_px]
        found.extend(_cut(part, x, y, field.shape) for part in parts)
    return found


def _asked_agreement(peak: float, highest: float, settings: SegmentSettings) -> float:
    """What `_agreement` must be of a body; 0: nothing is asked."""
    if peak < settings.seed_contrast:
        return settings.seed_agreement
    return settings.ghost_agreement if peak < settings.ghost_share * highest else 0.0


def _agreement(field: NDArray[np.complex64], start: NDArray[np.complex64], body: Mask) -> float:
    """Share of a body's departure from 1 that the back-propagated field has too."""
    own = field[body] - 1
    return float(np.vdot(own, start[body] - 1).real / np.vdot(own, own).real)


def _contrast(field: NDArray[np.complex64], settings: SegmentSettings) -> Image:
    """|field - 1|, smoothed."""
    return _blurred(np.abs(field - 1).astype(np.float32), settings.smooth_px)


def _blurred(image: Image, sigma_px: float, border: int = cv2.BORDER_REFLECT_101) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=border), np.float32)


def _sharpened(known: Image, measured: Image, body: Mask, settings: SegmentSettings) -> Image:
    """Weighted geometric mean of two contrasts, as far as they agree on the body."""
    one, other = known[body] - known[body].mean(), measured[body] - measured[body].mean()
    correlation = float((one * other).sum()) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12)
    low, high = settings.agreement
    weight = settings.measured_weight * min(max((correlation - low) / (high - low), 0.0), 1.0)
    return (known ** (1 - weight) * measured**weight).astype(np.float32)


def _highest(smooth: Image, reach_px: int) -> Image:
    """The highest contrast in reach of every pixel, float32 [height, width]; to a block more."""
    height, width = smooth.shape
    padded = np.zeros((-(-height // _BLOCK_PX) * _BLOCK_PX, -(-width // _BLOCK_PX) * _BLOCK_PX), np.float32)
    padded[:height, :width] = smooth
    blocks = padded.reshape(padded.shape[0] // _BLOCK_PX, _BLOCK_PX, -1, _BLOCK_PX).max(axis=(1, 3))
    size = 2 * -(-reach_px // _BLOCK_PX) + 1
    highest = cv2.dilate(blocks, np.ones((size, size), np.uint8))
    return np.asarray(highest.repeat(_BLOCK_PX, axis=0).repeat(_BLOCK_PX, axis=1)[:height, :width], np.float32)


def _enough(highest: Image, noise: float, settings: SegmentSettings) -> Image:
    """Least peak of a particle at every pixel."""
    least = min(max(settings.seed_noise * noise, settings.faintest_contrast), settings.seed_contrast)
    return np.asarray(np.clip(settings.seed_share * highest, least, settings.seed_contrast), np.float32)


def _hysteresis(smooth: Image, low: Image | float, high: Image | float) -> tuple[NDArray[np.int32], int]:
    """Connected regions above `low` that reach `high` somewhere, numbered from 1."""
    above = (smooth > low).astype(np.uint8)
    count, found = cv2.connectedComponents(above, connectivity=8)
    labels = np.asarray(found, np.int32)
    strong = np.zeros(count, bool)
    strong[np.unique(labels[smooth > high])] = True
    strong[0] = False
    renumber = np.zeros(count, np.int32)
    renumber[strong] = np.arange(1, int(strong.sum()) + 1)
    return renumber[labels], int(strong.sum())


def _boxes(labels: NDArray[np.int32], count: int) -> list[tuple[int, int, int, int]]:
    """x, y, width, height of every label from 1."""
    if count == 0:
        return []
    rows, columns = np.nonzero(labels)
    which = labels[rows, columns] - 1
    low_y, low_x = np.full(count, labels.shape[0]), np.full(count, labels.shape[1])
    high_y, high_x = np.zeros(count, int), np.zeros(count, int)
    np.minimum.at(low_y, which, rows)
    np.minimum.at(low_x, which, columns)
    np.maximum.at(high_y, which, rows)
    np.maximum.at(high_x, which, columns)
    return [
        (int(x0), int(y0), int(x1 - x0 + 1), int(y1 - y0 + 1))
        for x0, y0, x1, y1 in zip(low_x, low_y, high_x, high_y, strict=True)
    ]


def filled(mask: Mask) -> Mask:
    """The mask without holes: where the phase passes a multiple of 2 pi a particle looks like nothing."""
    padded = np.pad(mask.astype(np.uint8), 1)
    cv2.floodFill(padded, None, (0, 0), 2)
    return padded[1:-1, 1:-1] != 2


def _split(mask: Mask, contrast: Image, settings: SegmentSettings) -> list[Mask]:
    """Bodies that touch, told apart at narrow necks between round ones, or where the contrast dips between them.

    The contrast is smoothed over a share of the region's own inscribed radius, so that the texture of a large grain
    doesn't split it while two small beads that touch are seen.
    """
    depth = _depth(mask)
    radius = float(depth.max())
    # One round body fills its inscribed circle; two that touch fill at least twice that.
    if mask.size > settings.widest_px**2 or mask.sum() < settings.round_area * np.pi * radius**2:
        return [mask]
    rounds = _round_parts(mask, depth, settings)
    if rounds:
        return rounds
    inside = np.where(mask, contrast, 0).astype(np.float32)
    smooth = _blurred(inside, max(settings.split_smoothing * radius, 0.5), cv2.BORDER_CONSTANT)
    peaks = _persistent_peaks(smooth, mask, settings.split_dip)[: settings.most_parts]
    while len(peaks) > 1:
        parts = _nearest(mask, [place for place, _ in peaks])
        lacking = _asked_dips(parts, settings) - np.array([dip for _, dip in peaks])
        if lacking.max() <= 0:
            return parts
        peaks.pop(int(np.argmax(lacking)))
    return [mask]


def _depth(mask: Mask) -> Image:
    """Distance of every pixel to the nearest outside the mask, float32 [height, width]."""
    padded = np.pad(mask.astype(np.uint8), 1)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1], np.float32)


def _round_parts(mask: Mask, depth: Image, settings: SegmentSettings) -> list[Mask]:
    """A mask parted at its necks, where all that comes of it is round, whatever its texture; else nothing."""
    peaks = _persistent_peaks(depth, mask, 1 - settings.narrow_neck)[: settings.most_parts]
    if len(peaks) < 2:
        return []
    parts = _nearest_discs(mask, [(place, float(depth[place])) for place, _ in peaks])
    is_round = all(
        part.sum() < settings.disc_area * np.pi * float(depth[place]) ** 2
        for part, (place, _) in zip(parts, peaks, strict=True)
    )
    return parts if is_round else []


def _nearest_discs(mask: Mask, discs: list[tuple[tuple[int, int], float]]) -> list[Mask]:
    """The mask shared out by power distance to discs ((row, column), radius): its border is where two would cut each other."""
    y, x = np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]]
    owner = np.argmin(np.stack([(y - row) ** 2 + (x - column) ** 2 - r**2 for (row, column), r in discs]), axis=0)
    return [mask & (owner == k) for k in range(len(discs))]


def _is_one_thread(region: Mask, settings: SegmentSettings) -> bool:
    """Whether a region is long and unbranched, and without a neck or longer than a few bodies that touch by chance."""
    if region.size > settings.widest_px**2 or is_stout(region):
        return False
    line = middle_line(region)
    if line.branched or line.elongation < settings.thread_elongation:
        return False
    return line.elongation >= settings.chain_elongation or line.neck >= settings.thread_neck


def _bright_thread(body: Mask, local: Image, settings: SegmentSettings) -> Mask | None:
    """The thread that most of a body's contrast is in, beside it only fringes of its own; None where there is none."""
    top, total = float(local[body].max()), float(local[body].sum())
    for share in settings.thread_shares:
        _, parts = cv2.connectedComponents((body & (local > share * top)).astype(np.uint8), connectivity=8)
        weights = np.bincount(np.asarray(parts).ravel(), np.where(body, local, 0).ravel())
        weights[0] = 0
        core = filled(np.asarray(parts) == int(np.argmax(weights)))
        if float(weights.max()) < settings.thread_weight * total:
            return None
        if _is_one_thread(core, settings):
            return core
    return None


def _thread(
    smooth: Image,
    labels: NDArray[np.int32],
    label: int,
    box: tuple[int, int, int, int],
    weakest: float,
    settings: SegmentSettings,
) -> Segment:
    """A long body with its tips, which are thinner and fainter than the rest: its outline is at a share of the peak nearby."""
    x, y, width, height = box
    margin = settings.tip_px
    top, left = max(y - margin, 0), max(x - margin, 0)
    near = (slice(top, y + height + margin), slice(left, x + width + margin))
    local, free = smooth[near], np.isin(labels[near], (0, label))
    region = labels[near] == label
    inner = _depth(region)
    size = 2 * int(np.ceil(settings.tip_reach * inner.max())) + 1
    peak = cv2.dilate(np.where(free, local, 0), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    above = (free & (local > np.maximum(settings.edge_share * peak, weakest))).astype(np.uint8)
    _, parts = cv2.connectedComponents(above, connectivity=8)
    own = np.isin(parts, np.unique(parts[region & (above > 0)]))
    return _cut(filled(own & (above > 0)), left, top, labels.shape)


def _asked_dips(parts: list[Mask], settings: SegmentSettings) -> NDArray[np.float64]:
    """How deep the dip around each part must be for it to be a particle of its own."""
    diameters = 2 * np.sqrt(np.array([max(int(part.sum()), 1) for part in parts]) / np.pi)
    asked = settings.split_dip + settings.texture_dip * np.log(np.maximum(diameters / settings.resolved_px, 1))
    for k, part in enumerate(parts):
        others = [j for j in range(len(parts)) if j != k]
        necks = [_border(part, parts[j]) / min(diameters[k], diameters[j]) for j in others]
        asked[k] += settings.neck_dip * max(max(necks) - settings.free_neck, 0)
    return asked


def _border(one: Mask, other: Mask) -> float:
    """Length of the border two masks share, in pixels."""
    across = int((one[:, 1:] & other[:, :-1]).sum() + (one[:, :-1] & other[:, 1:]).sum())
    along = int((one[1:] & other[:-1]).sum() + (one[:-1] & other[1:]).sum())
    return float(np.hypot(across, along))


def _nearest(mask: Mask, places: list[tuple[int, int]]) -> list[Mask]:
    """The mask shared out to the nearest of the places (row, column)."""
    y, x = np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]]
    owner = np.argmin(np.stack([(y - row) ** 2 + (x - column) ** 2 for row, column in places]), axis=0)
    return [mask & (owner == k) for k in range(len(places))]


def _persistent_peaks(smooth: Image, mask: Mask, dip: float, levels: int = 120) -> list[tuple[tuple[int, int], float]]:
    """Peaks (row, column) with their dip: the share of their height that parts them from any higher one, at least `dip`.

    Sinks a threshold through the mask and watches islands appear and merge.
    """
    top = float(smooth[mask].max())
    peaks: list[tuple[float, tuple[int, int], float]] = []  # height, place, level at which a higher island took it in
    standing: list[int] = []
    for level in np.linspace(top, 0, levels, endpoint=False)[1:]:
        count, grown, stats, _ = cv2.connectedComponentsWithStats(((smooth > level) & mask).astype(np.uint8), connectivity=8)
        owners: dict[int, int] = {}
        for k in sorted(standing, key=lambda k: -peaks[k][0]):
            label = int(grown[peaks[k][1]])
            if label in owners:
                peaks[k] = (*peaks[k][:2], float(level))
            else:
                owners[label] = k
        for label in set(range(1, count)) - set(owners):
            left, top_row, width, height = stats[label, :4].tolist()
            box = (slice(top_row, top_row + height), slice(left, left + width))
            island = np.where(grown[box] == label, smooth[box], -1)
            row, column = np.unravel_index(int(np.argmax(island)), island.shape)
            place = (top_row + int(row), left + int(column))
            peaks.append((float(smooth[place]), place, 0.0))
            owners[label] = len(peaks) - 1
        standing = list(owners.values())
    deep = [(place, 1 - merged / height) for height, place, merged in peaks if height - merged >= dip * height]
    return sorted(deep, key=lambda peak: -peak[1])


def _cut(part: Mask, x: int, y: int, shape: tuple[int, ...]) -> Segment:
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    top, left = y + int(rows[0]), x + int(columns[0])
    mask = part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    edge = top == 0 or left == 0 or top + mask.shape[0] == shape[0] or left + mask.shape[1] == shape[1]
    return Segment(left, top, mask, bool(edge))
