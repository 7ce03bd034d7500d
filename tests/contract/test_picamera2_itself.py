"""What the driver relies on in picamera2, asked of the fake and, in the lane of real cameras, of the real one.

None of it needs a raw sensor: libcamera's virtual pipeline will do.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.contract.cameras import sensor_of, world_of
from tests.contract.real_picamera2 import picamera2_class
from tests.fakes.picamera2 import Rig, module

# The fewest that libcamera's virtual pipeline runs with.
BUFFERS = 4


@dataclass
class Library:
    """picamera2, and a way to let time pass for it."""

    kind: Any
    sleep: Callable[[float], None]
    blocks: Callable[[Callable[[], None]], bool]
    """Whether a call doesn't come back (soon, with the real one)."""
    _open: list[Any] = field(default_factory=list)

    def running(self) -> Any:
        """A started camera that keeps no frame for a quick answer."""
        camera = self.kind(0)
        self._open.append(camera)
        camera.configure(camera.create_video_configuration(main={"size": (320, 240)}, buffer_count=BUFFERS, queue=False))
        camera.start()
        return camera

    def close(self) -> None:
        for camera in self._open:
            camera.cancel_all_and_flush()
            camera.close()


def _real() -> Library:
    if os.environ.get("HOLONODE_TEST_CAMERA") != "picamera2":
        pytest.skip("the lane of real cameras is off: make test-camera")

    def blocks(call: Callable[[], None]) -> bool:
        def quietly() -> None:
            with contextlib.suppress(CancelledError):
                call()

        thread = threading.Thread(target=quietly, daemon=True)
        thread.start()
        thread.join(2.0)
        return thread.is_alive()

    return Library(picamera2_class(), time.sleep, blocks)


def _fake() -> Library:
    rig = Rig(world_of(sensor_of(10, "BGGR")))

    def blocks(call: Callable[[], None]) -> bool:
        began_s = rig.monotonic()
        call()
        return rig.monotonic() - began_s > 1e5

    return Library(module(rig).Picamera2, rig.sleep, blocks)


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
    camera = library.running()
    kept = [camera.wait(camera.capture_request(wait=False), timeout=5.0) for _ in range(BUFFERS)]
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
    camera = library.running()
    kept = [camera.wait(camera.capture_request(wait=False), timeout=5.0) for _ in range(BUFFERS)]
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


def test_a_camera_that_is_not_there_is_an_error_and_is_not_listed(library: Library) -> None:
    # An IndexError in older ones; the driver asks the list first.
    with pytest.raises((RuntimeError, IndexError)):
        library.kind(99)
    assert 1 <= len(library.kind.global_camera_info()) < 99


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


def test_stopping_waits_for_ever_behind_a_job_that_never_ends(library: Library) -> None:
    # The reason why the driver cancels jobs that timed out, and closes without stopping.
    camera = library.running()
    kept = [camera.wait(camera.capture_request(wait=False), timeout=5.0) for _ in range(BUFFERS)]
    camera.capture_request(wait=False)
    assert library.blocks(camera.stop)
    assert len(kept) == BUFFERS


def test_closing_with_a_job_in_the_queue_comes_back(library: Library) -> None:
    camera = library.running()
    kept = [camera.wait(camera.capture_request(wait=False), timeout=5.0) for _ in range(BUFFERS)]
    camera.capture_request(wait=False)
    assert len(kept) == BUFFERS
    camera.close()
    # Requests of a camera that was stopped meanwhile may still be given back.
    for request in kept:
        request.release()
