"""Where the paths of a configuration lead: from its file's folder, whatever folder a command is run in."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

__all__ = ["anchored_path", "anchored_paths", "located", "store_elsewhere"]

_Paths = TypeVar("_Paths", str, list[str])


def anchored_path(written: str, base: Path) -> str:
    """A path, relative to `base` where it is relative; "", ~ and what isn't a path (usb:..., a URL) stay as they are.

    ~ is left to whoever opens the path: so the configuration's hash is the same for every user of it.
    """
    if not written or written.startswith(("~", "usb:")) or "://" in written:
        return written
    return str(base / written)


def anchored_paths(written: _Paths, base: Path) -> _Paths:
    """One, or each of a list."""
    if isinstance(written, str):
        return anchored_path(written, base)
    return [anchored_path(one, base) for one in written]


def located(path: str) -> Path:
    """An anchored path as it is opened: absolute, ~ replaced."""
    return Path(path).expanduser().absolute()


def store_elsewhere(config_file: str | Path | None, folder: str) -> str:
    """What to say of a store that lies where the same relative path leads from the current folder; empty where none does."""
    meant = located(folder)
    if config_file is None or not Path(config_file).expanduser().is_file():
        return ""
    base = Path(config_file).expanduser().absolute().parent
    if not meant.is_relative_to(base):
        return ""
    other = Path.cwd() / meant.relative_to(base)
    if other.resolve() == meant.resolve() or not (other / "outbox.sqlite").is_file():
        return ""
    return (
        f"a store lies at {other}; the configuration means {meant} (relative paths are relative to the configuration's folder)"
    )
