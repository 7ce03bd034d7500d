"""A picamera2 that has no camera but the twin behind it; it follows picamera2 0.3.38 where a driver can tell.

What is kept: the life cycle with its exceptions, formats that the platform changes, stride padding, a pool of requests that
starves when they aren't released, jobs that wait in a queue (and stay there after a time-out), controls that take effect some
frames later, metadata and its units, the order of things in `close`.

The real one runs an event loop in a thread. This one catches up with the clock whenever it is called, so that it runs on
simulated time as well; what a driver sees is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fakes.picamera2.buffers import delivered_format, encoded, stride_bytes
from tests.fakes.picamera2.rig import Fault, Rig
from tests.fakes.picamera2.stream import Frame, Stream

__all__ = ["Fault", "Picamera2", "Rig", "module"]

# What waiting for ever comes to.
FOR_EVER_S = 1e6


def module(behind: Rig) -> ModuleType:
    """A module to put into `sys.modules["picamera2"]`."""
    made = ModuleType("picamera2")
    made.Picamera2 = type("Picamera2", (Picamera2,), {"rig": behind})  # type: ignore[attr-defined]
    return made


class Job:
    """Something for the event loop to do when frames come."""

    def __init__(self, step: Callable[[], tuple[bool, Any]]) -> None:
        self._step = step
        self.future: Future[Any] = Future()

    def execute(self) -> bool:
        try:
            done, result = self._step()
        except Exception as error:  # noqa: BLE001
            self.future.set_exception(error)
            return True
        if done:
            self.future.set_result(result)
        return done


class CompletedRequest:
    """A request that the camera filled; `release` gives it back."""

    def __init__(self, camera: Picamera2, frame: Frame) -> None:
        self._camera, self._frame = camera, frame
        self._stop_count = camera.stop_count
        self._count = 1
        self.config = dict(camera.camera_config)

    def acquire(self) -> None:
        if self._count == 0:
            raise RuntimeError("CompletedRequest: acquiring lock with ref_count 0")
        self._count += 1

    def release(self) -> None:
        self._count -= 1
        if self._count < 0:
            raise RuntimeError("CompletedRequest: lock now has negative ref_count")
        if self._count == 0 and self._camera.started and self._stop_count == self._camera.stop_count:
            self._camera.queue_request()

    def get_metadata(self) -> dict[str, Any]:
        assert self._count > 0
        return self._frame.metadata()

    def make_array(self, name: str) -> NDArray[np.uint8]:
        if self.config.get(name) is None:
            raise RuntimeError(f"Stream {name!r} is not defined")
        return self._camera.buffer(self._frame, self.config[name])


class Picamera2:
    """See the package."""

    rig: Rig

    @classmethod
    def global_camera_info(cls) -> list[dict[str, Any]]:
        if cls.rig.failing("no camera"):
            return []
        return [{"Model": cls.rig.instrument.sensor.model.lower(), "Location": 2, "Rotation": 180, "Id": "/base/i2c", "Num": 0}]

    def __init__(self, camera_num: int = 0) -> None:
        self.is_open = False
        if camera_num >= len(self.global_camera_info()):
            raise RuntimeError(f"No camera number {camera_num} found")
        if self.rig.held:
            raise RuntimeError("Camera __init__ sequence did not complete.") from RuntimeError(
                "Failed to acquire camera: Device or resource busy"
            )
        self.rig.held, self.is_open = True, True
        self.rig.opened += 1
        self.started, self._loop_runs = False, False
        self.stop_count = 0
        self.frames = 0
        self.camera_config: dict[str, Any] = {}
        self.controls: dict[str, Any] = {}
        self._stream: Stream | None = None
        self._queued: list[dict[str, Any]] = []
        self._jobs: list[Job] = []
        self._completed: list[CompletedRequest] = []
        self._kept = 0
        self._rng = np.random.default_rng(0)

    # Configuration

    @property
    def camera_properties(self) -> dict[str, Any]:
        return {"Model": self.rig.instrument.sensor.model.lower(), "ColorFilterArrangement": 0} if self.is_open else {}

    @property
    def camera_controls(self) -> dict[str, tuple[Any, Any, Any]]:
        """(least, most, default); a monochrome sensor has no white balance."""
        if not self.is_open:
            return {}
        longest_us = 11_767_556
        offered: dict[str, tuple[Any, Any, Any]] = {
            "ExposureTime": (75, longest_us, 20_000),
            "AnalogueGain": (1.0, 16.0, 1.0),
            "AeEnable": (False, True, True),
            "FrameDurationLimits": (self.rig.frame_duration_us, longest_us, 33_333),
            "NoiseReductionMode": (0, 4, 0),
        }
        if self.rig.order != "none":
            offered |= {"AwbEnable": (False, True, None), "ColourGains": (0.0, 32.0, None)}
        return offered

    def create_video_configuration(
        self,
        main: dict[str, Any] | None = None,
        raw: dict[str, Any] | None = None,
        sensor: dict[str, Any] | None = None,
        buffer_count: int = 6,
        controls: dict[str, Any] | None = None,
        queue: bool = True,
    ) -> dict[str, Any]:
        if not self.is_open:
            raise RuntimeError("Camera not opened")
        for given in (main or {}, raw or {}):
            for key in given:
                if key not in ("format", "size", "stride", "preserve_ar"):
                    raise ValueError(
                        f"Bad key {key!r}: valid stream configuration keys are ('format', 'size', 'stride', 'preserve_ar')"
                    )
        main = {"format": "XBGR8888", "size": (1280, 720), "preserve_ar": True} | (main or {})
        raw = {"format": f"S{self.rig.order}{self.rig.modes[0][2]}", "size": main["size"]} | (raw or {})
        defaults = {"NoiseReductionMode": 1, "FrameDurationLimits": (33_333, 33_333)}
        return {
            "use_case": "video", "buffer_count": buffer_count, "queue": queue, "main": main, "lores": None, "raw": raw,
            "controls": defaults | (controls or {}), "sensor": sensor or {},
        }  # fmt: skip

    def configure(self, config: dict[str, Any]) -> None:
        if self.started:
            raise RuntimeError("Camera must be stopped before configuring")
        if unknown := set(config["sensor"]) - {"bit_depth", "output_size"}:
            raise RuntimeError(f"Unexpected keys {unknown} in sensor configuration")
        for name in ("main", "raw"):
            size = config[name]["size"]
            if type(size) is not tuple or len(size) != 2:
                raise RuntimeError(f"size in {name} stream should be (width, height)")
            if size[0] % 2 or size[1] % 2:
                raise RuntimeError("width and height should be even")
        width, height, bits = self._mode(config)
        raw_format = delivered_format(config["raw"]["format"], self.rig.order, bits, self.rig.platform)
        stride = stride_bytes(raw_format, width, self.rig.platform) if "_PISP" not in raw_format else width
        self.camera_config = config | {
            "raw": {"format": raw_format, "size": (width, height), "stride": stride, "framesize": stride * height},
            "sensor": {"bit_depth": bits, "output_size": (width, height)},
        }
        self._kept = 1 if config["queue"] and config["buffer_count"] > 1 else 0
        self.controls = {}
        self.set_controls(config["controls"])

    def _mode(self, config: dict[str, Any]) -> tuple[int, int, int]:
        """The sensor mode nearest to what is asked, as picamera2 scores them in spirit: size first, then bits."""
        width, height = config["sensor"].get("output_size", config["raw"]["size"])
        bits = config["sensor"].get("bit_depth", 10)
        return min(self.rig.modes, key=lambda m: abs(m[0] - width) + abs(m[1] - height) + 500 * abs(m[2] - bits))

    def camera_configuration(self) -> dict[str, Any]:
        return self.camera_config

    def set_controls(self, controls: dict[str, Any]) -> None:
        for name in controls:
            if name not in self.camera_controls:
                raise RuntimeError(f"Control {name} is not advertised by libcamera")
        self.controls = self.controls | controls

    # Life cycle

    def start(self) -> None:
        if not self.camera_config:
            raise RuntimeError("Camera has not been configured")
        self._loop_runs = True
        if self.started:
            return
        self.rig.started()
        height = self.camera_config["raw"]["size"][1]
        self._stream = Stream(self.rig, readout_s=height * self.rig.row_us * 1e-6)
        self._stream.send(self.controls)
        self.controls = {}
        self._queued = [{} for _ in range(self.camera_config["buffer_count"])]
        self.started = True

    def stop(self) -> None:
        if not self.started:
            return
        self._catch_up()
        # The loop takes jobs in their order: behind one that never ends, stop never has its turn.
        if self._loop_runs and self._jobs:
            self.rig.sleep(FOR_EVER_S)
        self._stop()

    def _stop(self) -> None:
        if not self.started:
            return
        self.stop_count += 1
        self.started, self._stream = False, None
        while self._completed:
            self._completed.pop().release()

    def close(self) -> None:
        # The event loop ends first, so that stopping needs no turn in it.
        self._loop_runs = False
        if not self.is_open:
            return
        self.rig.close_slowly()
        self._stop()
        self.is_open, self.rig.held = False, False
        self.camera_config = {}

    # Capture

    def capture_request(self, wait: bool | float | None = None) -> Any:
        job = Job(self._take_completed)
        self._jobs.append(job)
        self._catch_up()
        self._run_jobs()
        if wait is False:
            return job
        return self.wait(job, None if wait in (None, True) else float(wait))  # type: ignore[arg-type]

    def _take_completed(self) -> tuple[bool, Any]:
        if self.rig.failing("exception"):
            raise RuntimeError("failed to find buffer")
        return (True, self._completed.pop(0)) if self._completed else (False, None)

    def wait(self, job: Job, timeout: float | None = None) -> Any:
        until_s = self.rig.monotonic() + (FOR_EVER_S if timeout is None else timeout)
        while True:
            self._catch_up()
            now_s = self.rig.monotonic()
            if job.future.done():
                return job.future.result()
            if now_s >= until_s:
                raise TimeoutError
            next_s = self._stream.next_ready_s if self._stream is not None else until_s
            # A little over, so that rounding never makes it wait for no time at all.
            self.rig.sleep(max(min(next_s, until_s) - now_s, 0.0) + 1e-6)

    def cancel_all_and_flush(self) -> None:
        for job in self._jobs:
            job.future.set_exception(CancelledError())
        self._jobs = []

    def queue_request(self) -> None:
        """A request back to the camera, with what controls were set meanwhile."""
        self._queued.append(self.controls)
        self.controls = {}

    def buffer(self, frame: Frame, config: dict[str, Any]) -> NDArray[np.uint8]:
        assert self._stream is not None
        bits = self.camera_config["sensor"]["bit_depth"]
        return encoded(self._stream.pixels(frame), config["format"], bits, config["stride"], self._rng)

    def _catch_up(self) -> None:
        """Everything that happened since the last call."""
        while self._stream is not None and self._stream.next_ready_s <= self.rig.monotonic():
            frame = self._stream.take()
            # The first frame after a start is one of the sensor's faulty ones; a frame without a request is lost.
            if self.rig.failing("silence") or not self._queued or frame.number == 0:
                continue
            self._stream.send(self._queued.pop(0))
            self.frames += 1
            self._completed.append(CompletedRequest(self, frame))
            if self._loop_runs:
                self._run_jobs()
                while len(self._completed) > self._kept:
                    self._completed.pop(0).release()

    def _run_jobs(self) -> None:
        while self._jobs and self._jobs[0].execute():
            self._jobs.pop(0)
