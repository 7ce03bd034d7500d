"""How this program is installed, and the command that adds a part to it: of this installation, with its lock."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

__all__ = ["how_to_install"]

_ROOT = Path(__file__).resolve().parents[1]


def how_to_install(extra: str, *, root: Path | None = None) -> str:
    """The sentence that says how to install an extra of pyproject.toml.

    Beside the program's locks (a checkout, a box): by the lock, which names every file by its hash. Without them: the packages
    themselves, at the versions this program was made for. Never by the program's own name, which a public index would look up.
    """
    lock = (root or _ROOT) / "requirements" / f"{extra}.lock"
    if lock.is_file():
        return f"Install it: {sys.executable} -m pip install --require-hashes -r {lock}"
    packages = " ".join(f"'{name}'" for name in _packages(extra))
    return f"Install it from where this program's packages came from: {sys.executable} -m pip install {packages or extra}"


def _packages(extra: str) -> list[str]:
    """What an extra asks for, as the installed program says."""
    try:
        wanted = metadata.requires("holonode") or []
    except metadata.PackageNotFoundError:
        return []
    marks = (f'; extra == "{extra}"', f"; extra == '{extra}'")
    return [text.removesuffix(mark).strip() for text in wanted for mark in marks if text.endswith(mark)]
