"""Recorded frames through the Camera port."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from device.drivers.recorded import ReadOptions, RecordedFrame, expand, read_each
from device.errors import HardwareError, InputError
from device.frames import Clock, Exposure, LampState, RawFrame

__all__ = ["ReplayCamera"]

log = logging.getLogger("holonode.replay")


class ReplayCamera:
    """Frames of files, in order; None after the last.

    Integer files keep their counts; floating-point ones are scaled so that their maximum is 65535. A file that can't be
    read is logged, counted in `failed`, and passed over.
    """

    def __init__(self, inputs: Sequence[str | Path], *, array: str = "", frames_axis: str = "auto") -> None:
        self._inputs = list(inputs)
        # A camera gives counts as they are.
        self._options = ReadOptions(array=array or None, frames_axis=frames_axis, level_mosaic=False)
        self._frames: Iterator[tuple[Path, RecordedFrame]] | None = None
        self._taken = 0
        self.failed = 0
        """Files that could not be read."""

    def start(self) -> None:
        """See `ports.Camera`; InputError where an input names nothing."""
        if self._frames is None:
            self._frames = self._read(expand(self._inputs))

    def capture(self, exposure: Exposure, lamp: LampState) -> RawFrame | None:
        """See `ports.Camera`; the exposure of a recording is not known and stands as it was asked."""
        if self._frames is None:
            raise HardwareError("the camera isn't started", remedy="Call start() first.")
        found = next(self._frames, None)
        if found is None:
            return None
        path, frame = found
        self._taken += 1
        scale = 1.0 if frame.white is not None else 65535.0 / float(frame.pixels.max())
        pixels = np.clip(np.rint(frame.pixels * np.float32(scale)), 0, 65535).astype(np.uint16)
        pixels.setflags(write=False)
        return RawFrame(
            pixels=pixels,
            bit_depth=8 if frame.white == 255 else 16,
            exposure=exposure,
            lamp=lamp,
            sensor_timestamp_ns=self._taken,
            captured_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
            clock=Clock(source="file", synchronised=False, uncertainty_s=86400.0),
            index=self._taken - 1,
            name=frame.name,
        )

    def close(self) -> None:
        """See `ports.Camera`."""
        self._frames = None

    def _read(self, files: list[Path]) -> Iterator[tuple[Path, RecordedFrame]]:
        for path in files:
            for frame in read_each(path, self._options):
                if isinstance(frame, InputError):
                    self.failed += 1
                    log.warning("left out: %s", frame)
                else:
                    yield path, frame
