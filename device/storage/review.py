"""Crops for a person to look at: the uncertain ones and a random share of all, within a budget of bytes.

Layout: REASON/ID.npz, one file a detection, written once and never changed; labels.jsonl, one line a label, the last of an
id counts. The service writes crops (`ReviewQueue`), people read and label them (`ReviewFolder`), both at once.
"""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import functools
import hashlib
import io
import logging
import os
import re
import shutil
import threading
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from device.analysis.crops import ParticleCrop
from device.errors import InputError
from device.records import QARTOD_FAIL, QARTOD_SUSPECT, Consistency, Detection, Models, Whole, iso_time
from device.records_1 import models_of

__all__ = [
    "FOLDER",
    "REASONS",
    "TAKEN_BACK",
    "Counters",
    "Crop",
    "CropRecord",
    "Entry",
    "Label",
    "Reason",
    "ReviewFolder",
    "ReviewQueue",
]

log = logging.getLogger("holonode")

FOLDER = "review"
"""Name of the folder inside the store."""

Reason = Literal["uncertain", "inconsistent", "random"]
REASONS: tuple[Reason, ...] = get_args(Reason)

MOST_AT_ONCE = 32
"""Uncertain crops kept of one frame: a dense one would cost seconds and push all others out."""

_RANDOM_RESERVE = 0.25
"""Of the budget: only random crops give an unbiased accuracy, so that uncertain ones can't crowd them out."""

_BLOCK_BYTES = 4096
_LABELS = "labels.jsonl"
_LABEL_PATTERN = re.compile(r"[a-z0-9-]{1,64}")
TAKEN_BACK = "-"
"""In place of a label: there is none any more."""


class CropRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a crop: its detection's own words."""

    schema: Literal["holonode.review-crop/2"] = "holonode.review-crop/2"
    id: str
    """The detection's."""
    captured_at: str
    reason: Reason
    label: str
    """The classifier's."""
    score: float | None
    """None where no classifier spoke."""
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    consistency: Consistency
    z_um: float
    esd_um: float
    pitch_um: float
    """Of the crop's pixels, at the object plane."""
    models: Models
    pipeline_id: str


@dataclass(frozen=True)
class Crop:
    """One crop."""

    about: CropRecord
    image: NDArray[np.float32]
    """float32 [side, side, channels], as the classifier sees it; the first two channels are real part minus 1 and imaginary
    part. Crops of an earlier recipe have another side and fewer channels."""


class Label(Struct, frozen=True, kw_only=True):
    """What a person calls a crop; one line of labels.jsonl."""

    id: str
    label: str
    """TAKEN_BACK: an earlier one holds no more."""
    by: str | None = None
    at: str


@dataclass(frozen=True)
class Entry:
    """A file of the folder, unopened."""

    id: str
    reason: Reason
    path: Path
    size: int
    """Bytes on disk, in whole blocks."""

    @property
    def is_random(self) -> bool:
        """Whether the draw chose it."""
        return self.reason == "random"


@dataclass
class _Held:
    """The crops of the folder as the service knows them: `sides[True]` the random ones, each side oldest first."""

    sides: dict[bool, dict[str, Entry]] = field(default_factory=lambda: {True: {}, False: {}})
    used: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    """Bytes on disk of either side."""

    @classmethod
    def of(cls, folder: Path) -> _Held:
        held = cls()
        for entry in sorted(_scan(folder, tidy=True), key=lambda entry: entry.id):
            held.add(entry)
        return held

    def __contains__(self, crop_id: str) -> bool:
        return any(crop_id in side for side in self.sides.values())

    def add(self, entry: Entry) -> None:
        self.sides[entry.is_random][entry.id] = entry
        self.used[entry.is_random] += entry.size

    def remove(self, entry: Entry) -> None:
        del self.sides[entry.is_random][entry.id]
        self.used[entry.is_random] -= entry.size


@dataclass
class Counters:
    """What became of crops worth a look, since the service started."""

    kept: Whole = 0
    """Written."""
    dropped: Whole = 0
    """Unlabelled ones that made room for newer ones."""
    refused: Whole = 0
    """For lack of room: labelled crops fill the budget, or the disk is short."""
    passed_over: Whole = 0
    """Beyond MOST_AT_ONCE in one frame."""
    failed: Whole = 0
    """Could not be cut or written."""


class ReviewQueue:
    """The service's side: keeps what is worth a look and drops the oldest unlabelled crops over budget."""

    def __init__(self, folder: Path, budget_bytes: int, *, random_share: float = 0.0, min_free_bytes: int = 0) -> None:
        self.folder = folder
        self.counters = Counters()
        self._budget_bytes = budget_bytes
        self._random_share = random_share
        self._min_free_bytes = min_free_bytes
        self._held: _Held | None = None
        self._labelled: set[str] = set()
        self._labels_seen: tuple[int, int] | None = None
        self._guard = threading.RLock()

    def offer(self, detections: Sequence[Detection], cut: Callable[[int], ParticleCrop]) -> None:
        """Keep the detections of one frame that are worth a look.

        `cut(k)` gives the crop of detections[k], and is called only for one to be kept.
        A disk that can't be written is counted, never raised.
        """
        with self._guard:
            refused = self.counters.refused
            for k, reason in self._chosen(detections):
                try:
                    self._keep(detections[k], reason, functools.partial(cut, k))
                except OSError as error:
                    self.count_failure(error)
            if self.counters.refused > refused:
                self._held = None  # looked at afresh next time: a person may have made room

    def reclaim(self, wanted_bytes: int) -> int:
        """Drop unlabelled crops, random ones last, for records that need the disk; returns how much came free."""
        with self._guard, contextlib.suppress(OSError), _locked(self.folder, wait=False):
            held = self._held = self._held or _Held.of(self.folder)
            self._read_labels()
            unlabelled = [e for side in (False, True) for e in held.sides[side].values() if e.id not in self._labelled]
            freed = list(accumulate(entry.size for entry in unlabelled))
            drop = unlabelled[: bisect_left(freed, wanted_bytes) + 1]
            for entry in drop:
                entry.path.unlink(missing_ok=True)
                held.remove(entry)
                self.counters.dropped += 1
            return sum(entry.size for entry in drop)
        return 0

    def count_failure(self, error: Exception) -> None:
        """Count a crop that could not be kept; the first is logged."""
        self.counters.failed += 1
        if self.counters.failed == 1:
            log.warning("a crop could not be kept for review: %s; further ones are only counted", error)

    def _chosen(self, detections: Sequence[Detection]) -> list[tuple[int, Reason]]:
        """Places of what is worth a look: every random one, and the least certain of the others."""
        reasons: dict[int, Reason] = {}
        for k, detection in enumerate(detections):
            reason = _reason(detection, self._random_share)
            if reason is not None:
                reasons[k] = reason
        others = sorted((k for k, reason in reasons.items() if reason != "random"), key=lambda k: detections[k].score or 0.0)
        left_out = set(others[MOST_AT_ONCE:])
        self.counters.passed_over += len(left_out)
        return [(k, reason) for k, reason in reasons.items() if k not in left_out]

    def _keep(self, detection: Detection, reason: Reason, cut: Callable[[], ParticleCrop]) -> None:
        if self._held is None:
            self._held = _Held.of(self.folder)
        if detection.id in self._held:
            return
        crop = cut()
        about = _record(detection, reason, crop.pitch_um)
        content = _to_bytes(Crop(about, crop.image))
        entry = Entry(about.id, about.reason, self.folder / about.reason / f"{about.id}.npz", _on_disk(len(content)))
        if not self._make_room(self._held, entry):
            self.counters.refused += 1
            return
        _write(entry.path, content)
        self._held.add(entry)
        self.counters.kept += 1

    def _make_room(self, held: _Held, new: Entry) -> bool:
        """Drop what is over budget with `new`; False, and nothing dropped, where that can't be."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self.folder).free - new.size < self._min_free_bytes:
            return False
        if sum(held.used.values()) + new.size <= self._budget_bytes:
            return True
        # Whoever labels holds the lock: no crop is dropped between the look at it and its label.
        with _locked(self.folder, wait=False):
            self._read_labels()
            drop = self._to_drop(held, new)
            for entry in drop or ():
                entry.path.unlink(missing_ok=True)
                held.remove(entry)
                self.counters.dropped += 1
        return drop is not None

    def _read_labels(self) -> None:
        try:
            state = (self.folder / _LABELS).stat()
        except FileNotFoundError:
            return
        if (state.st_mtime_ns, state.st_size) != self._labels_seen:
            self._labelled = set(_labels(self.folder)[0])
            self._labels_seen = state.st_mtime_ns, state.st_size

    def _to_drop(self, held: _Held, new: Entry) -> list[Entry] | None:
        """The oldest unlabelled crops that make room, from whichever side is over its share; None where there are too few."""
        used = {side: held.used[side] + (new.size if side == new.is_random else 0) for side in (True, False)}
        unlabelled = {side: (e for e in crops.values() if e.id not in self._labelled) for side, crops in held.sides.items()}
        drop: list[Entry] = []
        while sum(used.values()) > self._budget_bytes:
            if used[True] > _RANDOM_RESERVE * self._budget_bytes:
                sides = (True, False)
            else:
                # Within their reserve random crops give way to random ones alone.
                sides = (False, True) if new.is_random else (False,)
            entry = next((e for side in sides for e in unlabelled[side]), None)
            if entry is None:
                return None
            used[entry.is_random] -= entry.size
            drop.append(entry)
        return drop


class ReviewFolder:
    """A person's side: look and label, beside a running service."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entries(self) -> list[Entry]:
        """Every crop, newest first; InputError where the folder can't be read."""
        try:
            return sorted(_scan(self.folder), key=lambda entry: entry.id, reverse=True)
        except OSError as error:
            raise InputError("the crops can't be read", where=self.folder, got=error.strerror) from error

    def read(self, entry: Entry) -> Crop | None:
        """One crop; None where the service has dropped it meanwhile, InputError where it can't be read or is damaged."""
        try:
            content = entry.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError("the crop can't be read", where=entry.path, got=error.strerror) from error
        try:
            return _from_bytes(content, entry)
        except Exception as error:  # numpy and zipfile raise a dozen kinds for a damaged file
            raise InputError("the crop is damaged", where=entry.path, remedy="Everything passes it over; delete it.") from error

    def entry(self, crop_id: str) -> Entry | None:
        """The crop of a whole id, unopened; None where none is kept."""
        for reason in REASONS:
            path = self.folder / reason / f"{crop_id}.npz"
            try:
                return Entry(crop_id, reason, path, _on_disk(path.stat().st_size))
            except OSError:
                continue
        return None

    def about(self, entry: Entry) -> CropRecord:
        """What is known of a crop, without its image; InputError where it is gone or damaged."""
        try:
            with np.load(entry.path, allow_pickle=False) as arrays:
                return _about(arrays["about"].tobytes())
        except Exception as error:  # numpy and zipfile raise a dozen kinds for a damaged file
            raise InputError("the crop is gone or damaged", where=entry.path) from error

    def labels(self) -> tuple[dict[str, Label], int]:
        """The label of every labelled crop, by id, and how many lines of the file can't be read."""
        try:
            return _labels(self.folder)
        except OSError as error:
            raise InputError("the labels can't be read", where=self.folder / _LABELS, got=error.strerror) from error

    def label(self, pairs: Sequence[tuple[str, str]], by: str | None = None) -> list[Label | InputError]:
        """Label crops: pairs of an id, or the end of one, and a name; earlier labels stay in the file.

        What came of every pair, in order: the good ones are kept whatever the others are. InputError where none can be
        written.
        """
        if not self.folder.is_dir():
            return [_no_such_crop(self.folder, name) for name, _ in pairs]
        try:
            with _locked(self.folder, wait=True):
                at, entries = iso_time(datetime.now(UTC)), self.entries()
                outcomes = [_outcome(self.folder, entries, name, label, by, at) for name, label in pairs]
                _append(self.folder / _LABELS, [o for o in outcomes if isinstance(o, Label)])
        except OSError as error:
            raise InputError(
                "the labels can't be written", where=self.folder / _LABELS, got=error.strerror,
                remedy="Run it as the user that the service runs as.",
            ) from error  # fmt: skip
        return outcomes


def _reason(detection: Detection, random_share: float) -> Reason | None:
    """Why a detection is worth a look."""
    # The draw comes first: taken from all alike, the certain and the uncertain, it tells accuracy without bias.
    draw = int.from_bytes(hashlib.sha256(f"review/{detection.id}".encode()).digest()[:8], "big")
    if draw < random_share * 2**64:
        return "random"
    if detection.consistency.flag in (QARTOD_SUSPECT, QARTOD_FAIL):
        return "inconsistent"
    # Where no classifier spoke there is nothing to be uncertain of.
    if detection.score is not None and (detection.label == "unknown" or len(detection.prediction_set) != 1):
        return "uncertain"
    return None


def _record(detection: Detection, reason: Reason, pitch_um: float) -> CropRecord:
    shared = set(CropRecord.__struct_fields__) - {"schema", "reason", "pitch_um"}
    return CropRecord(reason=reason, pitch_um=pitch_um, **{name: getattr(detection, name) for name in shared})


def _to_bytes(crop: Crop) -> bytes:
    """An .npz file: `crop` float32 [side, side, channels], `about` the CropRecord as JSON in uint8."""
    buffer = io.BytesIO()
    about = np.frombuffer(msgspec.json.encode(crop.about), np.uint8)
    np.savez_compressed(buffer, crop=crop.image.astype(np.float32), about=about)
    return buffer.getvalue()


def _from_bytes(content: bytes, entry: Entry) -> Crop:
    """The crop of a file; ValueError and many others where it isn't one."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        image: NDArray[Any] = arrays["crop"]
        about = _about(arrays["about"].tobytes())
    square = image.ndim == 3 and image.shape[0] == image.shape[1] and image.shape[2] >= 2
    if image.dtype != np.float32 or not square or not np.isfinite(image).all():
        raise ValueError(f"not a crop: {image.dtype} {image.shape}")
    if (about.id, about.reason) != (entry.id, entry.reason):
        raise ValueError(f"another crop's content: {about.reason}/{about.id}")
    return Crop(about, image)


def _about(text: bytes) -> CropRecord:
    """Of a crop of version 1 too, whose models stood as in a detection of its time."""
    record: dict[str, Any] = msgspec.json.decode(text)
    if record.get("schema") == "holonode.review-crop/1":
        record |= {"schema": "holonode.review-crop/2", "models": models_of(record.pop("model"))}
    return msgspec.convert(record, CropRecord)


def _write(path: Path, content: bytes) -> None:
    """All or nothing, without waiting for the disk: a power cut may cost the newest crops, never the box's time."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def _scan(folder: Path, *, tidy: bool = False) -> Iterator[Entry]:
    """Every crop, unopened; `tidy` removes what an interrupted write left."""
    for reason in REASONS:
        try:
            found = list(os.scandir(folder / reason))
        except FileNotFoundError:
            continue
        for file in found:
            if file.name.endswith(".npz"):
                try:
                    yield Entry(file.name[:-4], reason, Path(file.path), _on_disk(file.stat().st_size))
                except FileNotFoundError:
                    continue
            elif tidy and file.name.endswith(".partial"):
                Path(file.path).unlink(missing_ok=True)


def _labels(folder: Path) -> tuple[dict[str, Label], int]:
    try:
        lines = (folder / _LABELS).read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    except FileNotFoundError:
        return {}, 0
    last: dict[str, Label] = {}
    unreadable = 0
    for line in filter(None, lines):
        try:
            label = msgspec.json.decode(line, type=Label)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            unreadable += 1
        else:
            last[label.id] = label
    return {key: label for key, label in last.items() if label.label != TAKEN_BACK}, unreadable


def _append(path: Path, labels: Sequence[Label]) -> None:
    """A person's work: on the disk before this returns."""
    if not labels:
        return
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(b"".join(msgspec.json.encode(label) + b"\n" for label in labels))
        file.flush()
        os.fsync(file.fileno())


def _outcome(folder: Path, entries: Sequence[Entry], name: str, label: str, by: str | None, at: str) -> Label | InputError:
    """The label of the crop whose id ends in `name`, or what is wrong."""
    wanted = name.strip().upper()
    found = [entry.id for entry in entries if wanted and entry.id.endswith(wanted)]
    if not found:
        return _no_such_crop(folder, name)
    if len(found) > 1:
        return InputError("several crops' ids end in this", expected="more of the id", got=f"{name}: {', '.join(found[:3])}")
    if not _LABEL_PATTERN.fullmatch(label):
        return InputError("not a label", expected="1 to 64 of a-z, 0-9 and -", got=repr(label))
    return Label(id=found[0], label=label, by=by, at=at)


def _no_such_crop(folder: Path, name: str) -> InputError:
    return InputError(
        "no such crop", where=folder, expected="an id, or the end of one", got=repr(name),
        remedy="`holonode review list` names those that are kept.",
    )  # fmt: skip


@contextmanager
def _locked(folder: Path, *, wait: bool) -> Generator[None]:
    """Hold the folder; BlockingIOError where another does and `wait` is False."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)
