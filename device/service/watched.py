"""Camera and analysis that say what they are at, so that one which hangs is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from device.analysis.pipeline import FrameAnalysis, Pipeline
from device.drivers.ports import Camera
from device.frames import Exposure, Hologram, LampState, RawFrame
from device.health.watchdog import Allowances
from device.rig.rig import Rig
from device.service.heartbeat import Steps

__all__ = ["watched_drivers", "watched_pipeline"]


class _WatchedCamera:
    """See `ports.Camera`."""

    def __init__(self, camera: Camera, steps: Steps, allowed: Allowances, saw: Callable[[RawFrame], None]) -> None:
        self._camera, self._steps, self._saw = camera, steps, saw
        self._allow_s, self._still_s = allowed.camera_s, allowed.camera_still_s

    def start(self) -> None:
        """See `ports.Camera`."""
        with self._steps.step("camera", self._allow_s):
            self._camera.start()

    def capture(self, exposure: Exposure, lamp: LampState) -> RawFrame | None:
        """See `ports.Camera`."""
        with self._steps.step("camera", self._allow_s, self._still_s):
            frame = self._camera.capture(exposure, lamp)
        if frame is not None:
            self._saw(frame)
        return frame

    def close(self) -> None:
        """See `ports.Camera`."""
        with self._steps.step("camera", self._allow_s):
            self._camera.close()


@dataclass(frozen=True, kw_only=True)
class _WatchedPipeline(Pipeline):
    """Analyses as the one that it was made from."""

    steps: Steps
    allowed: Allowances
    saw: Callable[[Hologram, FrameAnalysis], None]

    def analyse(self, hologram: Hologram) -> FrameAnalysis:
        """See `Pipeline`."""
        with self.steps.step("analysis", self.allowed.analysis_s, self.allowed.analysis_still_s):
            analysis = super().analyse(hologram)
        self.saw(hologram, analysis)
        return analysis


def watched_drivers(drivers: Rig, steps: Steps, allowed: Allowances, saw: Callable[[RawFrame], None]) -> Rig:
    """The same, with a camera that is watched; `saw` hears of every frame."""
    return replace(drivers, camera=_WatchedCamera(drivers.camera, steps, allowed, saw))


def watched_pipeline(
    pipeline: Pipeline, steps: Steps, allowed: Allowances, saw: Callable[[Hologram, FrameAnalysis], None]
) -> Pipeline:
    """The same, watched; `saw` hears of every frame and what it held."""
    same = {one.name: getattr(pipeline, one.name) for one in fields(pipeline)}
    return _WatchedPipeline(**same, steps=steps, allowed=allowed, saw=saw)
