"""Where everything lies, under a root: a box's own, an image's, a test's."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from device.errors import TransientError

__all__ = ["Layout", "Release", "sync_folder"]

_RELEASE_NAME = re.compile(r"[0-9][0-9A-Za-z.+]*-[0-9a-f]{12}")


@dataclass(frozen=True)
class Release:
    """One release, laid out and never changed."""

    path: Path
    """Its folder, under the root it was asked for."""

    @property
    def name(self) -> str:
        """`<version>-<first twelve hexadecimal digits of the bundle's digest>`."""
        return self.path.name

    @property
    def version(self) -> str:
        """Of the program."""
        return self.name.rpartition("-")[0]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "venv/bin/python"


@dataclass(frozen=True)
class Layout:
    """The paths of an installation."""

    root: Path = Path("/")
    """What stands for / on the box."""

    @property
    def tree(self) -> Path:
        """Releases and the links to them; root's alone."""
        return self.root / "opt/holonode"

    @property
    def releases(self) -> Path:
        """One folder a release."""
        return self.tree / "releases"

    @property
    def current(self) -> Path:
        """Link to the release that runs."""
        return self.tree / "current"

    @property
    def previous(self) -> Path:
        """Link to the release that ran before it."""
        return self.tree / "previous"

    @property
    def settings(self) -> Path:
        """Folder of the configuration and its secrets."""
        return self.root / "etc/holonode"

    @property
    def data(self) -> Path:
        """Store, calibrations, activated models, what updates know."""
        return self.root / "var/lib/holonode"

    @property
    def units(self) -> Path:
        """Where systemd looks for units of this machine."""
        return self.root / "etc/systemd/system"

    @property
    def rules(self) -> Path:
        """Where udev looks for rules of this machine."""
        return self.root / "etc/udev/rules.d"

    @property
    def command(self) -> Path:
        """The `holonode` that a shell finds."""
        return self.root / "usr/local/bin/holonode"

    def release(self, name: str) -> Release:
        """By name; whether it is there is another question."""
        return Release(self.releases / name)

    @staticmethod
    def is_release_name(name: str) -> bool:
        """Whether a folder of that name can be a release."""
        return _RELEASE_NAME.fullmatch(name) is not None

    def clear(self) -> None:
        """Remove what a power cut left half made or half removed; for whoever is alone at work."""
        for path in self.releases.glob(".*-*"):
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Alone at work on this tree; TransientError where somebody else is."""
        self.releases.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.tree, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise TransientError(
                "another installation or update is at work", where=self.tree, remedy="Wait until it is done, then try again."
            ) from None
        try:
            yield
        finally:
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Have what was renamed in a folder outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
