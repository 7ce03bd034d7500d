"""Which release runs: links that are swapped in one step, so that a power cut leaves the old or the new one."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from device.errors import InputError
from device.releases.layout import Layout, Release, sync_folder

__all__ = ["activate", "current", "drop", "previous", "releases", "roll_back"]


def releases(layout: Layout) -> list[Release]:
    """All that are laid out, the newest first."""
    try:
        there = [path for path in layout.releases.iterdir() if layout.is_release_name(path.name) and path.is_dir()]
    except FileNotFoundError:
        return []
    return [Release(path) for path in sorted(there, key=lambda path: (path.stat().st_ctime_ns, path.name), reverse=True)]


def current(layout: Layout) -> Release | None:
    """The one that runs; None where there is none."""
    return _led_to(layout, layout.current)


def previous(layout: Layout) -> Release | None:
    """The one that ran before; None where there is none."""
    return _led_to(layout, layout.previous)


def _led_to(layout: Layout, link: Path) -> Release | None:
    try:
        release = layout.release(link.readlink().name)
    except OSError:
        return None
    return release if layout.is_release_name(release.name) and release.path.is_dir() else None


def activate(layout: Layout, release: Release) -> None:
    """Let a release run from the next start on, and keep the one that runs as `previous`."""
    if not (layout.is_release_name(release.name) and release.path.is_dir() and release.path.parent == layout.releases):
        raise InputError("there is no such release", where=layout.releases, got=release.name, remedy="Stage its bundle first.")
    with layout.locked():
        running = current(layout)
        if running == release:
            return
        if running is not None:
            _point(layout.previous, running)
        _point(layout.current, release)


def roll_back(layout: Layout) -> Release:
    """Let the release before this one run again; InputError where there is none. It has then none before it."""
    with layout.locked():
        running, before = current(layout), previous(layout)
        if before is None or before == running:
            raise InputError(
                "there is no release before this one", where=layout.previous, remedy="Install one from its bundle."
            )
        _point(layout.current, before)
        return before


def drop(layout: Layout, keep: int = 2) -> list[Release]:
    """Remove releases that neither run nor ran before, but for the newest `keep` of all; those that were removed."""
    with layout.locked():
        layout.clear()
        held = {current(layout), previous(layout)}
        old = [release for release in releases(layout)[keep:] if release not in held]
        for release in old:
            gone = layout.releases / f".dropped-{release.name}"
            release.path.rename(gone)
            sync_folder(layout.releases)
            shutil.rmtree(gone)
    return old


def _point(link: Path, release: Release) -> None:
    """Let a link lead to a release, in one step and for good."""
    fresh = link.with_name(f".{link.name}-next")
    with suppress(FileNotFoundError):
        fresh.unlink()
    fresh.symlink_to(f"releases/{release.name}")
    fresh.replace(link)
    sync_folder(link.parent)
