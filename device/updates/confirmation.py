"""The service's word that it works as the release on trial: camera, lamp, inference and broker, each seen since it began."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from device.releases import Layout
from device.updates.files import read_small, write_whole
from device.updates.trials import Confirmation, Trial, UpdatePlaces

__all__ = ["PARTS", "TrialConfirmation", "running_release"]

PARTS = ("camera", "lamp", "inference", "broker")


def running_release(layout: Layout) -> str | None:
    """Name of the release that this process is of; None: of none. Asked as the process begins: `current` may lead elsewhere later."""
    home = Path(sys.prefix).resolve().parent
    return home.name if home.parent == layout.releases.resolve() and layout.is_release_name(home.name) else None


class TrialConfirmation:
    """Gathers what was seen and writes it down once nothing is missing."""

    def __init__(self, places: UpdatePlaces, trial: Trial) -> None:
        self._places, self._trial = places, trial
        self._seen: dict[str, str] = {}

    @classmethod
    def of(cls, places: UpdatePlaces, release: str | None) -> TrialConfirmation | None:
        """Of the trial of this release; None where it is on none."""
        try:
            content = read_small(places.own / "trial.json")
            trial = None if content is None else msgspec.json.decode(content, type=Trial)
        except (OSError, msgspec.DecodeError):
            return None
        return cls(places, trial) if trial is not None and trial.release == release and not trial.failed else None

    @property
    def missing(self) -> tuple[str, ...]:
        """Parts that were not seen yet."""
        return tuple(part for part in PARTS if part not in self._seen)

    def see(self, part: str, proof: str) -> None:
        """A part works, and what shows it."""
        if part not in PARTS:
            raise ValueError(part)
        self._seen.setdefault(part, proof[:200])

    def give(self) -> bool:
        """Write it down where nothing is missing; OSError where that fails."""
        if self.missing:
            return False
        self._places.service.mkdir(parents=True, exist_ok=True)
        word = Confirmation(self._trial.id, self._trial.release, self._seen)
        write_whole(self._places.confirmed, msgspec.json.encode(word))
        return True
