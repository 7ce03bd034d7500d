"""A watched camera: what it does with a driver that raises, falls silent, repeats itself or won't close."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from device.drivers.bounded import Threads
from device.drivers.ports import Camera, NoFrameError
from device.drivers.supervised_camera import CameraEvent, CameraState, CameraStuckError, SupervisedCamera
from device.errors import HardwareError, InputError
from device.frames import Exposure, LampState, RawFrame
from tests.fakes.virtual_time import VirtualTime

LIT = LampState(0, 20.0, acknowledged=True)
FOR_EVER_S = 1e6


class Driver:
    """Does what its script says, one entry a capture; frames where there is none left."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.closed = 0

    def _do(self, name: str) -> None:
        steps = self._shelf.script.get(name, [])
        if steps:
            steps.pop(0)()

    def start(self) -> None:
        self._do("start")

    def capture(self, exposure: Exposure, lamp: LampState) -> RawFrame | None:
        self._shelf.stamp_ns += 1
        self._do("capture")
        return RawFrame(np.zeros((2, 2), np.uint16), 10, exposure, lamp, self._shelf.stamp_ns, datetime(2026, 1, 1, tzinfo=UTC))

    def close(self) -> None:
        self.closed += 1
        self._do("close")


class Shelf:
    """Where drivers come from, and the time they live in."""

    def __init__(self, **script: list[Callable[[], Any]]) -> None:
        self.script = script
        self.time = VirtualTime()
        self.drivers: list[Driver] = []
        self.stamp_ns = 0
        self.events: list[CameraEvent] = []
        threads = Threads(self.time.monotonic, self.time.spawn, self.time.wait)
        self.camera = SupervisedCamera(self._build, timeout_s=4.0, threads=threads)
        self.camera.on_event = self.events.append

    def _build(self) -> Camera:
        self.drivers.append(Driver(self))
        return self.drivers[-1]

    def take(self) -> RawFrame:
        frame = self.camera.capture(Exposure(1000.0), LIT)
        assert frame is not None
        return frame

    @property
    def codes(self) -> list[str]:
        return [event.code for event in self.events]


def raising(error: Exception) -> Callable[[], None]:
    def step() -> None:
        raise error

    return step


def fine() -> None: ...


def test_it_is_a_camera_and_passes_frames_on() -> None:
    shelf = Shelf()
    assert isinstance(shelf.camera, Camera)
    with pytest.raises(HardwareError, match="isn't started"):
        shelf.take()
    shelf.camera.start()
    assert [shelf.take().index for _ in range(3)] == [0, 1, 2]
    assert shelf.events == []
    shelf.camera.close()
    shelf.camera.close()
    assert shelf.drivers[0].closed == 1
    assert shelf.camera.state is CameraState.CLOSED


def test_a_failure_costs_no_frame_and_frames_go_on_counting() -> None:
    shelf = Shelf(capture=[fine, raising(HardwareError("gone"))])
    shelf.camera.start()
    assert [shelf.take().index for _ in range(3)] == [0, 1, 2]
    assert shelf.codes == ["camera_lost", "camera_recovered"]
    assert "gone" in shelf.events[0].message
    assert len(shelf.drivers) == 2
    assert shelf.drivers[0].closed == 1
    stats = shelf.camera.stats
    assert (stats["exceptions"], stats["lost"], stats["recovered"], stats["restarts"], stats["state"]) == (
        1,
        1,
        1,
        1,
        "running",
    )


def test_an_error_nobody_expected_is_one_clear_hardware_error() -> None:
    shelf = Shelf(capture=[raising(ZeroDivisionError("odd")), raising(KeyError("odder"))])
    shelf.camera.start()
    with pytest.raises(HardwareError, match="KeyError"):
        shelf.take()
    assert shelf.camera.stats["exceptions"] == 2


def test_a_loss_is_told_once_however_many_tries_it_takes() -> None:
    shelf = Shelf(capture=[raising(HardwareError("gone"))] * 6)
    shelf.camera.start()
    for _ in range(5):
        with pytest.raises(HardwareError, match="gone"):
            shelf.take()
        shelf.time.sleep(2.0)
    shelf.take()
    assert shelf.codes == ["camera_lost", "camera_recovered"]
    assert shelf.events[1].value == pytest.approx(10.0)


def test_a_driver_stuck_in_its_library_is_left_and_the_next_one_gives_the_frame() -> None:
    shelf = Shelf()
    shelf.script["capture"] = [lambda: shelf.time.sleep(FOR_EVER_S)]
    shelf.camera.start()
    began_s = shelf.time.monotonic()
    shelf.take()
    assert shelf.time.monotonic() - began_s == pytest.approx(4.51)
    stats = shelf.camera.stats
    assert (stats["silences"], stats["calls_abandoned"], stats["calls_stuck"]) == (1, 1, 1)


def test_a_late_frame_of_a_driver_that_was_left_is_never_given_out() -> None:
    shelf = Shelf()
    shelf.script["capture"] = [lambda: shelf.time.sleep(6.0)]
    shelf.camera.start()
    first = shelf.take()
    shelf.time.sleep(10.0)
    second = shelf.take()
    assert second.sensor_timestamp_ns > first.sensor_timestamp_ns
    assert shelf.camera.stats["calls_stuck"] == 0


def test_a_frame_with_an_old_stamp_is_a_repeated_one() -> None:
    shelf = Shelf()

    def back() -> None:
        shelf.stamp_ns -= 1

    shelf.script["capture"] = [fine, back]
    shelf.camera.start()
    stamps = [shelf.take().sensor_timestamp_ns for _ in range(3)]
    assert stamps == sorted(set(stamps))
    assert shelf.camera.stats["repeats"] == 1


def test_a_slow_close_holds_nobody_up_and_is_told() -> None:
    shelf = Shelf(capture=[raising(HardwareError("gone"))])
    shelf.script["close"] = [lambda: shelf.time.sleep(20.0)]
    shelf.camera.start()
    began_s = shelf.time.monotonic()
    shelf.take()
    assert shelf.time.monotonic() - began_s == pytest.approx(3.0)
    assert shelf.codes == ["camera_lost", "camera_slow_close", "camera_recovered"]
    assert shelf.camera.stats["slow_closes"] == 1
    shelf.time.sleep(20.0)
    assert shelf.camera.stats["calls_stuck"] == 0


def test_a_close_that_raises_is_told_and_the_driver_is_not_used_again() -> None:
    shelf = Shelf(close=[raising(OSError("jammed"))])
    shelf.camera.start()
    shelf.camera.close()
    assert shelf.codes == ["camera_close_failed"]
    assert "jammed" in shelf.events[0].message


def test_a_start_that_comes_back_late_gives_the_camera_back() -> None:
    shelf = Shelf()
    shelf.script["start"] = [lambda: shelf.time.sleep(12.0)]
    shelf.camera.start()
    assert shelf.codes == ["camera_lost"]
    shelf.time.sleep(5.0)
    assert shelf.drivers[0].closed == 1
    shelf.take()
    assert shelf.codes == ["camera_lost", "camera_recovered"]


def test_a_camera_that_is_not_there_at_the_start_is_told_and_tried_again() -> None:
    shelf = Shelf(start=[raising(HardwareError("no camera found"))] * 2)
    shelf.camera.start()
    with pytest.raises(HardwareError, match="no camera found"):
        shelf.take()
    shelf.take()
    assert shelf.codes == ["camera_lost", "camera_recovered"]


@pytest.mark.parametrize("where", ["start", "capture"])
def test_a_wrong_configuration_is_not_a_lost_camera(where: str) -> None:
    shelf = Shelf(**{where: [raising(InputError("exposure out of range"))]})

    def run() -> None:
        shelf.camera.start()
        shelf.take()

    with pytest.raises(InputError):
        run()
    assert shelf.events == []


def test_a_library_that_never_lets_go_ends_the_process() -> None:
    shelf = Shelf(capture=[raising(HardwareError("gone"))], start=[fine, *[raising(HardwareError("busy"))] * 9])
    shelf.script["close"] = [lambda: shelf.time.sleep(FOR_EVER_S)]
    shelf.camera.start()
    for _ in range(3):
        with pytest.raises(HardwareError, match="busy"):
            shelf.take()
        shelf.time.sleep(6.0)
    with pytest.raises(CameraStuckError, match="service manager"):
        shelf.take()
    shelf.camera.close()


def test_a_camera_that_is_only_absent_never_ends_the_process() -> None:
    shelf = Shelf(start=[raising(NoFrameError("absent"))] * 40)
    shelf.camera.start()
    for _ in range(30):
        with pytest.raises(HardwareError, match="absent"):
            shelf.take()
        shelf.time.sleep(10.0)
