"""A release on trial: the service's own state shows whether it works, and that is written down for root."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from device.config import Config
from device.messaging.payloads import Check
from device.releases import Layout
from device.service.state import Mailbox, State, StateBoard
from device.updates.confirmation import TrialConfirmation, running_release
from device.updates.notice import kept_notice
from device.updates.trials import TrialBook, UpdatePlaces

__all__ = ["UpdateConfirmer", "proofs"]

log = logging.getLogger("holonode.updates")

_LOOK_S = 1.0
_AGAIN_S = 30.0
"""After a disk that didn't take it."""


def proofs(state: State, acknowledged: int) -> dict[str, str]:
    """What works, by part, as far as this state shows: all of it since the service began.

    acknowledged: records that the broker took.
    """
    found: dict[str, str] = {}
    if state.camera is not None:
        found["camera"] = f"frame {state.camera.frame} at {state.camera.taken_at}"
    if state.lamp is not None and state.lamp.acknowledged:
        found["lamp"] = "acknowledged by its controller"
    if state.last_interval is not None and state.last_interval.started_at >= state.started_at:
        found["inference"] = f"interval {state.last_interval.id} analysed"
    if acknowledged > 0:
        found["broker"] = f"{acknowledged} records acknowledged"
    return found


class UpdateConfirmer:
    """Reads the state until nothing is missing; nothing at all where no release is on trial."""

    def __init__(self, config: Config, layout: Layout | None = None) -> None:
        """As the service begins: the release that this process is of must be known before `current` leads elsewhere."""
        layout = layout or Layout()
        places = UpdatePlaces(layout, Path(config.updates.folder).expanduser())
        self._places, self._book, self._release = places, TrialBook(places), running_release(layout)
        self._confirmation = TrialConfirmation.of(places, self._release)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, board: StateBoard, acknowledged: Callable[[], int]) -> bool:
        """Look at every state from here on, and at how many records the broker took; whether there is anything to look for."""
        if self._confirmation is None:
            return False
        mailbox = board.subscribe()
        self._thread = threading.Thread(target=self._look, args=(board, mailbox, acknowledged, self._confirmation), daemon=True)
        self._thread.start()
        return True

    def stop(self) -> None:
        """Safe to call twice."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(2 * _LOOK_S)

    def checks(self) -> list[Check]:
        """For `health`: how the last update came out, and what is offered; nothing where there is neither."""
        return [*self._last(), *self._offered()]

    def _offered(self) -> list[Check]:
        notice = kept_notice(self._places)
        if notice is None or not notice.offered:
            return []
        message = f"{', '.join(notice.offered)} is newer than what is here (looked at {notice.at})"
        return [
            Check(
                name="update offered",
                status="warning",
                message=message,
                remedy="CHANGELOG says what it mends: `holonode update apply`",
            )
        ]

    def _last(self) -> list[Check]:
        trial, outcomes = self._book.trial(), self._book.outcomes()
        if trial is not None and trial.release == self._release:
            missing = ", ".join(self._confirmation.missing) if self._confirmation is not None else ""
            message = f"{trial.release} is on trial; not seen yet: {missing or 'nothing, it is confirmed'}"
            return [Check(name="update", status="warning", message=message, remedy=f"Else {trial.before} runs again by itself")]
        if not outcomes:
            return []
        last = outcomes[-1]
        if last.result == "good":
            return [Check(name="update", status="ok", value=last.release, message=f"good since {last.at}")]
        message = f"{last.release} was {last.result}: {last.reason}"
        return [
            Check(name="update", status="warning", message=message, remedy="A newer release; `holonode update status` has more")
        ]

    def _look(
        self, board: StateBoard, mailbox: Mailbox[State], acknowledged: Callable[[], int], confirmation: TrialConfirmation
    ) -> None:
        try:
            while not self._ended.is_set():
                mailbox.take(_LOOK_S)
                for part, proof in proofs(board.now(), acknowledged()).items():
                    confirmation.see(part, proof)
                if not confirmation.missing and self._given(confirmation):
                    return
        finally:
            board.unsubscribe(mailbox)

    def _given(self, confirmation: TrialConfirmation) -> bool:
        try:
            return confirmation.give()
        except OSError as error:
            log.warning("that this release works can't be written down yet: %s", error)
            self._ended.wait(_AGAIN_S)
            return False
