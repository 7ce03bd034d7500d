"""Boxes as their users describe them: recorded frames beside simulated parts, and a real one without a camera yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2

from device.config import load_config
from device.frames import Exposure
from device.instrument import load_instrument
from device.rig.simulated import twin_world
from tests.brokers import Subscriber, broker
from tests.controller import Controller
from tests.services import ROOT, Service

BESIDE = """
[lamp]
driver = "twin"
[pump]
driver = "twin"
[environment]
driver = "twin"
"""


def frames_of_a_sampler(folder: Path, count: int = 3) -> Path:
    """Recorded frames, as 16-bit PNG."""
    folder.mkdir()
    config = load_config()
    world = twin_world(config, instrument=load_instrument(config.device.instrument))
    world.lamp = type(world.lamp)(0, 20.0, acknowledged=True)
    for number in range(count):
        world.set_flow(1000.0)
        cv2.imwrite(str(folder / f"frame-{number}.png"), world.expose(Exposure(2000.0, lamp_current_ma=20.0)))
    return folder


def replaying(folder: Path, url: str, extra: str) -> Service:
    frames = frames_of_a_sampler(folder / "frames")
    service = Service.configured(folder / "box", url, intervals=2, mqtt=extra)
    text = service.config.read_text()
    text = text.replace("[camera]\n", f'[camera]\ndriver = "replay"\nreplay_inputs = ["{frames}"]\n')
    service.config.write_text(
        text.replace("[sampling]\nsample_volume_l = 2.0", '[sampling]\nwindow_change = "person"\nsample_volume_l = 0.1')
    )
    return service


def test_recorded_frames_beside_a_simulated_pump_are_marked_in_every_record_and_never_pass(tmp_path: Path) -> None:
    with broker(tmp_path / "broker") as running:
        listener = Subscriber(running.port)
        status, output = replaying(tmp_path, running.url, BESIDE).run(timeout_s=200)
        heard = listener.drain()
        listener.close()
    assert status == 0, output
    assert "SIMULATED beside real parts: lamp, pump, environment" in output
    records = [m for topic, m, _ in heard if topic.rsplit("/", 1)[-1] in ("detections", "intervals", "events")]
    assert any(m["schema"].startswith("holonode.interval") for m in records)
    assert {tuple(m["simulated"]) for m in records} == {("lamp", "pump", "environment")}
    assert not [m for m in records if m.get("qc") == 1]
    assert [m["simulated"] for t, m, _ in heard if t.endswith("/info")][-1] == ["lamp", "pump", "environment"]
    drivers = [c for t, m, _ in heard if t.endswith("/health") for c in m["checks"] if c["name"] == "drivers"]
    assert drivers
    assert {c["status"] for c in drivers} == {"failed"}


def test_recorded_frames_with_a_pump_unnamed_are_refused(tmp_path: Path) -> None:
    status, output = replaying(tmp_path, "mqtt://127.0.0.1:1", "").run(timeout_s=100)
    assert status == 2
    assert "a real box names every part" in output
    assert "pump.driver" in output


BEFORE_THE_FIRST_FRAME = """
import os, sys
import device.drivers.supervised_camera as watched
from device.config import load_config
from device.service import Service

def capture(self, *_):
    resident_kb = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS"))
    print("resident MiB", int(resident_kb) // 1024, "twin", [n for n in sys.modules if n.startswith("device.twin")], flush=True)
    os._exit(0)

watched.SupervisedCamera.start = lambda self: None
watched.SupervisedCamera.capture = capture
Service(load_config(sys.argv[1])).run()
"""


def test_a_real_box_of_twelve_megapixels_never_loads_the_twin_and_is_small_before_its_first_frame(tmp_path: Path) -> None:
    controller = Controller()
    config = tmp_path / "box.toml"
    config.write_text(
        f'[device]\ninstrument = "flow-imx477-530nm"\n[camera]\ndriver = "v4l2"\nexposure_us = 200.0\n[controller]\n'
        f'port = "{controller.port}"\n[lamp]\ndriver = "serial"\n[pump]\ndriver = "serial"\n[environment]\ndriver = "serial"\n'
        f'[sampling]\nmode = "flow"\n[analysis]\nclassifier_model = ""\n[storage]\nfolder = "{tmp_path / "store"}"\nmin_free_mb = 0\n'
    )
    command = [sys.executable, "-c", BEFORE_THE_FIRST_FRAME, str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    controller.unplug()
    words = done.stdout.rpartition("resident MiB ")[2].split()
    assert words, done.stdout + done.stderr
    assert words[1:] == ["twin", "[]"]
    assert int(words[0]) <= 150
