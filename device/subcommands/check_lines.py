"""Checks as lines for a person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from device.text import plain

if TYPE_CHECKING:
    from device.messaging.payloads import Check

__all__ = ["check_lines"]

_SHOWN = {"not evaluated": "-"}


def check_lines(checks: Iterable[Check]) -> list[str]:
    """Status, name, figure and message; under what isn't right, what mends it."""
    lines: list[str] = []
    for check in checks:
        value = " ".join(str(v) for v in (check.value, check.unit) if v is not None)
        status = _SHOWN.get(check.status, check.status)
        lines.append(plain(f"{status:8} {check.name:20} {value}{'  ' if value else ''}{check.message}".rstrip()))
        if check.remedy and check.status in ("warning", "failed"):
            lines.append(plain(f"{'':8} {'':20} -> {check.remedy}"))
    return lines
