"""The calibration records that a configuration's box has."""

from __future__ import annotations

from pathlib import Path

from device.calibration import Calibrations, load_calibrations
from device.clock import BoxClock
from device.config import Config
from device.instrument import Instrument

__all__ = ["calibrations"]


def calibrations(config: Config, instrument: Instrument) -> Calibrations:
    """The records that hold for this instrument today, whatever their age where the clock was never set."""
    clock = BoxClock()
    dated = clock.quality().source != "none"
    return load_calibrations(Path(config.calibration.folder).expanduser(), instrument, clock.now(), dated=dated)
