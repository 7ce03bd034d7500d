"""Ways of sampling: each is a folder of this package with a `kind.py` that says what it is; nothing else lists them.

A descriptor is cheap to import: what it builds with is imported when it builds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from device.errors import InputError
from device.events import EventMeaning
from device.sampling.tables import SamplingTable, sampling_tables

if TYPE_CHECKING:
    from device.analysis.pipeline import Pipeline
    from device.calibration import Calibrations
    from device.config import Config
    from device.drivers.ports import Camera, Lamp, Pump
    from device.frames import Exposure
    from device.instrument import Instrument
    from device.sampling.findings import Mode
    from device.storage.outbox import Outbox

__all__ = ["SamplePlan", "SamplingKind", "Setup", "sampling_kind", "sampling_kinds"]


@dataclass(frozen=True)
class Setup:
    """What a way of sampling works with."""

    config: Config
    calibrated: Calibrations
    pipeline: Pipeline
    camera: Camera
    lamp: Lamp
    pump: Pump
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    """May be cut short by raising."""
    outbox: Outbox
    """Where state is found and kept."""
    clean_window: Callable[[], None] | None
    """Brings a clean window or a fresh chamber; None where a person does."""

    @property
    def exposure(self) -> Exposure:
        """As configured."""
        from device.frames import Exposure

        camera = self.config.camera
        return Exposure(camera.exposure_us, camera.gain, 0, self.config.lamp.current_ma)


@dataclass(frozen=True)
class SamplePlan:
    """What one sample does, for a plan."""

    steps: tuple[str, ...]
    volume: float
    """That it looks at."""
    unit: str
    duration_s: float
    """Analysis left out."""


def _no_demand(_config: Config, _instrument: Instrument) -> None:
    return None


def _no_notes(_config: Config, _calibrated: Calibrations) -> list[str]:
    return []


@dataclass(frozen=True, kw_only=True)
class SamplingKind(SamplingTable):
    """One way of sampling."""

    instrument_kind: str
    """`fluidics.kind` of the instruments that can."""
    unit: Literal["m^-3", "mL^-1"]
    """Of its concentrations."""
    protocol: str
    """In words, as exports say it."""
    window: Literal["none", "fills", "fresh"]
    """none: nothing stays; fills: samples pile up on a window; fresh: each needs a fresh one. By whom: `sampling.window_change`."""
    build: Callable[[Setup], Mode]
    sample: Callable[[Config, Instrument], SamplePlan]
    lit_s: Callable[[Config, float], float]
    """How long the lamp is on in one sample, given how long for one frame."""
    demand: Callable[[Config, Instrument], None] = _no_demand
    """Raises InputError where a configuration can't be carried out with an instrument."""
    procedures: tuple[str, ...] = ()
    """Calibrations that it alone uses."""
    notes: Callable[[Config, Calibrations], list[str]] = _no_notes
    """What a plan should say besides."""
    events: Mapping[str, EventMeaning] = field(default_factory=lambda: MappingProxyType({}))
    """What it alone tells, by code."""


@cache
def sampling_kinds() -> Mapping[str, SamplingKind]:
    """Every way of sampling, by name."""
    return MappingProxyType({name: kind for name, kind in sampling_tables().items() if isinstance(kind, SamplingKind)})


def sampling_kind(name: str) -> SamplingKind:
    """By name; InputError where there is none."""
    try:
        return sampling_kinds()[name]
    except KeyError:
        raise InputError("no such way of sampling", expected=" | ".join(sampling_kinds()), got=name) from None
