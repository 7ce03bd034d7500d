"""Debian's packages for a foreign machine, unpacked without running one of their programs.

`mmdebstrap --variant=extract` unpacks and configures nothing. What the maintainers' scripts of these packages would have done
is done here with the host's tools on the foreign root, where a box needs it: users, certificates, module lists, units.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from deploy.image.disk import run
from device.errors import InputError

__all__ = ["FILES", "PACKAGES", "configure", "kernel_release", "packages", "unpack"]

FILES = Path(__file__).parent / "files"

PACKAGES = (
    # what every Debian has: its essential packages
    "base-files", "base-passwd", "bash", "bsdutils", "coreutils", "dash", "debianutils", "diffutils", "dpkg", "findutils", "grep",
    "gzip", "hostname", "init-system-helpers", "libc-bin", "login", "mawk", "mount", "ncurses-base", "ncurses-bin", "perl-base",
    "sed", "sysvinit-utils", "tar", "util-linux",
    # the system
    "systemd", "systemd-sysv", "systemd-repart", "systemd-timesyncd", "udev", "dbus", "passwd", "kmod", "procps", "e2fsprogs",
    "dosfstools", "tzdata", "apt",
    # the way to it
    "linux-image-cloud-arm64", "busybox-static", "systemd-boot-efi",
    # the network
    "systemd-resolved", "iproute2", "wpasupplicant", "openssh-server", "ca-certificates", "openssl",
    # what Holonode's wheels and its own broker need of a system
    "python3", "libstdc++6", "mosquitto",
)  # fmt: skip


_NO_GENERATORS = ("systemd-ssh-generator", "systemd-getty-generator")
"""One looks for a hypervisor's socket, the other opens consoles for which nobody has a password."""

_NO_UNITS = (
    "dev-hugepages.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount",
    "proc-sys-fs-binfmt_misc.automount", "systemd-binfmt.service", "modprobe@drm.service", "modprobe@fuse.service",
    "modprobe@configfs.service", "systemd-hibernate-clear.service", "ldconfig.service",
)  # fmt: skip
"""Of no use to a box: each costs a start seconds, some are a way in."""


_TOLD = """
mkdir -p "$1/var/lib/dpkg/status.d"
for package in "$1"/var/cache/apt/archives/*.deb; do
    name=${package##*/}
    dpkg-deb --field "$package" >"$1/var/lib/dpkg/status.d/${name%%_*}"
done
"""
"""dpkg itself never ran; who looks an image through for known weaknesses reads this folder in the list's place."""


def unpack(root: Path, suite: str) -> None:
    """Fetch and unpack into an empty folder."""
    run(
        "mmdebstrap", "--quiet", "--variant=extract", "--architectures=arm64", f"--include={','.join(PACKAGES)}",
        f"--extract-hook={_TOLD}", suite, str(root),
    )  # fmt: skip


def packages(root: Path) -> list[str]:
    """Control fields of every package that was unpacked."""
    return [path.read_text(encoding="utf-8") for path in sorted((root / "var/lib/dpkg/status.d").iterdir())]


def kernel_release(root: Path) -> str:
    """Of the one kernel in a root."""
    found = sorted(path.name for path in (root / "usr/lib/modules").iterdir())
    if len(found) != 1:
        raise InputError("the root has not one kernel", where=root, got=", ".join(found) or "none")
    return found[0]


def configure(root: Path) -> None:
    """What is to be done between unpacking and the first boot."""
    shutil.copy(root / "usr/share/base-files/profile", root / "etc/profile")
    shutil.copytree(FILES, root, dirs_exist_ok=True, ignore=lambda folder, _: ["boot"] if Path(folder) == FILES else [])
    _accounts(root)
    _certificates(root)
    # base-files' links
    for name, to in (("run", "/run"), ("lock", "/run/lock")):
        _link(root / "var" / name, to)
    for generator in _NO_GENERATORS:
        _link(root / "etc/systemd/system-generators" / generator, "/dev/null")
    for unit in _NO_UNITS:
        _link(root / "etc/systemd/system" / unit, "/dev/null")
    _link(root / "usr/bin/awk", "mawk")
    _link(root / "etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
    _link(root / "etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
    # Empty: every box makes its own (machine-id(5)).
    (root / "etc/machine-id").write_text("")
    (root / "boot/firmware").mkdir(parents=True, exist_ok=True)
    run("depmod", "--basedir", str(root), kernel_release(root))
    run("systemctl", f"--root={root}", "preset-all")
    # What systemd would do at the first boot of an unconfigured system is done (systemd-update-done.service(8)).
    for folder in ("etc", "var"):
        (root / folder / ".updated").touch()


def _accounts(root: Path) -> None:
    """base-passwd's users and groups and those of sysusers.d; '*' for all: no password logs anybody in."""
    master = root / "usr/share/base-passwd"
    shutil.copy(master / "group.master", root / "etc/group")
    users = [line.split(":") for line in (master / "passwd.master").read_text().splitlines()]
    (root / "etc/passwd").write_text("".join(":".join([name, "x", *rest]) + "\n" for name, _, *rest in users))
    shadow = root / "etc/shadow"
    shadow.write_text("".join(f"{name}:*:20000:0:99999:7:::\n" for name, *_ in users))
    shadow.chmod(0o640)
    shutil.chown(shadow, 0, _SHADOW_GROUP)
    # An older systemd on the host doesn't know 'u!', whose account is locked, as all of these are.
    wanted = "".join(path.read_text() + "\n" for path in sorted((root / "usr/lib/sysusers.d").glob("*.conf")))
    run("systemd-sysusers", f"--root={root}", "-", said=re.sub("^u!", "u", wanted, flags=re.MULTILINE))


_SHADOW_GROUP = 42
"""In base-passwd's list."""


def _certificates(root: Path) -> None:
    """The authorities of ca-certificates in the one file that OpenSSL reads here."""
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    (root / "etc/ssl/certs/ca-certificates.crt").write_text("".join(path.read_text() for path in certificates))


def _link(path: Path, to: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.symlink_to(to)
