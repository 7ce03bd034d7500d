"""`holonode run` where something it needs isn't there: it waits or goes without, says so, and never ends."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.rig.models import ARTEFACTS
from tests.brokers import Subscriber, broker, free_port
from tests.managers import Manager
from tests.services import Service


def until(manager: Manager, service: Service, text: str, timeout_s: float = 200) -> None:
    """Until it has said this; everything it tells its manager meanwhile is kept."""
    looks = 0
    while text not in service.said:
        manager.listen(0.2)
        assert service.is_running, service.said
        looks += 1
        assert looks < timeout_s / 0.2, service.said


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    listening = Manager(str(tmp_path / "notify"))
    yield listening
    listening.close()


def test_without_camera_and_with_a_damaged_model_it_keeps_looking_tells_and_stops_in_order(
    tmp_path: Path, manager: Manager
) -> None:
    with broker(tmp_path / "broker") as running:
        listener = Subscriber(running.port)
        service = Service.configured(tmp_path / "box", running.url)
        installed = tmp_path / "box" / "store" / "models"
        installed.mkdir(parents=True)
        for path in ARTEFACTS.glob("bioaerosol-*"):
            stem = re.sub(r"-[0-9.]+$", "-9.0.0", path.stem)
            content = path.read_bytes()
            if path.suffix == ".toml":
                content = re.sub(rb'(?m)^version = ".*"', b'version = "9.0.0"', content)
            (installed / f"{stem}{path.suffix}").write_bytes(content[:-7] if path.suffix == ".tflite" else content)
        text = service.config.read_text().replace('classifier_model = ""', 'classifier_model = "bioaerosol-9.0.0"')
        text = text.replace("[camera]", '[camera]\ndriver = "v4l2"\ntimeout_s = 0.5')
        parts = "".join(f'[{part}]\ndriver = "twin"\n' for part in ("lamp", "pump", "environment"))
        service.config.write_text(text.replace("[sampling]", f'{parts}[sampling]\nwindow_change = "person"'))
        service.start(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="20000000")
        try:
            until(manager, service, "interval lost")
            health = listener.until("health", status="failed")
            failed = {check["name"]: check["message"] for check in health["checks"] if check["status"] == "failed"}
            assert "classifier is left out" in failed["models"]
            codes = {listener.until("events")["code"] for _ in range(2)}
            assert codes <= {"model_failed", "camera_lost", "hardware_failed", "camera_slow_close"}
            assert not [said for said in manager.heard if "READY" in said], "no frame, not ready"
            assert any("EXTEND_TIMEOUT_USEC" in said for said in manager.heard)
            status, said = service.finish()
            assert status == 0, said
        finally:
            service.stop()
            listener.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")
def test_on_a_full_disk_it_waits_and_goes_on_once_there_is_room(tmp_path: Path, manager: Manager) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "holonode-test", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        filler = disk / "filler"
        with filler.open("wb") as file, contextlib.suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(4096))
        service = Service.configured(tmp_path / "box", f"mqtt://127.0.0.1:{free_port()}", store=disk / "store", intervals=1)
        service.start(NOTIFY_SOCKET=manager.address)
        try:
            until(manager, service, "the start waits for the store")
            assert not [said for said in manager.heard if "READY" in said]
            filler.unlink()
            until(manager, service, "the start goes on")
            status, said = service.finish(None)
            assert status == 0, said
            while manager.listen(0.1) is not None:
                pass
            assert [said for said in manager.heard if "READY" in said]
        finally:
            service.stop()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
