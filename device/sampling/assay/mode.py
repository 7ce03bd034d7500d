"""The biosensor's intervals: one look at the clumping beads each, the last of an assay with its dose.

What a running assay has seen is kept with the records of every look: after a power loss it goes on where it was, or is given up
where the beads were left alone for too long. Time within an assay is monotonic; over a power loss only the wall clock knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from device.analysis.aggregation import Growth, TimePoint, clusters_of, growth, look_at, pieces_of, statistics
from device.analysis.dose_response import Dose, DoseResponse
from device.analysis.efficiency import DetectionEfficiency
from device.analysis.pipeline import Pipeline
from device.analysis.report import Losses, SampledVolume
from device.errors import HardwareError
from device.frames import Hologram, RawFrame
from device.instrument import Instrument
from device.records import Aggregation, DoseEstimate
from device.sampling.assay.chamber import Assay
from device.sampling.assay.settings import AssaySettings
from device.sampling.findings import Findings, LookedAt, SamplingEvent, chosen
from device.sampling.holograms import divided
from device.storage.arrays import load_array, save_array

__all__ = ["BACKGROUND", "STATE_KEY", "AssayMode", "Running", "look_times_s"]

STATE_KEY = "assay"
BACKGROUND = "assay-background.npy"
"""File in the store folder: the empty chamber of the running assay."""
_WAIT_S = 1.0
"""Between looks for a person's word that the chamber is fresh."""
_LOST = 0.5
"""With less than this share of its first beads an assay is suspect."""
_DEPTH_UNCERTAINTY = 0.05
"""Of the chamber's depth, relative, one standard deviation: moulded parts."""
_LEAST_LOOKS = 3


class Running(Struct, frozen=True, kw_only=True):
    """What the store knows of an assay."""

    phase: Literal["none", "filling", "running", "done"] = "none"
    last_at: str = ""
    """Wall time of the last look, RFC 3339."""
    looks: list[TimePoint] = []


def look_times_s(duration_s: float, every_s: float) -> list[float]:
    """When an assay looks, from 0 to its end."""
    count = max(int(duration_s / every_s - 1e-9), 0)
    return [k * every_s for k in range(count + 1)] + [duration_s]


class AssayMode:
    """Assays, one after the other, each in a fresh chamber."""

    def __init__(
        self,
        assay: Assay,
        pipeline: Pipeline,
        instrument: Instrument,
        settings: AssaySettings,
        efficiency: DetectionEfficiency | None,
        curve: DoseResponse | None,
        *,
        state: str | None,
        keep: Callable[[Mapping[str, str]], None],
        folder: Path,
        fresh_chamber: Callable[[], None] | None,
        marker: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._assay, self._pipeline, self._instrument = assay, pipeline, instrument
        self._settings, self._efficiency, self._curve = settings, efficiency, curve
        self._keep, self._file, self._marker, self._now = keep, folder / BACKGROUND, marker, now
        self._fresh_chamber = fresh_chamber
        self._times_s = look_times_s(settings.duration_s, settings.look_every_s)
        self._background: NDArray[np.float32] | None = None
        self._started_s = 0.0
        self._notices: list[SamplingEvent] = []
        self.running = _from_state(state)
        self._resume()

    @property
    def under_way(self) -> bool:
        """See `findings.Mode`."""
        return self.running.phase == "running"

    def take(self) -> Findings | None:
        """See `findings.Mode`."""
        if self.running.phase == "filling":
            self._give_up("the chamber wasn't filled to the end")
        if self.running.phase == "running" and self._gap_s > self._settings.longest_gap_s:
            self._give_up(f"it was left alone for {self._gap_s:.0f} s, {self._settings.longest_gap_s:.0f} s is the longest")
        if self.running.phase != "running" and not self._begin():
            return None
        due_s = next((t for t in self._times_s if t > self._seen_s), self._times_s[-1])
        frame = self._assay.look(due_s - self._elapsed_s())
        return None if frame is None else self._found(frame)

    @property
    def _seen_s(self) -> float:
        return self.running.looks[-1].elapsed_s if self.running.looks else -1.0

    def _elapsed_s(self) -> float:
        return self._assay.monotonic() - self._started_s

    def _resume(self) -> None:
        """Go on with an assay that the store knows."""
        self._gap_s = 0.0
        if self.running.phase != "running":
            return
        last_at = datetime.fromisoformat(self.running.last_at)
        # A clock that went back knows nothing of the gap; the assay is then taken to have gone on at once.
        self._gap_s = max((self._now() - last_at).total_seconds(), 0.0)
        self._started_s = self._assay.monotonic() - max(self._seen_s, 0.0) - self._gap_s
        told = f"the assay goes on after {max(self._seen_s, 0.0) / 60:.0f} min; {self._gap_s:.0f} s were missed"
        self._notices.append(SamplingEvent("assay_resumed", "info", told, self._gap_s, "s"))
        if self._settings.background == "empty":
            shape = (self._instrument.sensor.height_px, self._instrument.sensor.width_px)
            self._background = load_array(self._file, shape)
            if self._background is None:
                told = "the frame of the empty chamber is lost: each frame is divided by its own even light"
                self._notices.append(SamplingEvent("background_lost", "warning", told))

    def _give_up(self, why: str) -> None:
        """The chamber is spent; HardwareError says so."""
        self.running, self._gap_s = Running(phase="done"), 0.0
        self._keep({STATE_KEY: _to_state(self.running)})
        self._notices.clear()
        raise HardwareError("the assay was given up", where="chamber", got=why, remedy=self._ask())

    def _ask(self) -> str:
        if self._fresh_chamber is not None:
            return "The next one begins in a fresh chamber."
        return "Put in a fresh chamber, then run `holonode window changed`."

    def _begin(self) -> bool:
        """A fresh chamber, looked at empty and filled; False where a recorded camera has no more."""
        self._freshen()
        self._background = None
        if self._settings.background == "empty":
            frames = self._assay.empty()
            if frames is None:
                return False
            background = np.asarray(np.mean([frame.pixels for frame in frames], axis=0), np.float32)
            save_array(self._file, background)
            self._background = background
        self._keep({STATE_KEY: _to_state(Running(phase="filling"))})
        self.running = Running(phase="filling")
        self._assay.fill()
        self._started_s = self._assay.monotonic()
        self.running = Running(phase="running", last_at=self._now().isoformat())
        self._keep({STATE_KEY: _to_state(self.running)})
        return True

    def _freshen(self) -> None:
        """The instrument changes its chamber, or a person has to say that it was."""
        if self._fresh_chamber is not None:
            self._fresh_chamber()
        elif self.running.phase == "done":
            while not self._marker.exists():
                self._assay.sleep(_WAIT_S)
        self._marker.unlink(missing_ok=True)

    def _found(self, frame: RawFrame) -> Findings:
        elapsed_s = round(self._elapsed_s(), 3)
        hologram = divided(self._instrument, frame, self._background)
        analysis = self._pipeline.analyse(hologram)
        looked: LookedAt = chosen(hologram, analysis, range(len(analysis.particles)))
        notices, self._notices = self._notices, []
        looks = [*self.running.looks]
        if analysis.analysed:
            looks.append(self._look(looked, hologram, elapsed_s))
        ended = elapsed_s >= self._times_s[-1] - 1e-6
        phase: Literal["running", "done"] = "done" if ended else "running"
        self.running, self._gap_s = Running(phase=phase, last_at=self._now().isoformat(), looks=looks), 0.0
        grown = growth(looks, self._settings.duration_s)
        aggregation = _aggregation(looks[-1], grown) if analysis.analysed else None
        dose = self._dose(grown) if ended else None
        lost = self._beads_lost(looks)
        notices += lost + ([self._result(grown, dose)] if ended else [])
        sampled = f"{elapsed_s / 60:.1f} min" + (f", mean cluster size {aggregation.mean_size:.3f}" if aggregation else "")
        return Findings(
            frames=(looked,),
            taken=analysis.counts,
            volume=self._volume(),
            losses=Losses(self._efficiency),
            sampled=sampled,
            unexplained=analysis.unexplained,
            suspect=bool(lost),
            notices=tuple(notices),
            aggregation=aggregation,
            dose=dose,
            state={STATE_KEY: _to_state(self.running)},
        )

    def _look(self, looked: LookedAt, hologram: Hologram, elapsed_s: float) -> TimePoint:
        pitch_um, shape = hologram.geometry.object_pitch_um, hologram.intensity.shape
        pieces = pieces_of(looked.analysis.particles, looked.analysis.classifications, pitch_um)
        clusters, debris = clusters_of(pieces, self._settings.bead_um)
        return look_at(clusters, (shape[0] * pitch_um, shape[1] * pitch_um), elapsed_s, debris)

    def _volume(self) -> SampledVolume:
        """Of the chamber in view."""
        sensor, depth_um = self._instrument.sensor, self._instrument.fluidics.channel_height_um
        area_um2 = sensor.width_px * sensor.height_px * self._instrument.geometry.object_pitch_um**2
        return SampledVolume(area_um2 * depth_um * 1e-12, _DEPTH_UNCERTAINTY, "mL^-1")

    def _dose(self, grown: Growth | None) -> DoseEstimate | None:
        if grown is None or self._curve is None or grown.looks < _LEAST_LOOKS:
            return None
        dose: Dose = self._curve.dose(grown.bonds_per_bead, grown.scatter)
        return DoseEstimate(
            value=dose.value, low=dose.low, high=dose.high, kind=dose.kind,
            limit_of_detection=self._curve.limits().detection_per_ul,
        )  # fmt: skip

    def _result(self, grown: Growth | None, dose: DoseEstimate | None) -> SamplingEvent:
        """What the assay came to, in words."""
        if grown is None:
            return SamplingEvent("assay_failed", "warning", f"the assay showed too few beads to tell anything. {self._ask()}")
        seen = f"{grown.bonds_per_bead:.4f} +- {grown.uncertainty:.4f} bonds per bead in {grown.looks} looks"
        if dose is None:
            why = "no response was calibrated (`holonode-calibrate dose`)" if self._curve is None else "too few looks"
            return SamplingEvent("assay_result", "info", f"{seen}; no dose: {why}", grown.bonds_per_bead, "bonds per bead")
        high = "unknown" if dose.high is None else f"{dose.high:.3g}"
        value = dose.kind if dose.value is None else f"{dose.value:.3g}"
        told = f"dose {value} per uL (95 %: {dose.low:.3g} to {high}); {seen}"
        return SamplingEvent("assay_result", "info", told, dose.value, "uL^-1")

    def _beads_lost(self, looks: list[TimePoint]) -> list[SamplingEvent]:
        """Whether beads have gone: a leak, or a bubble that pushes them aside."""
        if len(looks) < 2:
            return []
        first, last = sum(looks[0].beads), sum(looks[-1].beads)
        if last >= _LOST * first:
            return []
        told = f"{last:.0f} beads are left of {first:.0f}: look for a leak or a bubble in the chamber"
        return [SamplingEvent("beads_lost", "warning", told, last, "beads")]


def _aggregation(look: TimePoint, grown: Growth | None) -> Aggregation | None:
    found = statistics(look)
    if found is None:
        return None
    figures = {name: round(getattr(found, name), 5) for name in found.__dataclass_fields__}
    rise, uncertainty = (None, None) if grown is None else (round(grown.bonds_per_bead, 5), round(grown.uncertainty, 5))
    return Aggregation(
        elapsed_s=look.elapsed_s, debris=look.debris, bonds_per_bead=rise, bonds_per_bead_uncertainty=uncertainty, **figures
    )


def _to_state(running: Running) -> str:
    return msgspec.json.encode(running).decode()


def _from_state(text: str | None) -> Running:
    """The assay that the store knows; one of another version is spent."""
    if text is None:
        return Running()
    try:
        return msgspec.json.decode(text, type=Running)
    except msgspec.DecodeError:
        return Running(phase="done")
