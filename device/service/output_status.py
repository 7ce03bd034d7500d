"""What became of the lines that the service said."""

from __future__ import annotations

from typing import Protocol

from device.messaging.payloads import Check

__all__ = ["OutputStatus", "output_check"]


class OutputStatus(Protocol):
    """What became of the lines that the service said."""

    @property
    def lost(self) -> int:
        """Lines that could not be printed."""
        ...

    @property
    def trouble(self) -> str:
        """Why the last one could not; empty where it could."""
        ...


def output_check(status: OutputStatus) -> Check:
    """For `health`."""
    trouble = status.trouble
    return Check(
        name="output", status="warning" if trouble else "ok", value=float(status.lost), unit="lines not printed",
        message=trouble or "printed again", remedy="Make room where its output goes, or read it" if trouble else "",
    )  # fmt: skip
