"""The running service with a real camera's driver: what happens to the camera is told, counted and costs nothing else."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from device.config import Config, load_config
from device.drivers.picamera2_camera import Picamera2Camera
from device.drivers.supervised_camera import CameraStuckError, SupervisedCamera
from device.drivers.twin import TwinEnvironment, TwinLamp, TwinPump
from device.health import checks
from device.instrument import Instrument
from device.parts import parts_of
from device.records import Event, Interval, from_json
from device.rig import rig as device_rig
from device.rig.build import build_rig
from device.service import Service
from device.service import service as service_module
from device.storage.outbox import Outbox
from device.twin.world import TwinWorld
from tests.brokers import free_port
from tests.fakes.picamera2 import Fault, Rig, module
from tests.services import ROOT
from tests.worlds import AIR, small_instrument

INTERVALS = 3

CONFIG = """
[device]
id = "test-box"
[camera]
driver = "picamera2"
exposure_us = 2000.0
[lamp]
driver = "twin"
[pump]
driver = "twin"
[environment]
driver = "twin"
[sampling]
window_change = "person"
sample_volume_l = 0.02
settle_s = 0.0
max_intervals = {intervals}
[analysis]
reconstruction = "backpropagate"
classifier_model = ""
[storage]
folder = "{store}"
min_free_mb = 0
[mqtt]
url = "mqtt://127.0.0.1:{port}"
"""


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def configured(folder: Path) -> Config:
    path = folder / "box.toml"
    path.write_text(CONFIG.format(store=folder / "store", port=free_port(), intervals=INTERVALS))
    return load_config(path)


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, rig: Rig, strike: Callable[[str], None]) -> Service:
    """A service whose camera is the fake; `strike` hears every line that it says."""
    monkeypatch.setitem(sys.modules, "picamera2", module(rig))

    def drivers(config: Config, instrument: Instrument, **_: object) -> device_rig.Rig:
        camera = SupervisedCamera(lambda: Picamera2Camera(rig.instrument.sensor), timeout_s=4.0)
        world: TwinWorld = rig.world
        lamp = TwinLamp(rig)  # type: ignore[arg-type]
        return device_rig.Rig(
            parts_of(config), camera, lamp, TwinPump(world), TwinEnvironment(world), advance_window=world.advance_window
        )

    monkeypatch.setattr(service_module, "build_rig", drivers)
    monkeypatch.setattr(service_module, "load_instrument", lambda _name: rig.instrument)
    service = Service(configured(folder), say=strike)
    service.run()
    return service


def committed(folder: Path) -> tuple[list[Event], list[Interval]]:
    outbox = Outbox(folder / "store", "test-box")
    rows = outbox.pending(10_000)
    outbox.close()
    return (
        [from_json(row.body, Event) for row in rows if row.kind == "events"],
        [from_json(row.body, Interval) for row in rows if row.kind == "intervals"],
    )


def live_rig() -> Rig:
    return Rig(TwinWorld(small_instrument(128), AIR))


def test_a_failure_between_two_intervals_is_told_and_costs_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = live_rig()
    faults = [Fault("exception"), Fault("repeated frame")]

    def strike(line: str) -> None:
        if "L of air" in line and faults:
            rig.fault = faults.pop(0)

    service = run(tmp_path, monkeypatch, rig, strike)
    events, intervals = committed(tmp_path)
    assert len(intervals) == INTERVALS
    told = [(e.code, e.severity) for e in events if e.code.startswith("camera")]
    assert told == [("camera_lost", "alarm"), ("camera_recovered", "info")] * 2
    assert all(e.unit == "s" and isinstance(e.value, float) for e in events if e.code == "camera_recovered")
    assert service.board is not None
    stats = service.board.now().stats
    assert stats is not None
    assert stats.camera is not None
    assert service._camera is not None
    camera = service._camera.stats
    assert (camera["exceptions"], camera["repeats"], camera["lost"], camera["recovered"]) == (1, 1, 2, 2)
    assert not rig.held


def test_a_camera_whose_library_is_stuck_ends_the_service_for_its_manager_to_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = live_rig()
    monkeypatch.setattr("device.drivers.supervised_camera._GIVE_UP_S", 1.0)
    monkeypatch.setattr("device.drivers.supervised_camera._CLOSE_LIMIT_S", 0.2)

    def strike(line: str) -> None:
        if "L of air" in line:
            rig.fault = Fault("slow close", close_s=30.0, also=("exception",))

    with pytest.raises(CameraStuckError, match="service manager"):
        run(tmp_path, monkeypatch, rig, strike)
    events, intervals = committed(tmp_path)
    assert len(intervals) == 1
    assert {"camera_lost", "camera_slow_close"} <= {e.code for e in events}


@pytest.mark.parametrize("driver", ["picamera2", "v4l2"])
def test_real_cameras_are_watched(tmp_path: Path, driver: Any) -> None:
    config = configured(tmp_path)
    config = msgspec.structs.replace(config, camera=msgspec.structs.replace(config.camera, driver=driver))
    drivers = build_rig(config, small_instrument())
    assert isinstance(drivers.camera, SupervisedCamera)
    drivers.close()


def test_a_v4l2_camera_that_is_not_there_is_told_and_the_service_stays(tmp_path: Path) -> None:
    config = configured(tmp_path)
    camera = msgspec.structs.replace(config.camera, driver="v4l2", device="/dev/no-such-video")
    drivers = build_rig(msgspec.structs.replace(config, camera=camera), small_instrument())
    assert isinstance(drivers.camera, SupervisedCamera)
    told: list[str] = []
    drivers.camera.on_event = lambda event: told.append(event.message)
    drivers.camera.start()
    drivers.close()
    assert "/dev/no-such-video" in told[0]


def test_doctor_says_what_a_missing_camera_needs(tmp_path: Path) -> None:
    config = configured(tmp_path)
    camera = msgspec.structs.replace(config.camera, driver="v4l2", device="/dev/no-such-video")
    check = checks._camera(msgspec.structs.replace(config, camera=camera))
    assert (check.status, check.message) == ("failed", "no such device")
    assert "/dev/v4l/by-id" in check.remedy


def test_the_process_of_a_stuck_camera_ends_without_the_librarys_exit_handlers(tmp_path: Path) -> None:
    configured(tmp_path)
    box = tmp_path / "box.toml"
    box.write_text(box.read_text().replace('"picamera2"', '"v4l2"'))  # which needs no library to be configured
    program = f"""
import atexit, sys, time
from device.cli import main
from device.drivers.supervised_camera import CameraStuckError
from device.service import Service
atexit.register(time.sleep, 3600)
def stuck(self):
    raise CameraStuckError("the camera's library is stuck")
Service.run = stuck
sys.exit(main(["run", "--config", {str(box)!r}]))
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert ended.returncode == 3, ended.stderr
    assert "library is stuck" in ended.stderr
