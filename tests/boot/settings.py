"""What the machines of these tests are told on their boot partition: simulated parts, asked for by name."""

from __future__ import annotations

from pathlib import Path

from tests.boot.disks import copy_disk, onto_boot
from tests.boot.machine import HOST

__all__ = ["DEVICE_ID", "SIMULATED", "prepared"]

DEVICE_ID = "test-box"
_ROOM_BYTES = 1 << 30
"""More than the image has: the first boot takes it."""

SIMULATED = """
[camera]
driver = "twin"
exposure_us = 2000.0
[lamp]
driver = "twin"
[pump]
driver = "twin"
[environment]
driver = "twin"
[twin]
realtime = false
[twin.concentration_per_m3]
birch = 6000
[sampling]
sample_volume_l = 2.0
[storage]
folder = "/var/lib/holonode/store"
[calibration]
folder = "/var/lib/holonode/calibration"
[web]
enabled = false
[delivery]
confirm = "{confirm}"
retry_s = 5
"""
"""Few particles an interval: an emulated core is slow."""


def prepared(image: Path, disk: Path, *, port: int, settings: str = SIMULATED, confirm: str = "broker") -> Path:
    """A card for the machine: the image, its boot partition filled in as an owner would, for a broker on this machine."""
    copy_disk(image, disk)
    with disk.open("r+b") as file:
        file.truncate(image.stat().st_size + _ROOM_BYTES)
    wishes = (
        f'id = "{DEVICE_ID}"\nzone = "Europe/Berlin"\nsettings = "simulated.toml"\n[broker]\nurl = "mqtt://{HOST}:{port}"\n'
    )
    onto_boot(disk, {"first-boot.toml": wishes, "simulated.toml": settings.format(confirm=confirm)})
    return disk
