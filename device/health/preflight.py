"""Everything an operator would look at before he leaves a box alone, done by the box itself in a few seconds.

The configuration against the instrument; lamp and camera; pump; surroundings; clock, broker, models; and how long disk, lamp,
window and calibration last. Lamp and pump are off before and after. It needs the instrument for itself: a service runs it with
its own drivers between two samples, `holonode arm` while no service runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import msgspec

from device.calibration import CalibrationRecord, Calibrations
from device.config import Config, config_hash
from device.drivers.ports import Camera, Environment, Lamp, Pump
from device.errors import HolonodeError
from device.frames import Clock, Exposure
from device.health.checks import store_check
from device.health.clock import clock_check
from device.health.endurance import Facts, endurance_checks
from device.health.light import failed_check, focus_check, light_checks, view_dark, view_lit
from device.health.optics import compare_optics, measure_baseline
from device.health.pumping import pump_check
from device.health.readiness import readiness
from device.health.surroundings import surroundings_checks
from device.health.trust import trust_checks
from device.inference.store import ModelStore
from device.messaging.payloads import Armed, Check, Health
from device.plan import Plan

__all__ = ["InstrumentPorts", "Preflight", "preflight"]


class InstrumentPorts(Protocol):
    """What a preflight acts through."""

    @property
    def camera(self) -> Camera:
        """The camera."""
        ...

    @property
    def lamp(self) -> Lamp:
        """The lamp."""
        ...

    @property
    def pump(self) -> Pump:
        """The pump."""
        ...

    @property
    def environment(self) -> Environment:
        """The sensors."""
        ...


@dataclass(frozen=True)
class Preflight:
    """What came of it."""

    checks: tuple[Check, ...]
    plan: Plan | None
    """None where the configuration allows none."""
    days: float
    """That the box is to last."""
    config_hash: str
    instrument_id: str
    calibration_id: str | None

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of what failed."""
        return tuple(check.name for check in self.checks if check.status == "failed")

    def next_wake(self) -> str | None:
        """In the schedule's zone and in UTC; None where samples follow each other."""
        if self.plan is None or not self.plan.wakes:
            return None
        wake = self.plan.wakes[0]
        return f"{wake.astimezone(ZoneInfo(self.plan.zone)):%Y-%m-%d %H:%M %Z}, {wake:%Y-%m-%dT%H:%M:%SZ}"

    def armed(self, by: str, reason: str = "") -> Armed:
        """What is kept of it."""
        return Armed(
            at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            by=by,
            days=self.days,
            config_hash=self.config_hash,
            instrument_id=self.instrument_id,
            calibration_id=self.calibration_id,
            reason=reason if self.failed else "",
            failed=self.failed,
        )

    def to_builtins(self) -> dict[str, Any]:
        """For --json and for whoever asked from afar."""
        health = msgspec.to_builtins(Health.of(self.checks))
        return {**health, "days": self.days, "failed": list(self.failed), "next_wake": self.next_wake()}


def preflight(
    config: Config,
    calibrated: Calibrations,
    store: ModelStore,
    ports: InstrumentPorts | None,
    *,
    sleep: Callable[[float], None],
    facts: Facts,
    days: float,
    clock: Clock,
    broker: Callable[[Sequence[Check]], Check],
    commissioned: CalibrationRecord | None = None,
    now: datetime | None = None,
) -> Preflight:
    """Every check; nothing is raised for what fails.

    `ports` None: they can't be had, because the box isn't ready. `broker` is given the checks before it and says whether
    messages get out; `commissioned` is the first `flat` record.
    """
    moment = now or datetime.now(UTC)
    ready = readiness(config, calibrated, store, moment)
    plan, checks = ready.plan, list(ready.checks)
    if ports is not None:
        if not any(check.status == "failed" for check in checks):
            checks += _instrument_checks(config, calibrated, ports, sleep, commissioned)
        checks += surroundings_checks(ports.environment)
    checks += [clock_check(clock, wakes_by_it=config.sampling.schedule.kind in ("cron", "sun")), store_check(config)]
    if plan is not None:
        checks += endurance_checks(config, calibrated, plan, facts, days, moment)
    checks += trust_checks(config, armed=True)
    checks.append(broker(checks))
    return Preflight(tuple(checks), plan, days, config_hash(config), calibrated.instrument.id, calibrated.id)


def _instrument_checks(
    config: Config,
    calibrated: Calibrations,
    ports: InstrumentPorts,
    sleep: Callable[[float], None],
    commissioned: CalibrationRecord | None,
) -> list[Check]:
    """Lamp, camera, pump and focus: a sample in small."""
    instrument = calibrated.instrument
    exposure = Exposure(config.camera.exposure_us, config.camera.gain, 0, config.lamp.current_ma)
    flow_ml_min = instrument.fluidics.flow_ml_min
    pumped: list[Check] = []
    try:
        ports.camera.start()
        dark, lit = (view(ports.camera, ports.lamp, exposure) for view in (view_dark, view_lit))
        seen = light_checks(dark, lit, instrument)
        if commissioned is not None:
            seen += compare_optics(measure_baseline(config, instrument, ports.camera, ports.lamp), commissioned)
        if flow_ml_min > 0:
            metered = config.pump.driver == "serial" and config.pump.meter_ml_per_pulse > 0
            pumped.append(pump_check(ports.pump, flow_ml_min, sleep, metered=metered))
        sleep(config.sampling.settle_s)
        after = view_lit(ports.camera, ports.lamp, exposure)
        lights = not any(check.status == "failed" for check in seen)
        return [*seen, *pumped, *([focus_check(lit.frame, after.frame, instrument)] if lights else [])]
    except HolonodeError as error:
        return [failed_check(error), *pumped]
