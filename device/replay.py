"""Recorded frames through the very analysis of the service, with their provenance."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from device import __version__
from device.analysis.background import median_background, normalise
from device.analysis.panels import frame_panel
from device.analysis.pipeline import FrameAnalysis, Pipeline
from device.analysis.report import RecordProvenance, detection_records, interval_record
from device.analysis.scene import FieldScene
from device.config import AnalysisConfig, Config, config_hash
from device.drivers.recorded import ReadOptions, RecordedFrame, expand, read_each, read_frames
from device.errors import InputError
from device.frames import Clock, Hologram
from device.identifiers import record_ulid
from device.instrument import Instrument
from device.optics.geometry import Geometry
from device.output import output_folder, write_image, writing
from device.records import FrameCounts, Qartod, to_json
from device.rig.models import build_pipeline, model_store
from device.strict_json import dumps

__all__ = ["ReplayRequest", "ReplayResult", "replay"]

MEDIAN_NEIGHBOURS = 8
"""Frames around each that its median background is made of."""


@dataclass(frozen=True)
class ReplayRequest:
    """What to replay, and how."""

    inputs: tuple[str, ...]
    out: Path
    background: str
    """A file, or first, median, none."""
    method: str
    """hidef or backpropagate."""
    panels: bool
    geometry: Geometry
    min_esd_um: float | None = None
    """None: 0, for a recording's optics are its own."""
    max_esd_um: float | None = None
    """None: the configuration's."""
    instrument: Instrument | None = None
    """What recorded it, where that is known: the guard tolerates what its figures may be off by."""
    reading: ReadOptions = field(default_factory=ReadOptions)
    """How the files are to be read."""


@dataclass
class ReplayResult:
    """What came of it."""

    frames_analysed: int = 0
    files_failed: int = 0
    frames_obstructed: int = 0
    """Read, but blocked by something too large to be a particle."""
    frames_unchecked: int = 0
    """Analysed, but with more particles than are checked against the hologram."""
    unnamed: str | None = None
    """Why the particles have no names."""
    qc: int = 0
    """Of the interval; 0 before it was judged."""
    reasons: tuple[str, ...] = ()
    """Why that is not 1."""
    scenes: list[FieldScene] = field(default_factory=list)
    flags: list[Qartod] = field(default_factory=list)
    """Of the detections' consistency."""
    counts: Counter[str] = field(default_factory=Counter)
    frames: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)

    @property
    def summary(self) -> dict[str, Any]:
        """For --json and run.json."""
        return {
            "frames_analysed": self.frames_analysed,
            "files_failed": self.files_failed,
            "frames_obstructed": self.frames_obstructed,
            "frames_unchecked": self.frames_unchecked,
            "unnamed": self.unnamed,
            "qc": self.qc,
            "reasons": list(self.reasons),
            "counts": dict(sorted(self.counts.items())),
            "errors": self.errors,
        }


@dataclass(frozen=True)
class _SourceFrame:
    frame: RecordedFrame
    path: Path
    sha256: str
    """Of the file."""


def replay(config: Config, request: ReplayRequest, say: Callable[[str], None]) -> ReplayResult:
    """Analyse every frame; a file that can't be read is said, counted and passed over.

    Writes detections.jsonl, intervals.jsonl, run.json and, where asked, panels/NAME.png. InputError where nothing can be
    written there, or nothing could be read at all.
    """
    files = expand(request.inputs)
    settings = _settings(config, request)
    out = output_folder(request.out)
    pipeline, labels = build_pipeline(
        model_store(config), settings, request.geometry, strict=False, instrument=request.instrument
    )
    result = ReplayResult(unnamed=pipeline.unclassified.unnamed if pipeline.classifier is None else None)
    if pipeline.binning_note:
        say(pipeline.binning_note)
    if pipeline.unclassified.owed:
        say(f"counted, not named: {result.unnamed}")
    origin = RecordProvenance(
        device_id=config.device.id,
        spool_id="replay",
        config_hash=config_hash(msgspec.structs.replace(config, analysis=settings)),
        pipeline_id=pipeline.id,
        models=pipeline.models,
        mode="replay",
        labels=labels,
    )
    started = datetime.now(UTC)
    interval_id = record_ulid(started, origin.device_id, origin.spool_id, 0, "interval")
    with writing(out):
        seq = _analyse(files, request, pipeline, origin, interval_id, result, say)
        if not result.frames_analysed + result.frames_obstructed:
            reason = result.errors[0]["error"] if result.errors else "no frame was left to analyse"
            raise InputError("nothing could be analysed", where=", ".join(request.inputs), got=reason)
        span = (started, datetime.now(UTC))
        _write_interval(out, result, origin, interval_id, seq + 1, span, names_owed=pipeline.unclassified.owed)
        _write_run(request, result, pipeline, origin, span)
    return result


def _analyse(
    files: list[Path], request: ReplayRequest, pipeline: Pipeline, origin: RecordProvenance, interval_id: str, result: ReplayResult,
    say: Callable[[str], None],
) -> int:  # fmt: skip
    """Write the detections and panels of every frame; the number of detections."""
    seq = 0
    with (request.out.expanduser() / "detections.jsonl").open("wb") as lines:
        for source, background in _with_background(files, request, result, say):
            looked = _looked_at(source, background, request, pipeline, result, say)
            if looked is None:
                continue
            hologram, analysis = looked
            if request.panels:
                _write_panel(request.out.expanduser(), frame_panel(hologram, analysis, origin.labels), source)
            if not analysis.analysed:
                _pass_over(source, hologram, analysis, result, say)
                continue
            records = detection_records(origin, hologram, analysis, seq + 1, interval_id)
            seq += len(records)
            lines.writelines(to_json(record) + b"\n" for record in records)
            _count(source, hologram, analysis, [record.label for record in records], result, say)
    return seq


def _looked_at(
    source: _SourceFrame, background: NDArray[np.float32] | None, request: ReplayRequest, pipeline: Pipeline, result: ReplayResult,
    say: Callable[[str], None],
) -> tuple[Hologram, FrameAnalysis] | None:  # fmt: skip
    """A frame analysed; None where it can't be, which is said and stops no other."""
    try:
        hologram = _hologram(source, background, request.geometry, len(result.frames))
        return hologram, pipeline.analyse(hologram)
    except InputError as error:
        _fail(source.frame.name, error, result, say)
    except MemoryError:
        _fail(source.frame.name, _too_large(source), result, say)
    return None


def _too_large(source: _SourceFrame) -> InputError:
    height, width = source.frame.pixels.shape
    return InputError(
        "the frame takes more memory to analyse than there is", where=source.frame.name, got=f"{width} x {height} pixels",
        remedy="Crop it, or analyse it on a larger machine.",
    )  # fmt: skip


def _count(
    source: _SourceFrame, hologram: Hologram, analysis: FrameAnalysis, labels: list[str], result: ReplayResult,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """What a frame held, for run.json and for whoever watches."""
    result.frames_analysed += 1
    result.counts.update(labels)
    result.flags.extend(consistency.flag for consistency in analysis.consistencies)
    entry = _frame_entry(source, hologram, len(labels)) | {"unexplained": analysis.unexplained}
    against = ""
    if analysis.scene is not None:
        result.scenes.append(analysis.scene)
        entry["scene"] = _scene_entry(analysis.scene)
        against = "".join(f"; {verdict.reason}" for verdict in analysis.scene.verdicts)
    crowded = ""
    if analysis.unchecked:
        result.frames_unchecked += 1
        entry["unchecked"] = True
        crowded = ", too many to be refined and checked (analysis.refine_most_particles)"
    result.frames.append(entry)
    say(f"{source.frame.name}: {len(labels)} particles{crowded}{against}")


def _scene_entry(scene: FieldScene) -> dict[str, Any]:
    return {
        "way": scene.way,
        "tiles": {kind: round(share, 4) for kind, share in scene.shares.items()},
        "explained": None if scene.explained is None else round(scene.explained, 4),
        "against": [verdict.reason for verdict in scene.verdicts],
    }


def _write_interval(
    out: Path, result: ReplayResult, origin: RecordProvenance, interval_id: str, seq: int, span: tuple[datetime, datetime], *,
    names_owed: bool,
) -> None:  # fmt: skip
    frames = FrameCounts(
        captured=result.frames_analysed + result.frames_obstructed + result.files_failed,
        analysed=result.frames_analysed,
        dropped=result.frames_obstructed + result.files_failed,
        unchecked=result.frames_unchecked,
    )
    interval = interval_record(
        origin,
        seq=seq,
        interval_id=interval_id,
        span=span,
        clock=Clock(source="file"),
        frames=frames,
        labels=[label for label, n in result.counts.items() for _ in range(n)],
        unexplained=sum(frame.get("unexplained", 0) for frame in result.frames),
        names_owed=names_owed,
        scenes=result.scenes,
        flags=result.flags,
    )
    result.qc, result.reasons = interval.qc, interval.reasons
    (out / "intervals.jsonl").write_bytes(to_json(interval) + b"\n")


def _settings(config: Config, request: ReplayRequest) -> AnalysisConfig:
    largest_um = config.analysis.max_esd_um if request.max_esd_um is None else request.max_esd_um
    smallest_um = request.min_esd_um or 0.0
    if not 0 <= smallest_um < largest_um:
        raise InputError(
            "no particle could pass these limits of size", where="command line",
            expected="0 <= --min-esd-um < --max-esd-um", got=f"{smallest_um:g} and {largest_um:g}",
        )  # fmt: skip
    return msgspec.structs.replace(
        config.analysis, reconstruction=request.method, min_esd_um=smallest_um, max_esd_um=largest_um
    )


def _pass_over(
    source: _SourceFrame, hologram: Hologram, analysis: FrameAnalysis, result: ReplayResult, say: Callable[[str], None]
) -> None:
    """A frame that is blocked is said and counted, not searched."""
    result.frames_obstructed += 1
    blocked = f"something too large to be a particle blocks {analysis.obstructed:.0%} of the field"
    result.frames.append(_frame_entry(source, hologram, 0) | {"obstructed": round(analysis.obstructed, 4)})
    say(f"{source.frame.name}: not analysed: {blocked} (see --max-esd-um)")


def _readable(
    files: list[Path], reading: ReadOptions, result: ReplayResult, say: Callable[[str], None]
) -> Iterator[_SourceFrame]:
    """Frames of the files that can be trusted."""
    for path in files:
        digest, said = "", set[str]()
        for frame in read_each(path, reading):
            if isinstance(frame, InputError):
                _fail(path.name, frame, result, say)
                continue
            digest = digest or _sha256(path)
            for note in frame.notes:
                # Of a stack of thousands once.
                if note not in said:
                    say(f"{frame.name}: {note}")
            said.update(frame.notes)
            yield _SourceFrame(frame, path, digest)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fail(name: str, error: InputError, result: ReplayResult, say: Callable[[str], None]) -> None:
    result.files_failed += 1
    result.errors.append({"name": name, "error": str(error)})
    say(f"{name}: left out: {error}")


def _with_background(
    files: list[Path], request: ReplayRequest, result: ReplayResult, say: Callable[[str], None]
) -> Iterator[tuple[_SourceFrame, NDArray[np.float32] | None]]:
    """Each frame with what it is divided by."""
    background = request.background
    sources = _readable(files, request.reading, result, say)
    if background == "none":
        yield from ((source, None) for source in sources)
    elif background == "first":
        first = next(sources, None)
        if first is not None:
            say(f"{first.frame.name}: background, not analysed")
            yield from ((source, first.frame.pixels) for source in sources)
    elif background == "median":
        yield from _with_running_median(sources, result, say)
    else:
        path = Path(background).expanduser()
        # The array that was named is the holograms'; a background file has its own.
        reading = replace(request.reading, array=None)
        frames = [frame.pixels for file in expand([path]) for frame in read_frames(file, reading)]
        shared = median_background(frames) if len(frames) > 1 else frames[0]
        yield from ((source, shared) for source in sources if source.path.resolve() != path.resolve())


def _with_running_median(
    sources: Iterator[_SourceFrame], result: ReplayResult, say: Callable[[str], None]
) -> Iterator[tuple[_SourceFrame, NDArray[np.float32] | None]]:
    """Each frame with the median of up to MEDIAN_NEIGHBOURS frames around it, itself left out."""
    held: deque[_SourceFrame] = deque()
    waiting: deque[_SourceFrame] = deque()
    reach = MEDIAN_NEIGHBOURS + 1

    def divided() -> Iterator[tuple[_SourceFrame, NDArray[np.float32] | None]]:
        source = waiting.popleft()
        others = [s.frame.pixels for s in held if s is not source and s.frame.pixels.shape == source.frame.pixels.shape]
        if len(others) < 2:
            error = InputError(
                "a median background needs at least three frames of one shape", got=f"{len(others) + 1}",
                remedy="Give more frames, or use --background FILE, first or none.",
            )  # fmt: skip
            _fail(source.frame.name, error, result, say)
            return
        try:
            background = median_background(others)
        except MemoryError:
            _fail(source.frame.name, _too_large(source), result, say)
            return
        yield source, background

    for source in sources:
        held.append(source)
        waiting.append(source)
        while len(held) > reach:
            held.popleft()
        if len(waiting) > MEDIAN_NEIGHBOURS // 2 and len(held) == reach:
            yield from divided()
    while waiting:
        yield from divided()


def _hologram(source: _SourceFrame, background: NDArray[np.float32] | None, geometry: Geometry, index: int) -> Hologram:
    ready = normalise(source.frame.pixels, background, white_counts=source.frame.white)
    captured_at = datetime.fromtimestamp(source.path.stat().st_mtime, UTC)
    clock = Clock(source="file", synchronised=False, uncertainty_s=86400.0)
    return Hologram(ready.intensity, geometry, ready.noise, captured_at, clock, index, source.frame.name)


def _frame_entry(source: _SourceFrame, hologram: Hologram, particles: int) -> dict[str, Any]:
    return {
        "frame": hologram.index,
        "name": source.frame.name,
        "path": str(source.path),
        "sha256": source.sha256,
        "array": source.frame.array,
        "shape": list(hologram.intensity.shape),
        "noise": round(hologram.noise, 5),
        "notes": list(source.frame.notes),
        "particles": particles,
    }


def _write_panel(out: Path, picture: NDArray[np.uint8], source: _SourceFrame) -> None:
    folder = out / "panels"
    folder.mkdir(exist_ok=True)
    # The folder's name keeps frames of the same file name apart.
    stem = f"{source.path.parent.name}_{source.path.stem}" + (f"_{source.frame.index}" if "#" in source.frame.name else "")
    write_image(folder / f"{stem}.png", picture)


def _write_run(
    request: ReplayRequest, result: ReplayResult, pipeline: Pipeline, origin: RecordProvenance, span: tuple[datetime, datetime]
) -> None:
    run = {
        "holonode": __version__,
        "started_at": span[0].isoformat(),
        "ended_at": span[1].isoformat(),
        "geometry": asdict(request.geometry),
        "background": request.background,
        "method": request.method,
        "models": msgspec.to_builtins(pipeline.models),
        "pipeline_id": pipeline.id,
        "binning": pipeline.binning,
        "config_hash": origin.config_hash,
        "frames": result.frames,
        **result.summary,
    }
    (request.out.expanduser() / "run.json").write_text(dumps(run, indent=2) + "\n", encoding="utf-8")
