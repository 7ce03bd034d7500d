"""How much a frame may take: what a file declares is judged before anything is unpacked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from device.errors import InputError

__all__ = ["MemoryBudget", "available_bytes", "size"]

ANALYSIS_BYTES_PER_PIXEL = 80
"""Peak of reading, normalising, reconstructing and segmenting a frame, beside the frame as it was stored."""
HARMLESS_BYTES = 64 * 2**20
"""Whatever it shrank to, this much does no harm."""
MOST_RATIO = 250
"""Holograms have noise and shrink to a half or a tenth; deflate shrinks zeros a thousandfold."""
_FREE_WHERE_NOBODY_SAYS = 2**31


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes for one frame and its analysis."""

    limit_bytes: int

    @classmethod
    def of(cls, memory_mb: float | None) -> MemoryBudget:
        """As it was given, or four fifths of what this machine has free."""
        return cls(int(memory_mb * 2**20) if memory_mb is not None else available_bytes() * 4 // 5)

    def check_frame(self, pixels: int, stored_bytes: int, where: object) -> None:
        """InputError where a frame of so many pixels, from so many bytes held in memory, takes too much."""
        self.check_bytes(stored_bytes + pixels * ANALYSIS_BYTES_PER_PIXEL, where, f"a frame of {pixels:,} pixels")

    def check_bytes(self, needed: int, where: object, what: str) -> None:
        """InputError where so many bytes are too many to hold at a time."""
        if needed > self.limit_bytes:
            raise InputError(
                f"{what} takes too much memory", where=where, expected=f"at most {size(self.limit_bytes)}", got=size(needed),
                remedy="If the file is what it should be, crop or split it, or allow more with --memory-mb.",
            )  # fmt: skip

    @staticmethod
    def check_ratio(unpacked_bytes: int, stored_bytes: int, where: object) -> None:
        """InputError where a file unpacks to so much more than it holds that no hologram can be in it."""
        if unpacked_bytes > HARMLESS_BYTES and unpacked_bytes > MOST_RATIO * stored_bytes:
            raise InputError(
                "the file unpacks to far more than it holds", where=where, expected=f"at most {MOST_RATIO} times as much",
                got=f"{size(unpacked_bytes)} from {size(stored_bytes)}",
                remedy="Recorded light has noise and never shrinks like that: the file is damaged or made to fill memory.",
            )  # fmt: skip


def size(count: int) -> str:
    """Bytes for a person."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:,.0f} TiB" if value >= 10 else f"{value:.1f} TiB"


def available_bytes() -> int:
    """Memory that is free on this machine, or in the control group that this process runs in, whichever is less."""
    found = [value for value in (_of_the_machine(), _of_the_group()) if value is not None]
    return min(found, default=_FREE_WHERE_NOBODY_SAYS)


def _of_the_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _of_the_group() -> int | None:
    """What Linux control groups (version 2) leave; None without a limit."""
    try:
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").rpartition("::")[2].strip()
        folder = Path("/sys/fs/cgroup") / own.lstrip("/")
        limit = int((folder / "memory.max").read_text(encoding="ascii"))
        return max(limit - int((folder / "memory.current").read_text(encoding="ascii")), 0)
    except (OSError, ValueError):
        return None
