"""What `doctor` finds missing, and the command that mends it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from device.health.installed import (
    NOT_NEEDED,
    camera_access_check,
    controller_answer_check,
    integrity_check,
    secrets_check,
    unit_check,
)
from device.storage.outbox import Outbox
from device.storage.reading import in_use, store_reader
from tests.controller import Controller
from tests.unit.test_preflight import a_config


@pytest.mark.parametrize(("mode", "status"), [(0o600, "ok"), (0o400, "ok"), (0o640, "failed"), (0o644, "failed")])
def test_a_password_that_others_can_read_fails(tmp_path: Path, mode: int, status: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush")
    secret.chmod(mode)
    check = secrets_check(a_config(tmp_path, mqtt={"password_file": str(secret)}))
    assert check.status == status
    assert (f"chmod 600 {secret}" in check.remedy) == (status == "failed")


def test_a_password_file_that_is_not_there_fails_and_none_is_not_needed(tmp_path: Path) -> None:
    assert secrets_check(a_config(tmp_path, mqtt={"password_file": str(tmp_path / "none")})).status == "failed"
    assert secrets_check(a_config(tmp_path)).message == NOT_NEEDED


def test_a_damaged_store_is_found_and_a_whole_one_is_not(tmp_path: Path) -> None:
    assert integrity_check(tmp_path, busy=False).status == "not evaluated"
    outbox = Outbox(tmp_path, "box")
    outbox.keep({f"key {k}": "value" * 200 for k in range(200)})
    assert in_use(tmp_path)
    with store_reader(tmp_path) as reader:
        assert reader is None
    outbox.close()
    assert not in_use(tmp_path)
    assert integrity_check(tmp_path, busy=False).status == "ok"
    path = tmp_path / "outbox.sqlite"
    content = bytearray(path.read_bytes())
    content[8192:40960] = os.urandom(32768)
    path.write_bytes(content)
    check = integrity_check(tmp_path, busy=False)
    assert check.status == "failed"
    assert "copy" in check.remedy


def test_a_controller_answers_by_its_protocol_or_is_to_be_flashed(tmp_path: Path) -> None:
    controller = Controller()
    wires = {"port": controller.port, "acknowledge_timeout_s": 0.05}
    config = a_config(tmp_path, controller=wires, lamp={"driver": "serial"})
    answered = controller_answer_check(config, busy=False)
    assert (answered.status, answered.value) == ("ok", "protocol 2")
    assert "power" in answered.message
    controller.silent = True
    mute = controller_answer_check(config, busy=False)
    assert mute.status == "failed"
    assert "make -C deploy/firmware flash" in mute.remedy
    assert controller_answer_check(config, busy=True).status == "not evaluated"
    controller.close()
    assert controller_answer_check(a_config(tmp_path), busy=False).message == NOT_NEEDED


def test_a_camera_that_this_user_may_not_open_is_told_with_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = a_config(tmp_path, camera={"driver": "picamera2"})
    assert "camera_auto_detect" in camera_access_check(config, []).remedy
    device = tmp_path / "media0"
    device.touch()
    assert camera_access_check(config, [device]).status == "ok"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "usermod -a -G" in camera_access_check(config, [device]).remedy


UNITS = {
    "not installed": ({"LoadState": "not-found"}, "warning", "Add holonode.service"),
    "not enabled": ({"LoadState": "loaded", "UnitFileState": "disabled"}, "failed", "systemctl enable"),
    "not watched": ({"LoadState": "loaded", "UnitFileState": "enabled", "WatchdogUSec": "0"}, "warning", "WatchdogSec"),
    "watched": ({"LoadState": "loaded", "UnitFileState": "enabled", "WatchdogUSec": "30s", "NRestarts": "2"}, "ok", ""),
}


@pytest.mark.parametrize("case", UNITS)
def test_a_service_that_does_not_come_back_after_a_power_loss_fails(case: str) -> None:
    properties, status, remedy = UNITS[case]
    check = unit_check(properties)
    assert check.status == status
    assert remedy in check.remedy
