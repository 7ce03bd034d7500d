"""The modules of the project."""

from __future__ import annotations

from pathlib import Path

__all__ = ["PACKAGES", "ROOT", "modules"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("device", "models", "calibration", "deploy")


def modules() -> list[Path]:
    """Every Python file that is installed."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
