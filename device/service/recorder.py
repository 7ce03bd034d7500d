"""What the service commits: intervals with their detections, and events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from device.analysis.crops import ParticleCrop
from device.analysis.report import RecordProvenance, detection_records, interval_record
from device.errors import HolonodeError, TransientError
from device.identifiers import record_ulid
from device.records import Detection, Event, Interval, iso_time
from device.sampling.findings import Findings
from device.service.timekeeper import Beginning, Span
from device.storage.outbox import Outbox
from device.storage.reading import StoreReader
from device.storage.review import ReviewQueue
from device.storage.rows import Record

__all__ = ["Recorder", "Tally"]

log = logging.getLogger("holonode")

_PER = {"m^-3": "m^3", "L^-1": "L", "mL^-1": "mL"}


@dataclass
class Tally:
    """What `stats` tells."""

    intervals: int = 0
    detections: int = 0
    dropped: int = 0
    last_detection: str | None = None
    analysis_s: float = 0.0
    frames_unchecked: int = 0
    """Frames with more particles than are checked."""


class Recorder:
    """Keeps in the outbox, and says in a line, what happens."""

    def __init__(
        self, outbox: Outbox, review: ReviewQueue | None, say: Callable[[str], None], simulated: tuple[str, ...] = ()
    ) -> None:
        """`simulated`: parts of the instrument that are."""
        self.tally = Tally()
        self.last_interval = outbox.ask(StoreReader.last_interval)
        """The last that was committed, before this start where none was since; None: the store holds none."""
        self._simulated = simulated
        self._outbox, self._review, self._say = outbox, review, say
        self.hearers: tuple[Callable[[Sequence[Record]], None], ...] = ()
        """Hear of what was committed, in the thread that did it; they must not wait."""

    def interval(self, origin: RecordProvenance, found: Findings, began: Beginning, state: dict[str, str]) -> None:
        """Commit what one interval held, with the state that the next start needs."""
        outbox = self._outbox
        origin = replace(origin, spool_id=outbox.spool_id)  # another one, where the store turned out to be a copy meanwhile
        span = Span.since(began, outbox.clock)
        found, started = span.stamped(found), span.started
        interval_id = record_ulid(started, origin.device_id, origin.spool_id, outbox.next_seq, "interval")

        def build(first: int) -> list[Any]:
            detections: list[Detection] = []
            for frame in found.frames:
                seq = first + len(detections)
                detections += detection_records(origin, frame.hologram, frame.analysis, seq, interval_id)
            interval = interval_record(
                origin,
                seq=first + len(detections),
                interval_id=interval_id,
                span=(started, span.ended),
                clock=found.frames[-1].hologram.clock if found.frames else span.quality,
                frames=found.taken,
                labels=[d.label for d in detections],
                sizes_um=[d.esd_um for d in detections],
                volume=found.volume if found.volume.value > 0 else None,
                losses=found.losses,
                dead_time_s=found.dead_time_s,
                unexplained=found.unexplained,
                seen=found.seen,
                suspect=found.suspect,
                scenes=[frame.analysis.scene for frame in found.frames if frame.analysis.scene is not None],
                flags=[d.consistency.flag for d in detections],
                aggregation=found.aggregation,
                dose=found.dose,
            )
            return [*detections, interval]

        records = outbox.commit(build, {"last_interval": interval_id, **found.state, **state})
        self._tell(records)
        outbox.prune()
        self._set_aside([r for r in records if isinstance(r, Detection)], [c for frame in found.frames for c in frame.crops])
        for notice in found.notices:
            self._say(notice.message)
            self.event(notice.code, notice.severity, notice.message, notice.value, notice.unit)
        self._report_unchecked(found)
        interval = records[-1]
        if isinstance(interval, Interval):
            self.last_interval = interval
            self._report_interval(interval, found)

    def lost(self, error: HolonodeError) -> None:
        """An interval that came to nothing: said, counted, published."""
        self.tally.dropped += 1
        code = "storage_refused" if isinstance(error, TransientError) else "hardware_failed"
        self._say(f"interval lost: {error}")
        self.event(code, "alarm", str(error), float(self._outbox.refused or self.tally.dropped))

    def event(self, code: str, severity: Any, message: str, value: float | None = None, unit: str | None = None) -> None:
        """Commit an event; where the disk is full it is logged alone."""
        now, outbox = self._outbox.clock.now(), self._outbox

        def build(seq: int) -> list[Event]:
            return [
                Event(
                    device_id=outbox.device_id,
                    spool_id=outbox.spool_id,
                    seq=seq,
                    simulated=self._simulated,
                    id=record_ulid(now, outbox.device_id, outbox.spool_id, seq),
                    code=code,
                    severity=severity,
                    message=message,
                    value=value,
                    unit=unit,
                    since=iso_time(now),
                )
            ]

        try:
            self._tell(outbox.commit(build))
        except TransientError as error:
            # The refusal is counted in the outbox and told with the next stats.
            log.warning("an event could not be kept: %s", error)

    def _tell(self, records: Sequence[Record]) -> None:
        for hear in self.hearers:
            hear(records)

    def clock(self, code: str, message: str, value: float, unit: str) -> None:
        """Something that happened to the wall clock."""
        self._say(message)
        self.event(code, "info", message, value, unit)

    def _set_aside(self, detections: list[Detection], crops: list[ParticleCrop]) -> None:
        """Crops that are worth a person's look, kept once their records are safe."""
        if self._review is None or not crops:
            return
        try:
            self._review.offer(detections, crops.__getitem__)
        except Exception as error:  # noqa: BLE001  nothing that goes wrong here is worth an interval
            self._review.count_failure(error)

    def _report_unchecked(self, found: Findings) -> None:
        """Frames so full that their particles were neither refined nor checked."""
        frames = found.taken.unchecked
        if not frames:
            return
        self.tally.frames_unchecked += frames
        message = (
            f"{frames} of {found.taken.analysed} frames held more particles than are checked against the hologram: their sizes and "
            "depths are as the network gave them. Dilute, sample less, or raise analysis.refine_most_particles"
        )
        self._say(message)
        self.event("frames_unchecked", "warning", message, float(frames), "frames")

    def _report_interval(self, interval: Interval, found: Findings) -> None:
        tally = self.tally
        tally.intervals += 1
        tally.detections += sum(len(frame.analysis.particles) for frame in found.frames)
        tally.analysis_s = sum(frame.analysis.elapsed_s for frame in found.frames)
        total, all_of_it = interval.counts["total"], interval.concentration.get("total")
        if total.n:
            tally.last_detection = interval.ended_at
        if all_of_it is None:
            self._say(f"{interval.ended_at[11:19]}Z  not analysed: something too large to be a particle blocks the field")
            return
        seen = [
            f"{label} {count.n} ({_figure(interval.concentration[label].low)}-{_figure(interval.concentration[label].high)})"
            for label, count in interval.counts.items()
            if count.n and label != "total"
        ]
        self._say(
            f"{interval.ended_at[11:19]}Z  {found.sampled}, {total.n} particles ({total.low:.1f}-{total.high:.1f}): "
            f"{_figure(all_of_it.value)} per {_PER[all_of_it.unit]} ({_figure(all_of_it.low)}-{_figure(all_of_it.high)})"
            + (";  " + ", ".join(seen) if seen else "")
        )


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
