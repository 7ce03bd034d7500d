"""The topic tree of one device."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Topics"]

ROOT = "holonode/v1"


@dataclass(frozen=True)
class Topics:
    """Topics of one device."""

    device_id: str

    @property
    def root(self) -> str:
        """Everything of this device is below."""
        return f"{ROOT}/{self.device_id}"

    def of(self, leaf: str) -> str:
        """The full topic of `status`, `info`, `health`, `stats`, `detections`, `intervals` or `events`."""
        return f"{self.root}/{leaf}"
