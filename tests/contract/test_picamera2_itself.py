"""What the driver relies on in picamera2, asked of the fake and, in the lane of real cameras, of the real one.

None of it needs a raw sensor: libcamera's virtual pipeline will do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

import pytest

from tests.contract.cameras import sensor_of, world_of
from tests.fakes.picamera2 import Rig, module


@dataclass
class Library:
    """picamera2, and a way to let time pass for it."""

    kind: Any
    sleep: Callable[[float], None]
    _open: list[Any]

    def running(self, buffers: int = 4) -> Any:
        """A started camera that keeps no frame for a quick answer."""
        camera = self.kind(0)
        self._open.append(camera)
        camera.configure(camera.create_video_configuration(main={"size": (320, 240)}, buffer_count=buffers, queue=False))
        camera.start()
        return camera

    def close(self) -> None:
        for camera in self._open:
            camera.cancel_all_and_flush()
            camera.close()


def _real() -> Library:
    if os.environ.get("HOLONODE_TEST_CAMERA") != "picamera2":
        pytest.skip("the lane of real cameras is off: make test-camera")
    real = pytest.importorskip("picamera2", reason="picamera2 can't be imported").Picamera2
    if not real.global_camera_info():
        pytest.skip("picamera2 sees no camera: `rpicam-hello --list-cameras` must show one")
    import time

    return Library(real, time.sleep, [])


def _fake() -> Library:
    rig = Rig(world_of(sensor_of(10, "BGGR")))
    return Library(module(rig).Picamera2, rig.sleep, [])


@pytest.fixture(params=["fake", "real"])
def library(request: pytest.FixtureRequest) -> Iterator[Library]:
    made = _real() if request.param == "real" else _fake()
    yield made
    made.close()


def test_time_stamps_are_whole_nanoseconds_and_rise(library: Library) -> None:
    camera = library.running()
    stamps: list[int] = []
    for _ in range(4):
        request = camera.wait(camera.capture_request(wait=False), timeout=5.0)
        stamps.append(request.get_metadata()["SensorTimestamp"])
        request.release()
    assert all(type(stamp) is int for stamp in stamps)
    assert stamps == sorted(set(stamps))


def test_requests_that_are_kept_starve_the_camera_and_a_released_one_feeds_it(library: Library) -> None:
    camera = library.running(buffers=4)
    kept = [camera.wait(camera.capture_request(wait=False), timeout=5.0) for _ in range(4)]
    job = camera.capture_request(wait=False)
    with pytest.raises(TimeoutError):
        camera.wait(job, timeout=1.0)
    kept.pop().release()
    camera.wait(job, timeout=5.0).release()
    for request in kept:
        request.release()


def test_a_request_released_too_often_is_an_error(library: Library) -> None:
    request = library.running().capture_request()
    request.release()
    with pytest.raises(RuntimeError, match="ref_count"):
        request.release()


def test_a_job_that_timed_out_takes_the_next_frame_unless_it_is_cancelled(library: Library) -> None:
    camera = library.running(buffers=2)
    kept = [camera.wait(camera.capture_request(wait=False), timeout=5.0) for _ in range(2)]
    forgotten = camera.capture_request(wait=False)
    with pytest.raises(TimeoutError):
        camera.wait(forgotten, timeout=0.5)
    camera.cancel_all_and_flush()
    for request in kept:
        request.release()
    camera.wait(camera.capture_request(wait=False), timeout=5.0).release()
    with pytest.raises(CancelledError):
        camera.wait(forgotten, timeout=0.0)


def test_a_camera_can_be_opened_once_and_again_after_closing(library: Library) -> None:
    camera = library.running()
    with pytest.raises(RuntimeError, match="did not complete"):
        library.kind(0)
    camera.close()
    camera.close()
    library.running().capture_request().release()


def test_a_camera_that_is_not_there_is_an_index_error(library: Library) -> None:
    with pytest.raises(IndexError):
        library.kind(99)


def test_configuring_while_running_and_starting_unconfigured_are_runtime_errors(library: Library) -> None:
    camera = library.running()
    with pytest.raises(RuntimeError, match="stopped before configuring"):
        camera.configure(camera.create_video_configuration(main={"size": (320, 240)}))


def test_controls_and_keys_that_it_does_not_know_are_refused(library: Library) -> None:
    camera = library.running()
    with pytest.raises(RuntimeError, match="not advertised"):
        camera.set_controls({"NoSuchControl": 1})
    with pytest.raises(ValueError, match="Bad key"):
        camera.create_video_configuration(main={"colour": "green"})


def test_odd_sizes_are_refused(library: Library) -> None:
    camera = library.running()
    camera.stop()
    wrong = camera.create_video_configuration(main={"size": (320, 240)})
    wrong["main"]["size"] = (321, 240)
    with pytest.raises(RuntimeError, match="even"):
        camera.configure(wrong)


def test_closing_with_a_job_in_the_queue_comes_back(library: Library) -> None:
    camera = library.running(buffers=2)
    kept = [camera.wait(camera.capture_request(wait=False), timeout=5.0) for _ in range(2)]
    camera.capture_request(wait=False)
    assert len(kept) == 2
    camera.close()
    # Requests of a camera that was stopped meanwhile may still be given back.
    for request in kept:
        request.release()
