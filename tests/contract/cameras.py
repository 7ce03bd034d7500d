"""Every camera that runs without hardware, ready for the contract suite; and the real ones where a machine has them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import msgspec
import numpy as np
import pytest

from device.drivers.picamera2_camera import Picamera2Camera
from device.drivers.ports import Camera, Lamp
from device.drivers.replay import ReplayCamera
from device.drivers.twin import TwinCamera, TwinLamp
from device.drivers.v4l2_camera import V4l2Camera
from device.frames import LampState
from device.instrument import Instrument, SensorSpec, load_instrument
from device.twin.world import SimulatedTime, TwinWorld
from tests.contract.real_picamera2 import has_raw, picamera2_class
from tests.fakes.picamera2 import Rig, module
from tests.fakes.video_capture import VideoCapture
from tests.worlds import AIR, small_world

Prepare = Callable[[Path, pytest.MonkeyPatch], "Prepared"]


@dataclass
class Prepared:
    """A camera and what shines on it."""

    camera: Camera
    lamp: Lamp | None = None
    """None: the light of a recording is past, a real camera's lamp is not in reach."""
    exact: bool = True
    """Whether the exposure asked for is exactly the one taken (sensors step theirs by rows)."""

    def light(self, current_ma: float) -> LampState:
        """An acknowledged state of the lamp."""
        if self.lamp is None:
            return LampState(0, current_ma, acknowledged=True)
        return self.lamp.set_current(current_ma)


def world_of(sensor: SensorSpec, seed: int = 1) -> TwinWorld:
    """The bioaerosol instrument with another sensor, on simulated time."""
    whole = load_instrument("bioaerosol-imx219-850nm")
    time = SimulatedTime()
    instrument: Instrument = msgspec.structs.replace(whole, sensor=sensor)
    return TwinWorld(instrument, AIR, seed, monotonic=time.monotonic, sleep=time.sleep)


def sensor_of(bit_depth: Literal[8, 10, 12], bayer: str) -> SensorSpec:
    """A small read-out, as wide as no row alignment is."""
    whole = load_instrument("bioaerosol-imx219-850nm").sensor
    return msgspec.structs.replace(
        whole, width_px=212, height_px=180, bit_depth=bit_depth, bayer=bayer, dark_level_counts=float(2 ** (bit_depth - 4))
    )


def _twin(_folder: Path, _monkeypatch: pytest.MonkeyPatch) -> Prepared:
    world = small_world()
    return Prepared(TwinCamera(world), TwinLamp(world))


def _replay(folder: Path, _monkeypatch: pytest.MonkeyPatch) -> Prepared:
    rng = np.random.default_rng(0)
    for k in range(3):
        np.save(folder / f"frame{k}.npy", rng.integers(0, 1000, (64, 80)).astype(np.uint16))
    return Prepared(ReplayCamera([folder]))


def picamera2_fake(platform: Literal["vc4", "pisp"], bit_depth: Literal[8, 10, 12], bayer: str) -> Prepare:
    """picamera2's driver on the fake, as a Raspberry Pi of that kind has it."""

    def prepare(_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
        world = world_of(sensor_of(bit_depth, bayer))
        rig = Rig(world, platform=platform)
        monkeypatch.setitem(sys.modules, "picamera2", module(rig))
        return Prepared(Picamera2Camera(world.instrument.sensor, monotonic=rig.monotonic), TwinLamp(rig), exact=False)

    return prepare


def v4l2_fake(fourcc: str, bit_depth: Literal[8, 10, 12], bayer: str, **behaviour: Any) -> Prepare:
    """The V4L2 driver on a fake capture device."""

    def prepare(_folder: Path, _monkeypatch: pytest.MonkeyPatch) -> Prepared:
        world = world_of(sensor_of(bit_depth, bayer))
        rig = Rig(world)

        def opened(_device: str, _timeout_s: float) -> VideoCapture:
            return VideoCapture(rig, fourcc, **behaviour)

        camera = V4l2Camera(world.instrument.sensor, monotonic=rig.monotonic, open_capture=opened)
        return Prepared(camera, TwinLamp(rig), exact=False)

    return prepare


def _v4l2_image_sequence(folder: Path, _monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """OpenCV's own capture class on 16-bit images: no exposure, no time stamps."""
    spec = msgspec.structs.replace(sensor_of(12, "none"), width_px=80, height_px=64)
    rng = np.random.default_rng(0)
    for k in range(60):
        cv2.imwrite(str(folder / f"frame{k:03d}.png"), rng.integers(0, 4096, (64, 80)).astype(np.uint16))

    class Sequence:
        """Images, with the exposure that they were taken with."""

        def __init__(self) -> None:
            self._images = cv2.VideoCapture(str(folder / "frame%03d.png"), cv2.CAP_IMAGES)

        def set(self, propId: int, value: float) -> bool:  # noqa: N803
            return propId == cv2.CAP_PROP_EXPOSURE or self._images.set(propId, value)

        def get(self, propId: int) -> float:  # noqa: N803
            return 20.0 if propId == cv2.CAP_PROP_EXPOSURE else self._images.get(propId)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._images, name)

    return Prepared(V4l2Camera(spec, open_capture=lambda _device, _timeout_s: Sequence()))


def _real_v4l2(_folder: Path, _monkeypatch: pytest.MonkeyPatch) -> Prepared:
    device = os.environ.get("HOLONODE_TEST_DEVICE", "/dev/video0")
    if os.environ.get("HOLONODE_TEST_CAMERA") != "v4l2":
        pytest.skip("the lane of real cameras is off: make test-camera")
    if not Path(device).exists():
        pytest.skip(f"no {device}: plug a camera in, or name one in HOLONODE_TEST_DEVICE")
    spec = load_instrument(os.environ.get("HOLONODE_TEST_INSTRUMENT", "assay-ov9281-850nm")).sensor
    return Prepared(V4l2Camera(spec, device), exact=False)


def _real_picamera2(_folder: Path, _monkeypatch: pytest.MonkeyPatch) -> Prepared:
    if os.environ.get("HOLONODE_TEST_CAMERA") != "picamera2":
        pytest.skip("the lane of real cameras is off: make test-camera")
    if not has_raw(picamera2_class()):
        pytest.skip("libcamera's virtual pipeline has no raw format: test_picamera2_itself.py asks what it can answer")
    spec = load_instrument(os.environ.get("HOLONODE_TEST_INSTRUMENT", "bioaerosol-imx219-850nm")).sensor
    return Prepared(Picamera2Camera(spec), exact=False)


CAMERAS: dict[str, Prepare] = {
    "twin": _twin,
    "replay": _replay,
    "picamera2 on a Pi 4, Bayer": picamera2_fake("vc4", 10, "BGGR"),
    "picamera2 on a Pi 4, mono": picamera2_fake("vc4", 8, "none"),
    "picamera2 on a Pi 5, Bayer": picamera2_fake("pisp", 12, "RGGB"),
    "picamera2 on a Pi 5, mono": picamera2_fake("pisp", 10, "none"),
    "v4l2, grey": v4l2_fake("GREY", 8, "none"),
    "v4l2, 10 bits in the high bits": v4l2_fake("Y16 ", 10, "none", left_aligned=True),
    "v4l2, Bayer as padded bytes": v4l2_fake("RG12", 12, "RGGB", as_bytes=True, padding=24),
    "v4l2 without time stamps": v4l2_fake("Y10 ", 10, "none", stamped=False),
    "v4l2, image sequence": _v4l2_image_sequence,
    "picamera2, real": _real_picamera2,
    "v4l2, real": _real_v4l2,
}
