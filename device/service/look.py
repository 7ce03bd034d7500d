"""The last look: the newest analysed frame as pictures, made only while somebody watches, dropped when late."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import cv2
import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from device.analysis.pipeline import FrameAnalysis
from device.analysis.scene import KINDS
from device.frames import Hologram
from device.identifiers import random_ulid
from device.records import Consistency, Stamp, iso_time
from device.service.state import Mailbox

__all__ = ["FrameLook", "LookBoard", "SeenParticle"]

log = logging.getLogger("holonode")

_SIDE_PX = 1024
"""Of the pictures, at most."""
_EVERY_S = 1.0
"""More often nobody can look, and the sampler has better things to do."""
_QUALITY = 85
_DARKEST, _BRIGHTEST = 0.4, 1.6
"""Amplitude from black to white; 1 is where nothing is."""
_MOST_PARTICLES = 2000


class SeenParticle(Struct, frozen=True, kw_only=True):
    """One particle of the frame."""

    bbox_px: tuple[int, int, int, int]
    """Bounding box in the frame: x and y of its corner, width, height."""
    label: str
    """The most probable class; 'unknown' where none is, 'particle' where no classifier spoke."""
    score: float | None
    """Calibrated probability of the label; None where no classifier spoke."""
    esd_um: float
    """Equivalent spherical diameter."""
    esd_uncertainty_um: float
    """One standard deviation of esd_um."""
    z_um: float
    """From the sensor to the particle."""
    consistency: Consistency
    """Whether the reconstruction explains the hologram there."""


class FrameLook(Struct, frozen=True, kw_only=True):
    """One frame, and what was made of it."""

    id: str
    """Of these pictures, a ULID."""
    taken_at: Stamp
    """When the frame was taken, UTC."""
    frame: int
    """Number of the frame in its source, from 0."""
    width_px: int
    """Of the frame."""
    height_px: int
    """Of the frame."""
    scale: float
    """Pixels of the pictures over those of the frame, along a side."""
    hologram_jpeg: bytes
    """What the sensor saw, divided by the background: grey at 1."""
    focus_jpeg: bytes | None
    """Amplitude at the particles' plane; None: nothing was reconstructed, the frame is empty or blocked."""
    particles: tuple[SeenParticle, ...]
    """All that were found, the largest first; at most 2000."""
    scene: dict[str, float] | None
    """Share of the frame's tiles by what they hold; None: it could not be searched."""
    reasons: tuple[str, ...]
    """What speaks against counts of this frame, in words."""

    def told(self) -> dict[str, Any]:
        """All but the pictures themselves."""
        told = {name: getattr(self, name) for name in self.__struct_fields__ if not name.endswith("_jpeg")}
        return msgspec.to_builtins(told) | {"focused": self.focus_jpeg is not None}


_Offer = tuple[Hologram, FrameAnalysis]


class LookBoard:
    """Where the newest look hangs; safe to use from any thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offers: Mailbox[_Offer] = Mailbox()
        self._lock = threading.Lock()
        self._watchers = 0
        self._newest: FrameLook | None = None
        self._due_s = 0.0
        self._thread: threading.Thread | None = None
        self._stop = False

    @contextlib.contextmanager
    def watch(self) -> Generator[None]:
        """Pictures are made while this is entered."""
        with self._lock:
            self._watchers += 1
            if self._thread is None and not self._stop:
                self._thread = threading.Thread(target=self._work, name="look", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._watchers -= 1

    def newest(self) -> FrameLook | None:
        """The last that was made; None where none was."""
        return self._newest

    def offer(self, hologram: Hologram, analysis: FrameAnalysis) -> None:
        """A frame was analysed; never waits. It is let go where nobody watches, or another one was shown a moment ago."""
        if self._watchers and self._monotonic() >= self._due_s:
            self._offers.put((hologram, analysis))

    def stop(self) -> None:
        """Make no more; safe to call twice."""
        with self._lock:
            self._stop = True
            thread = self._thread
        if thread is not None:
            thread.join(2.0)

    def _work(self) -> None:
        while not self._stop:
            offer = self._offers.take(0.5)
            if offer is None:
                continue
            self._due_s = self._monotonic() + _EVERY_S
            try:
                self._newest = look_of(*offer)
            except Exception:
                # The edge of this thread: a picture is worth no sample.
                log.exception("a look at a frame broke")


def look_of(hologram: Hologram, analysis: FrameAnalysis) -> FrameLook:
    """Pictures and words of one frame."""
    height, width = hologram.intensity.shape
    scale = min(_SIDE_PX / max(height, width), 1.0)
    result = analysis.reconstruction
    seen = sorted(
        zip(analysis.particles, analysis.classifications, analysis.consistencies, strict=True), key=lambda one: -one[0].esd_um
    )
    return FrameLook(
        id=random_ulid(), taken_at=iso_time(hologram.captured_at), frame=hologram.index, width_px=width, height_px=height, scale=scale,
        hologram_jpeg=_jpeg(np.sqrt(np.maximum(_scaled(hologram.intensity, scale), 0.0))),
        focus_jpeg=None if result is None else _jpeg(_scaled(np.abs(result.field), scale)),
        particles=tuple(
            SeenParticle(
                bbox_px=particle.bbox_px, label=name.label, score=name.score, esd_um=round(particle.esd_um, 3),
                esd_uncertainty_um=round(particle.esd_uncertainty_um, 3), z_um=round(particle.z_um, 2), consistency=consistency,
            )
            for particle, name, consistency in seen[:_MOST_PARTICLES]
        ),
        scene=None if analysis.scene is None else {kind: round(analysis.scene.shares[kind], 4) for kind in KINDS},
        reasons=_reasons(analysis),
    )  # fmt: skip


def _reasons(analysis: FrameAnalysis) -> tuple[str, ...]:
    said = [] if analysis.analysed else ["something too large to be a particle blocks the field: not searched"]
    said += [verdict.reason for verdict in analysis.scene.verdicts] if analysis.scene else []
    return tuple(said + ["more particles than are checked against the hologram"] * analysis.unchecked)


def _scaled(pixels: NDArray[np.floating], scale: float) -> NDArray[np.float32]:
    size = (max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1))
    return np.asarray(cv2.resize(np.asarray(pixels, np.float32), size, interpolation=cv2.INTER_AREA), np.float32)


def _jpeg(amplitude: NDArray[np.float32]) -> bytes:
    grey = np.clip((amplitude - _DARKEST) / (_BRIGHTEST - _DARKEST) * 255, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
