"""A release on trial: good once the service confirms it in time, else the one before runs again, power cuts or not.

Root's, in a folder that nobody else writes to; everybody may read how updates came out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from device.errors import CheckError
from device.releases.layout import Layout
from device.updates.files import read_small, remove, write_whole

__all__ = ["Attempts", "Confirmation", "Trial", "TrialBook", "UpdateOutcome", "UpdatePlaces", "UpdateRequest"]

_T = TypeVar("_T")
_MOST_OUTCOMES = 16
_MOST_REQUEST_BYTES = 4096


class UpdatePlaces:
    """The files of updates, under a root."""

    def __init__(self, layout: Layout, service: Path | None = None) -> None:
        """`service`: the folder in which the service fetches; left out: that of an installation."""
        self.own = layout.tree / "updates"
        """Root's: its trust, the trial, the outcomes."""
        self.pinned = layout.settings / "update-root.json"
        """The root of trust, put there by a person."""
        self.service = service or layout.data / "updates"
        """The service's: nothing in it is believed."""
        self.request, self.confirmed = self.service / "request.json", self.service / "confirmed.json"
        self.notice = self.service / "notice.json"
        """What was offered when somebody looked last."""


class UpdateRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What the service asks root for: a file that it fetched."""

    name: str
    """In the signed list."""
    sha256: str
    """Of the file."""


class Confirmation(Struct, frozen=True, forbid_unknown_fields=True):
    """The service's word that it works as this release."""

    trial: str
    """The trial's id."""
    release: str
    """That the service began as."""
    proofs: dict[str, str]
    """What it saw, by part: camera, lamp, inference, broker."""


class Trial(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A release that has to show that it works."""

    id: str
    """Of this trial, random."""
    release: str
    """Name of the release."""
    before: str
    """Name of the one that runs again where it doesn't."""
    sha256: str = ""
    """Of the bundle that it came in."""
    boots: int = 0
    """Starts of the machine since it began."""
    failed: str = ""
    """Why it is being rolled back; empty: it is not."""
    kept_store: str = ""
    """Folder in which the store lies as it was before; empty: both releases read the same tables."""


class UpdateOutcome(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an update came out."""

    result: Literal["good", "rolled back", "refused", "put off"]
    """put off: for want of room, or because the list or this moment was wrong; it may be asked for again."""
    release: str
    """Name of the release, or of the file where it never became one."""
    sha256: str = ""
    """Of the bundle."""
    reason: str = ""
    """Why, where it is not good."""
    at: str
    """When, UTC, as far as the box knows."""


class Attempts(Struct, frozen=True, forbid_unknown_fields=True):
    """How often an update was begun and not ended."""

    sha256: str
    """Of the bundle."""
    begun: int


class TrialBook:
    """What root writes down."""

    def __init__(self, places: UpdatePlaces) -> None:
        self._places = places
        self._trial, self._outcomes = places.own / "trial.json", places.own / "outcomes.json"
        self._attempts = places.own / "attempts.json"

    def trial(self) -> Trial | None:
        """The trial that is under way; None where there is none. A file that can't be read is none: it was never whole."""
        return _decoded(self._trial, Trial)

    def keep(self, trial: Trial) -> None:
        """Before the link is swapped, and while the trial is under way."""
        write_whole(self._trial, msgspec.json.encode(trial))

    def end(self, outcome: UpdateOutcome | None) -> None:
        """With an outcome; None: the swap never happened."""
        if outcome is not None:
            self.tell(outcome)
        remove(self._trial)
        remove(self._attempts)

    def tell(self, outcome: UpdateOutcome) -> None:
        """Write down how an update came out, once."""
        known = self.outcomes()
        if not known or msgspec.structs.replace(known[-1], at="") != msgspec.structs.replace(outcome, at=""):
            write_whole(self._outcomes, msgspec.json.encode((*known, outcome)[-_MOST_OUTCOMES:]))
        remove(self._attempts)

    def outcomes(self) -> tuple[UpdateOutcome, ...]:
        """The last of them, the newest last."""
        return _decoded(self._outcomes, tuple[UpdateOutcome, ...]) or ()

    def attempt(self, sha256: str) -> int:
        """Count one more that begins; returns how many that makes."""
        known = _decoded(self._attempts, Attempts)
        begun = known.begun + 1 if known is not None and known.sha256 == sha256 else 1
        write_whole(self._attempts, msgspec.json.encode(Attempts(sha256, begun)))
        return begun

    def confirmation(self, trial: Trial) -> Confirmation | None:
        """The service's word on this trial; None where it gave none, or on another."""
        said = _decoded(self._places.confirmed, Confirmation)
        return said if said is not None and (said.trial, said.release) == (trial.id, trial.release) else None

    def request(self) -> UpdateRequest | None:
        """What the service asks for; CheckError where nobody can know."""
        try:
            content = read_small(self._places.request, _MOST_REQUEST_BYTES)
            return None if content is None else msgspec.json.decode(content, type=UpdateRequest)
        except (OSError, msgspec.DecodeError) as error:
            raise CheckError("the request for an update can't be read", where=self._places.request, got=str(error)) from error


def _decoded(path: Path, kind: type[_T]) -> _T | None:
    """What a small file says; None where there is none, or it says something else."""
    try:
        content = read_small(path)
        return None if content is None else msgspec.json.decode(content, type=kind)
    except (OSError, msgspec.DecodeError):
        return None
