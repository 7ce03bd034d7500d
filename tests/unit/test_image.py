"""The image's parts that need no image: first boot, initramfs, what is on a disk after a cut."""

from __future__ import annotations

import random
import struct
import tomllib
from pathlib import Path

import pytest

from deploy.image.debian import FILES
from deploy.image.first_boot import apply, with_setting
from deploy.image.initramfs import archive, needed
from device.config import load_config
from device.errors import InputError
from tests.boot.disks import after_cut, logged
from tests.boot.settings import SIMULATED

SETTINGS = Path(__file__).parents[2] / "deploy/systemd/holonode.toml"
SECRETS = ("a long passphrase", "the broker's")


@pytest.fixture
def box(tmp_path: Path) -> tuple[Path, Path]:
    """A boot partition and a root, as far as the first boot looks at them."""
    boot, root = tmp_path / "boot", tmp_path / "root"
    for folder in (boot, root / "etc/holonode", root / "var/lib/holonode", root / "usr/share/zoneinfo/Europe"):
        folder.mkdir(parents=True)
    (root / "usr/share/zoneinfo/Europe/Berlin").touch()
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc/holonode/holonode.toml").write_text(SETTINGS.read_text().replace("@ID@", "holonode-new"))
    return boot, root


def _wish(boot: Path, text: str) -> None:
    (boot / "first-boot.toml").write_text(text)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_packaged_file_as_it_is_gives_the_box_a_name_of_its_own(box: tuple[Path, Path]) -> None:
    boot, root = box
    _wish(boot, (FILES / "boot/first-boot.toml").read_text())
    apply(boot, root)
    assert load_config(root / "etc/holonode/holonode.toml").device.id == "holonode-01234567"
    assert (root / "etc/hostname").read_text() == "holonode-01234567\n"


def test_every_line_of_the_packaged_file_is_one_that_is_understood(box: tuple[Path, Path]) -> None:
    boot, root = box
    lines = (FILES / "boot/first-boot.toml").read_text().splitlines()
    (boot / "fleet-ca.pem").write_text("authority")
    (boot / "holonode.toml").write_text(SETTINGS.read_text().replace("@ID@", "x"))
    _wish(boot, "\n".join(line.removeprefix("#") for line in lines if not line.startswith("# ")))
    apply(boot, root)
    config = load_config(root / "etc/holonode/holonode.toml")
    assert (config.device.id, config.mqtt.url) == ("roof-north", "mqtts://broker.example.org")
    assert config.sampling.schedule.zone == "Europe/Berlin"
    assert (root / "root/.ssh/authorized_keys").read_text().startswith("ssh-ed25519 ")


def test_secrets_go_to_the_box_and_stay_nowhere_else(box: tuple[Path, Path]) -> None:
    boot, root = box
    _wish(
        boot,
        f'[wifi]\nname = "net"\npassphrase = "{SECRETS[0]}"\ncountry = "DE"\n'
        f'[broker]\nurl = "mqtts://b"\nusername = "u"\npassword = "{SECRETS[1]}"\n',
    )
    apply(boot, root)
    config = load_config(root / "etc/holonode/holonode.toml")
    assert config.mqtt.password_file == "/etc/holonode/broker-password"
    held = {
        name: [secret for secret in SECRETS if secret.encode() in content]
        for name, content in (_files(boot) | _files(root)).items()
    }
    assert {name for name, found in held.items() if found} == {
        "etc/holonode/broker-password",
        "etc/wpa_supplicant/wpa_supplicant-wlan0.conf",
    }
    for name in ("etc/holonode/broker-password", "etc/wpa_supplicant/wpa_supplicant-wlan0.conf"):
        assert (root / name).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('zone = "Europe/Berlim"', "Europe/Berlim"),
        ('id = "Roof North"', "bad value for id"),
        ('ident = "x"', "unknown key ident"),
        ('settings = "../etc/passwd"', "settings names no file"),
        ('settings = "mine.toml"', "settings names no file"),
        ('[broker]\nurl = "mqtts://b"\nca_file = "gone.pem"', "ca_file names no file"),
        ('[wifi]\nname = "net"\npassphrase = "short"\ncountry = "DE"', "wifi.passphrase"),
        ("id = ", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(box: tuple[Path, Path], text: str, said: str) -> None:
    boot, root = box
    _wish(boot, text)
    before = _files(root), _files(boot)
    with pytest.raises(InputError) as caught:
        apply(boot, root)
    assert said in str(caught.value)
    assert (_files(root), _files(boot)) == before


def test_a_settings_file_that_the_service_would_refuse_is_refused(box: tuple[Path, Path]) -> None:
    boot, root = box
    (boot / "mine.toml").write_text('[device]\nidd = "x"\n')
    _wish(boot, 'settings = "mine.toml"')
    before = _files(root)
    with pytest.raises(InputError, match="unknown key"):
        apply(boot, root)
    assert _files(root) == before


def test_a_first_boot_that_was_cut_off_begins_again(box: tuple[Path, Path]) -> None:
    boot, root = box
    text = 'id = "one"\nzone = "Europe/Berlin"\n[broker]\nurl = "mqtt://b"\n'
    _wish(boot, text)
    apply(boot, root)
    once = _files(root)
    _wish(boot, text)
    apply(boot, root)
    assert _files(root) == once


def test_settings_of_the_boot_tests_hold_for_the_service(tmp_path: Path) -> None:
    (tmp_path / "box.toml").write_text(SIMULATED.format(confirm="broker"))
    assert load_config(tmp_path / "box.toml").camera.driver == "twin"


@pytest.mark.parametrize(
    "text",
    [
        "",
        'key = "old"\n',
        '[table]\nkey = "old"\n',
        '[table] # said\n  key = "old"  # why\n[other]\nkey = "stays"\n',
        "[other]\nkey = 1",
    ],
)
def test_a_setting_is_set_and_the_rest_stays(text: str) -> None:
    value = 'a "quoted" \\ value'
    before, after = tomllib.loads(text), tomllib.loads(with_setting(text, "table", "key", value))
    assert after.pop("table") == {"key": value}
    before.pop("table", None)
    assert after == before


def test_an_archive_holds_its_files_in_order() -> None:
    packed = archive([("bin", 0o040755, b""), ("init", 0o100755, b"#!"), ("odd name", 0o100644, b"12345")])
    found: list[tuple[str, bytes]] = []
    at = 0
    while True:
        fields = [int(packed[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        assert packed[at : at + 6] == b"070701"
        name = packed[at + 110 : at + 110 + fields[11] - 1].decode()
        begin = -(-(at + 110 + fields[11]) // 4) * 4
        if name == "TRAILER!!!":
            break
        found.append((name, packed[begin : begin + fields[6]]))
        at = -(-(begin + fields[6]) // 4) * 4
    assert found == [("bin", b""), ("init", b"#!"), ("odd name", b"12345")]


def test_a_module_comes_after_what_it_depends_on(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text(
        "k/sd_mod.ko.xz: k/scsi_mod.ko.xz k/crc.ko.xz\nk/scsi_mod.ko.xz: k/base.ko.xz\nk/crc.ko.xz:\nk/base.ko.xz:\n"
    )
    (tmp_path / "modules.builtin").write_text("k/ext4.ko\n")
    names = [path.name.partition(".")[0] for path in needed(tmp_path, ["ext4", "sd_mod", "crc"])]
    assert sorted(names) == ["base", "crc", "scsi_mod", "sd_mod"]
    assert names.index("base") < names.index("scsi_mod") < names.index("sd_mod")
    with pytest.raises(InputError, match="no module gone"):
        needed(tmp_path, ["gone"])


def _log(path: Path, entries: list[tuple[int, bytes, int]]) -> None:
    """(sector, data, flags): as QEMU writes them."""
    with path.open("wb") as file:
        file.write(struct.pack("<QQQI", 0x6A736677736872, 1, len(entries), 512).ljust(512, b"\0"))
        for sector, data, flags in entries:
            file.write(struct.pack("<QQQQ", sector, len(data) // 512, flags, 0).ljust(512, b"\0") + data)


def test_what_was_flushed_survives_a_cut_and_the_rest_by_chance(tmp_path: Path) -> None:
    log = tmp_path / "log"
    flushed = [(n, bytes([n]) * 512, 0) for n in range(1, 9)]
    later = [(n, bytes([n]) * 1024, 0) for n in range(10, 60, 2)]
    _log(log, [*flushed, (0, b"", 1), *later])
    assert len(list(logged(log))) == len(flushed) + 1 + len(later)
    outcomes: set[bytes] = set()
    for seed in range(5):
        disk = tmp_path / "disk"
        disk.write_bytes(bytes(64 * 512))
        unflushed, lost = after_cut(disk, log, random.Random(seed))
        content = disk.read_bytes()
        assert all(content[n * 512 : (n + 1) * 512] == bytes([n]) * 512 for n in range(1, 9))
        whole = sum(content[n * 512 : n * 512 + 1024] == bytes([n]) * 1024 for n in range(10, 60, 2))
        assert (unflushed, lost) == (len(later), len(later) - whole)
        assert 0 < lost < len(later)
        outcomes.add(content)
    assert len(outcomes) == 5


def test_a_log_is_read_on_from_where_it_was_read_to(tmp_path: Path) -> None:
    log = tmp_path / "log"
    _log(log, [(1, b"a" * 512, 0), (2, b"b" * 1024, 0), (0, b"", 1), (5, b"c" * 512, 0)])
    whole = list(logged(log))
    assert list(logged(log, whole[1].end)) == whole[2:]
    log.write_bytes(b"")
    assert not list(logged(log))


def test_of_a_log_with_a_gap_nobody_says_what_the_disk_holds(tmp_path: Path) -> None:
    log, disk = tmp_path / "log", tmp_path / "disk"
    disk.write_bytes(bytes(64 * 512))
    _log(log, [(1, b"a" * 512, 0), (2, b"b" * 512, 0), (0, b"", 1)])
    content = bytearray(log.read_bytes())
    content[512 + 1024 : 512 + 1024 + 32] = bytes(32)
    log.write_bytes(content)
    with pytest.raises(AssertionError, match="gap"):
        after_cut(disk, log, random.Random(1))
