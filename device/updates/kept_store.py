"""The store as it was before a release that writes another schema: the release before couldn't read the newer one.

Kept in root's own folder while the service stands still, put back at a rollback. What was recorded during the trial stays
beside it; the store that comes back notices that it is a copy and opens a new spool.
"""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

from device.errors import InputError, TransientError
from device.releases import Layout
from device.updates.files import sync, sync_tree

__all__ = ["KeptStore"]

_SPARE = 1.1
_MB = 2**20


class KeptStore:
    """Of one installation."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._own = layout.tree / "updates"
        self._kept, self._failed = self._own / "kept-store", self._own / "failed-store"

    @property
    def folder(self) -> Path:
        """Where the store lies, by the settings of the box."""
        try:
            settings = tomllib.loads((self._layout.settings / "holonode.toml").read_text(encoding="utf-8-sig"))
            written = str(settings["storage"]["folder"])
        except (OSError, ValueError, KeyError, TypeError):
            return self._layout.data / "store"
        return self._layout.root / written.removeprefix("/") if written.startswith("/") else self._layout.settings / written

    def require_room(self, needed: bool) -> None:
        """InputError where a copy won't fit."""
        if not needed or not self.folder.is_dir():
            return
        wanted_bytes = int(_SPARE * sum(path.lstat().st_size for path in self.folder.rglob("*") if path.is_file()))
        if (free_bytes := shutil.disk_usage(self._own).free) < wanted_bytes:
            raise InputError(
                "no room to keep the store as it is, and this release changes its tables", where=self._own,
                expected=f"{wanted_bytes / _MB:.0f} MB", got=f"{free_bytes / _MB:.0f} MB", remedy="Make room; the box goes on as it is.",
            )  # fmt: skip

    def keep(self) -> str:
        """Copy it; returns where it lies, empty where there is none yet. The service must not run."""
        self.forget()
        shutil.rmtree(self._failed, ignore_errors=True)
        if not self.folder.is_dir():
            return ""
        partial = self._own / "kept-store.partial"
        shutil.rmtree(partial, ignore_errors=True)
        # cp -a keeps owners and follows no links.
        _run("cp", "-a", "--no-target-directory", str(self.folder), str(partial))
        sync_tree(partial)
        partial.rename(self._kept)
        sync(self._own)
        return str(self._kept)

    def put_back(self) -> None:
        """In place of what the newer release made of it, which stays as `failed-store`; may be cut off and begun again."""
        if not self._kept.is_dir():
            return
        if self.folder.exists() and not self._failed.exists():
            _run("mv", "-T", str(self.folder), str(self._failed))
        shutil.rmtree(self.folder, ignore_errors=True)
        _run("mv", "-T", str(self._kept), str(self.folder))
        sync(self.folder.parent)

    def forget(self) -> None:
        """It isn't needed any more."""
        shutil.rmtree(self._kept, ignore_errors=True)


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise TransientError("the store can't be kept or put back", where=command[-1], got=done.stderr.strip()[-300:])
