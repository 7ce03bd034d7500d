"""The little that lies outside the tree: user, settings, links to units, device names and the command.

Links lead through `current`, so that a release brings its own units and one that is rolled back takes them along.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from device.errors import InputError
from device.releases.layout import Layout, sync_folder

__all__ = [
    "SERVICE", "SETTINGS", "USER", "add_user", "check_alone", "check_store", "link_system", "make_folders", "store_schema_of",
    "unlink_system", "write_settings",
]  # fmt: skip

SERVICE = "holonode.service"
SETTINGS = "holonode.toml"
USER = "holonode"
_GROUPS = ("video", "dialout", "render", "gpio", "i2c", "spi")
"""Those of them that the system has: camera, serial lines, the board's buses."""
_OURS = "/opt/holonode/"
_UNIT_KINDS = (".service", ".path", ".socket", ".timer")


def store_schema_of(layout: Layout) -> int | None:
    """The schema of the box's store; None where there is none.

    It stands in the database's header (SQLite's file format, user version), which can be read while the service has the store.
    """
    for store in (layout.data / "store/outbox.sqlite", layout.data / "outbox.sqlite"):
        with suppress(FileNotFoundError), store.open("rb") as file:
            header = file.read(64)
            return int.from_bytes(header[60:64], "big") if header.startswith(b"SQLite format 3\0") else None
    return None


def check_store(layout: Layout, store_schema: int) -> None:
    """InputError where the box's store was written by a newer program than one that reads `store_schema`."""
    schema = store_schema_of(layout)
    if schema is not None and schema > store_schema:
        raise InputError(
            "the store on this box was written by a newer Holonode", where=layout.data, expected=f"schema {store_schema} or older", got=schema,
            remedy="Install that version or a newer one; or move the store away, and a new one begins.",
        )  # fmt: skip


def check_alone(layout: Layout) -> None:
    """InputError where another Holonode, not of this tree, is installed."""
    for path in (layout.command, layout.units / SERVICE):
        if os.path.lexists(path) and not _is_ours(path):
            raise InputError(
                "another Holonode is installed on this machine", where=path, expected=f"none, or one below {_OURS}",
                remedy="Remove that one the way it came; its data can stay.",
            )  # fmt: skip
    known = {"releases", "current", "previous", "updates", ".current-next", ".previous-next"}
    if layout.tree.is_dir() and (strange := sorted({path.name for path in layout.tree.iterdir()} - known)):
        raise InputError("this folder holds something else", where=layout.tree, got=strange[0], remedy="Move it away.")


def _is_ours(path: Path) -> bool:
    return path.is_symlink() and str(path.readlink()).startswith(_OURS)


def add_user(layout: Layout) -> None:
    """The service's own user, without a shell, in the groups of the devices; one that is there stays."""
    _done(layout, "useradd", "--system", "--user-group", "--home-dir", "/var/lib/holonode", "--no-create-home",
          "--shell", "/usr/sbin/nologin", USER) if _numbers(layout, "passwd", USER) is None else None  # fmt: skip
    groups = [name for name in _GROUPS if _numbers(layout, "group", name) is not None]
    if groups:
        _done(layout, "usermod", "--append", "--groups", ",".join(groups), USER)


def _done(layout: Layout, program: str, *words: str) -> None:
    """A program of the system, on the root's own files where that isn't this machine's."""
    prefix = () if layout.root == Path("/") else ("--prefix", str(layout.root))
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            [program, *prefix, *words], capture_output=True, text=True, check=False, env=os.environ | {"PATH": path}
        )
    except FileNotFoundError:
        raise InputError("a program of the system is missing", expected=program, remedy="apt-get install passwd") from None
    if done.returncode != 0:
        raise InputError(
            f"{program} failed", got=done.stderr.strip(), remedy=f"Add the user by hand: {program} {' '.join(words)}"
        )


def _numbers(layout: Layout, table: str, name: str) -> tuple[int, int] | None:
    """User and group of a row of /etc/passwd, or twice the group's of one of /etc/group; None where there is none."""
    with suppress(FileNotFoundError):
        for line in (layout.root / "etc" / table).read_text(encoding="utf-8").splitlines():
            row = line.split(":")
            if row[0] == name:
                return int(row[2]), int(row[3 if table == "passwd" else 2])
    return None


def make_folders(layout: Layout) -> None:
    """Settings for root to write and the service to read; data for the service alone. What is there keeps its owner and mode."""
    owner = _numbers(layout, "passwd", USER)
    for folder in (layout.settings, layout.data):
        if folder.is_dir():
            continue
        folder.mkdir(parents=True)
        folder.chmod(0o755 if owner is None else 0o750)
        if owner is not None:
            os.chown(folder, 0 if folder == layout.settings else owner[0], owner[1])


def write_settings(layout: Layout, example: Path, *, device_id: str | None = None) -> bool:
    """The configuration from a release's example, once; whether it was written. None: an identifier by chance."""
    path = layout.settings / SETTINGS
    if os.path.lexists(path):
        return False
    text = example.read_text(encoding="utf-8").replace("@ID@", device_id or f"holonode-{secrets.token_hex(4)}")
    fresh = path.with_name(f".{path.name}-next")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    owner = _numbers(layout, "passwd", USER)
    fresh.chmod(0o644 if owner is None else 0o640)
    if owner is not None:
        os.chown(fresh, 0, owner[1])
    fresh.replace(path)
    sync_folder(path.parent)
    return True


def _wanted(layout: Layout, units: Path) -> dict[Path, str]:
    """Every link outside the tree, and where it leads; the units of one release."""
    links = {layout.command: f"{_OURS}current/venv/bin/holonode"}
    for unit in sorted(units.iterdir()):
        if unit.suffix in _UNIT_KINDS:
            links[layout.units / unit.name] = f"{_OURS}current/units/{unit.name}"
            for wanting in re.findall(r"^WantedBy=(\S+)$", unit.read_text(encoding="utf-8"), re.MULTILINE):
                links[layout.units / f"{wanting}.wants" / unit.name] = f"{_OURS}current/units/{unit.name}"
    links[layout.root / "etc/systemd/journald.conf.d/60-holonode.conf"] = f"{_OURS}current/units/journald-holonode.conf"
    links[layout.rules / "60-holonode.rules"] = f"{_OURS}current/udev/60-holonode.rules"
    return links


def _there(layout: Layout) -> Iterator[Path]:
    """Links of ours outside the tree."""
    folders = (
        layout.command.parent,
        layout.units,
        *layout.units.glob("*.wants"),
        layout.rules,
        layout.root / "etc/systemd/journald.conf.d",
    )
    for folder in folders:
        if folder.is_dir():
            yield from (path for path in folder.iterdir() if _is_ours(path))


def link_system(layout: Layout) -> None:
    """Link units, device names and the command of the current release, and take away what it no longer brings."""
    wanted = _wanted(layout, layout.current.resolve() / "units")
    for stale in set(_there(layout)) - wanted.keys():
        stale.unlink()
    for path, target in wanted.items():
        if path.is_symlink() and str(path.readlink()) == target:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}-next")
        with suppress(FileNotFoundError):
            fresh.unlink()
        fresh.symlink_to(target)
        fresh.replace(path)
        sync_folder(path.parent)


def unlink_system(layout: Layout) -> None:
    """Take away every link of ours outside the tree."""
    for path in list(_there(layout)):
        path.unlink()
