"""A box is a twin, or real with every part named; what is simulated beside real parts says so and passes nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from device.analysis.report import RecordProvenance, interval_record
from device.config import Config, load_config
from device.drivers.absent import AbsentEnvironment, AbsentPump
from device.drivers.replay import ReplayCamera
from device.errors import InputError
from device.frames import Clock
from device.health.parts import parts_check
from device.instrument import load_instrument
from device.parts import parts_of
from device.records import QARTOD_PASS, QARTOD_SUSPECT, FrameCounts
from device.rig.build import build_rig
from tests.unit.test_preflight import a_config

BY_PERSON = {"window_change": "person"}
REAL = {
    "camera": {"driver": "v4l2", "device": "/dev/no-such-video"}, "lamp": {"driver": "serial"}, "pump": {"driver": "serial"},
    "environment": {"driver": "none"}, "controller": {"port": "/dev/no-such-tty"}, "sampling": BY_PERSON,
}  # fmt: skip
BESIDE = {
    "camera": {"driver": "replay", "replay_inputs": ["frames"]}, "lamp": {"driver": "twin"}, "pump": {"driver": "twin"},
    "environment": {"driver": "twin"}, "sampling": BY_PERSON,
}  # fmt: skip


def configured(folder: Path, parts: dict[str, Any]) -> Config:
    return a_config(folder, **parts)


def test_a_configuration_that_names_nothing_is_a_twin_all_over() -> None:
    parts = parts_of(load_config())
    assert parts.simulated == ("camera", "lamp", "pump", "environment")
    assert not parts.real
    assert not parts.mixed


@pytest.mark.parametrize("camera", ["replay", "v4l2", "picamera2"])
@pytest.mark.parametrize("unnamed", ["lamp", "pump", "environment"])
def test_a_real_box_with_a_part_unnamed_is_refused_by_the_parts_name(tmp_path: Path, camera: str, unnamed: str) -> None:
    parts = {**REAL, "camera": {"driver": camera}, unnamed: {"driver": None}}
    with pytest.raises(InputError, match=rf"in {unnamed}\.driver"):
        build_rig(configured(tmp_path, parts), load_instrument("bioaerosol-imx219-850nm"))
    with pytest.raises(InputError):
        parts_check(configured(tmp_path, parts))


def test_a_real_controller_beside_nothing_else_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pump\.driver, environment\.driver"):
        parts_of(configured(tmp_path, {"lamp": {"driver": "serial"}}))


def test_a_window_that_nothing_changes_is_a_persons(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="changes its window"):
        parts_of(configured(tmp_path, {**REAL, "sampling": {}}))


def test_what_a_box_is_told_not_to_have_does_nothing_and_says_so() -> None:
    assert AbsentPump().volume_ml() == 0
    assert AbsentPump().set_flow(0.0).acknowledged
    with pytest.raises(InputError, match="no pump"):
        AbsentPump().set_flow(1.0)
    assert AbsentEnvironment().read().temperature_c is None


def test_a_simulated_lamp_and_pump_beside_recorded_frames_are_there_by_name_and_keep_real_time(tmp_path: Path) -> None:
    config = configured(tmp_path, {**BESIDE, "twin": {"realtime": False}})
    rig = build_rig(config, load_instrument("bioaerosol-imx219-850nm"))
    try:
        assert isinstance(rig.camera, ReplayCamera)
        assert rig.parts.mixed
        assert rig.parts.simulated == ("lamp", "pump", "environment")
        assert not rig.time.simulated
        assert rig.advance_window is None
        began = time.monotonic()
        rig.time.sleep(0.05)
        assert time.monotonic() - began >= 0.05
    finally:
        rig.close()
    check = parts_check(config)
    assert (check.status, check.value) == ("failed", "lamp, pump, environment")


def test_nothing_passes_quality_control_where_simulated_parts_stand_beside_real_ones() -> None:
    now = datetime.now(UTC)
    frames = FrameCounts(captured=2, analysed=2)

    def interval(origin: RecordProvenance) -> Any:
        return interval_record(
            origin, seq=1, interval_id="i", span=(now, now), clock=Clock(), frames=frames, labels=[]
        )  # fmt: skip

    plain = RecordProvenance("box", "spool", "config", "pipeline", {}, "flow")
    twin = replace(plain, simulated=("camera", "lamp", "pump", "environment"))
    mixed = replace(plain, simulated=("lamp", "pump"), mixed=True)
    assert interval(plain).qc == interval(twin).qc == QARTOD_PASS
    assert interval(mixed).qc == QARTOD_SUSPECT
    assert interval(mixed).simulated == ("lamp", "pump")
    assert interval(plain).simulated == ()


def test_a_real_box_never_loads_the_twin_and_stays_small(tmp_path: Path) -> None:
    config = tmp_path / "box.toml"
    config.write_text(
        '[device]\ninstrument = "bioaerosol-imx219-850nm"\n[camera]\ndriver = "v4l2"\ndevice = "/dev/no-such-video"\n'
        '[controller]\nport = "/dev/no-such-tty"\n[lamp]\ndriver = "serial"\n[pump]\ndriver = "serial"\n[environment]\n'
        f'driver = "serial"\n[sampling]\nwindow_change = "person"\n[storage]\nfolder = "{tmp_path / "store"}"\n'
    )
    program = f"""
import resource, sys
from device.config import load_config
from device.instrument import load_instrument
from device.rig.build import build_rig
from device.service import Service
config = load_config({str(config)!r})
try:
    build_rig(config, load_instrument(config.device.instrument))
except Exception as error:
    print(error)
print("twin", sorted(name for name in sys.modules if name.startswith(("device.twin", "device.drivers.twin"))))
print("MB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100)
    assert "twin []" in done.stdout, done.stdout
