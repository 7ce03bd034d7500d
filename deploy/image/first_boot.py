"""On the box: what `first-boot.toml` on the boot partition asks for, done once.

Everything is looked at before anything is written. What was done, or what is wrong, is said on the console and in
`first-boot.txt` beside the file, which a person reads in another computer. Where something is wrong nothing is changed and the
box starts as it is; else the file is taken away, for it may hold a passphrase and a password.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from device.config import load_config
from device.errors import HolonodeError, InputError
from device.tomlfile import load_toml

__all__ = ["BrokerWishes", "FirstBoot", "WifiWishes", "apply", "with_setting"]

_FILE, _SAID = "first-boot.toml", "first-boot.txt"
_WIRELESS = "wlan0"


class WifiWishes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A wireless network."""

    name: Annotated[str, Meta(min_length=1, max_length=32)]
    """SSID."""
    passphrase: Annotated[str, Meta(min_length=8, max_length=63, pattern="^[ -~]*$")]
    """Of WPA2 or WPA3, printable ASCII."""
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    """ISO 3166: which channels are allowed."""


class BrokerWishes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where records go."""

    url: str
    """mqtt://host:port or mqtts://host:port."""
    username: str = ""
    """Empty: none."""
    password: str = ""
    """Empty: none."""
    ca_file: str = ""
    """On the boot partition; empty: the system's authorities."""


class FirstBoot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    id: Annotated[str, Meta(pattern="^[a-z0-9-]{1,63}$")] = ""
    """Of the box; empty: of the machine's own number."""
    zone: str = ""
    """Time zone, e.g. "Europe/Berlin"; empty: UTC."""
    ssh_keys: list[str] = []
    """Public keys that log root in."""
    settings: str = ""
    """A whole settings file on the boot partition; empty: those that are there."""
    wifi: WifiWishes | None = None
    """Left out: by cable."""
    broker: BrokerWishes | None = None
    """Left out: one of its own, on the box alone."""


def apply(boot: Path, root: Path = Path("/")) -> FirstBoot:
    """Do what the file asks for in the files of a root; InputError: nothing was changed."""
    wishes = load_toml(boot / _FILE, FirstBoot)
    settings = _settings(wishes, boot, root)
    files = _system_files(wishes, boot, root)
    for path, (text, mode) in files.items():
        _write(path, text, mode)
    if wishes.zone:
        (root / "etc/localtime").unlink(missing_ok=True)
        (root / "etc/localtime").symlink_to(f"/usr/share/zoneinfo/{wishes.zone}")
    if wishes.broker and wishes.broker.password:
        # The service's user, whatever its number is in this root.
        owner = (root / "var/lib/holonode").stat()
        os.chown(root / _PASSWORD, owner.st_uid, owner.st_gid)
    _write(root / _SETTINGS, settings, 0o640)
    _write(
        boot / _SAID, "done: " + ", ".join(f"/{path.relative_to(root)}" for path in (*files, root / _SETTINGS)) + "\n", 0o600
    )
    # The last step: a box that loses its supply before it begins again.
    (boot / _FILE).unlink()
    return wishes


_SETTINGS, _PASSWORD, _AUTHORITY = "etc/holonode/holonode.toml", "etc/holonode/broker-password", "etc/holonode/broker-ca.pem"


def _settings(wishes: FirstBoot, boot: Path, root: Path) -> str:
    """The whole settings file as it is going to be, which the service would take."""
    source = _beside(boot, wishes.settings, "settings") if wishes.settings else root / _SETTINGS
    text = source.read_text(encoding="utf-8-sig")
    if wishes.id or not wishes.settings:
        text = with_setting(text, "device", "id", wishes.id or _own_id(root))
    if wishes.zone:
        text = with_setting(text, "sampling.schedule", "zone", wishes.zone)
    if wishes.broker:
        text = with_setting(text, "mqtt", "url", wishes.broker.url)
        text = with_setting(text, "mqtt", "username", wishes.broker.username)
        text = with_setting(text, "mqtt", "password_file", "/" + _PASSWORD if wishes.broker.password else "")
        text = with_setting(text, "mqtt", "ca_file", "/" + _AUTHORITY if wishes.broker.ca_file else "")
    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder, "holonode.toml")
        tried.write_text(text, encoding="utf-8")
        load_config(tried)
    return text


def _system_files(wishes: FirstBoot, boot: Path, root: Path) -> dict[Path, tuple[str, int]]:
    """Text and mode of the system's own files, by path."""
    name = wishes.id or _own_id(root)
    files = {root / "etc/hostname": (f"{name}\n", 0o644)}
    if wishes.zone and not (root / "usr/share/zoneinfo" / wishes.zone).is_file():
        raise InputError(
            "there is no such time zone", where=boot / _FILE, expected='one such as "Europe/Berlin"', got=wishes.zone
        )
    if wishes.ssh_keys:
        files[root / "root/.ssh/authorized_keys"] = ("".join(f"{key}\n" for key in wishes.ssh_keys), 0o600)
    if wishes.wifi:
        files[root / f"etc/wpa_supplicant/wpa_supplicant-{_WIRELESS}.conf"] = (_supplicant(wishes.wifi), 0o600)
    if wishes.broker and wishes.broker.password:
        files[root / _PASSWORD] = (wishes.broker.password, 0o600)
    if wishes.broker and wishes.broker.ca_file:
        files[root / _AUTHORITY] = (_beside(boot, wishes.broker.ca_file, "broker.ca_file").read_text(), 0o644)
    return files


def _supplicant(wifi: WifiWishes) -> str:
    """wpa_supplicant.conf(5): a name in hexadecimal may be anything."""
    return (
        f"country={wifi.country}\nnetwork={{\n  ssid={wifi.name.encode().hex()}\n"
        f'  psk="{wifi.passphrase}"\n  key_mgmt=WPA-PSK SAE\n  ieee80211w=1\n}}\n'
    )


def _beside(boot: Path, name: str, key: str) -> Path:
    path = boot / name
    if not path.is_file() or path.resolve().parent != boot.resolve():
        raise InputError(f"{key} names no file beside it", where=boot / _FILE, expected="one on the boot partition", got=name)
    return path


def _own_id(root: Path) -> str:
    return "holonode-" + (root / "etc/machine-id").read_text().strip()[:8]


def with_setting(text: str, table: str, key: str, value: str) -> str:
    """A TOML text with one string of a table set; all other lines stay as they are."""
    lines = text.splitlines()
    setting = f"{key} = {json.dumps(value, ensure_ascii=False)}"
    header = f"[{table}]"
    begin = next((n for n, line in enumerate(lines) if line.partition("#")[0].strip() == header), None)
    if begin is None:
        return "\n".join([*lines, *([""] if lines else []), header, setting]) + "\n"
    end = next((n for n in range(begin + 1, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
    at = next((n for n in range(begin + 1, end) if lines[n].partition("=")[0].strip() == key), None)
    if at is None:
        lines.insert(begin + 1, setting)
    else:
        lines[at] = setting
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str, mode: int) -> None:
    """All or nothing, also if the supply fails; a file that is there keeps its owner and mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    with new.open("w", encoding="utf-8") as file:
        new.chmod(mode)
        if path.exists():
            was = path.stat()
            os.chown(new, was.st_uid, was.st_gid)
            new.chmod(was.st_mode & 0o7777)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def main() -> int:
    """Do it on this machine, and say what was done."""
    boot = Path("/boot/firmware")
    try:
        wishes = apply(boot)
        socket.sethostname(Path("/etc/hostname").read_text().strip())
        if wishes.wifi:
            unit = f"wpa_supplicant@{_WIRELESS}.service"
            subprocess.run(["systemctl", "enable", "--now", "--no-block", unit], check=True)
    except (HolonodeError, OSError, subprocess.SubprocessError) as error:
        print(f"first boot: {error}", file=sys.stderr)
        with contextlib.suppress(OSError):
            _write(boot / _SAID, f"nothing was changed: {error}\n", 0o600)
        return error.exit_status if isinstance(error, HolonodeError) else 1
    print(f"first boot: {(boot / _SAID).read_text().strip()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
