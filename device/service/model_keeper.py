"""What becomes of models that fail their checks while the box is alone: told, gone without, and opened again, ever later."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from device.calibration import Calibrations
from device.errors import HolonodeError
from device.messaging.payloads import Check
from device.sampling.findings import Findings
from device.service.work import Work

__all__ = ["ModelKeeper"]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 600.0, 86_400.0
"""A test may have failed for want of memory; a file that was damaged stays so."""
_REMEDY = "holonode models verify tells what is wrong; install the model again from where it was released"

EventCallback = Callable[[str, str, str], None]
"""Hears of an event: code, severity, message."""


class ModelKeeper:
    """Of the service's loop; everything is called in its thread."""

    def __init__(self, on_event: EventCallback, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._on_event, self._monotonic = on_event, monotonic
        self._work: Work | None = None
        self._calibrated: Calibrations | None = None
        self._faults: list[str] = []
        self._pause_s, self._again_s = _FIRST_PAUSE_S, 0.0

    def works_as(self, work: Work, calibrated: Calibrations) -> None:
        """The box works as this from here on."""
        self._calibrated = calibrated
        before, self._work, self._faults = self._faults, work, work.faults()
        if self._faults == before:
            return
        self._pause_s, self._again_s = _FIRST_PAUSE_S, self._monotonic() + _FIRST_PAUSE_S
        for fault in self._faults:
            if fault not in before:
                self._on_event("model_failed", "alarm", fault)
        if not self._faults:
            self._on_event("model_restored", "info", "every model that the configuration names is in use again")

    def check(self) -> Check:
        """For `health`."""
        if not self._faults:
            return Check(name="models", status="ok", message="as configured")
        left_out = bool(self._work and self._work.left_out)
        return Check(name="models", status="failed" if left_out else "warning", message="; ".join(self._faults), remedy=_REMEDY)

    def mended(self) -> Work | None:
        """What to go on as, where models that failed pass by now."""
        work, calibrated = self._work, self._calibrated
        if work is None or calibrated is None or not self._faults or self._monotonic() < self._again_s:
            return None
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self._again_s = self._monotonic() + self._pause_s
        try:
            again = Work.of(work.config, calibrated, work.origin.spool_id, tolerant=True)
        except HolonodeError:
            return None
        return again if len(again.faults()) < len(self._faults) else None

    def judged(self, found: Findings) -> Findings:
        """Counts by plain back-propagation where a network was meant are suspect."""
        lacks_field = self._work is not None and "reconstruction" in self._work.left_out
        return replace(found, suspect=True) if lacks_field else found
