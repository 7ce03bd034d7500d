"""How the box is: the optics' trend from every interval, and the checks of `health`."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from device.analysis.optical_health import background_figures, sharpness
from device.calibration import Calibrations, commissioning_record
from device.config import Config, config_hash
from device.drivers.ports import Environment
from device.health.armed import STATE_KEY as ARMED_KEY
from device.health.armed import armed_check, armed_of
from device.health.checks import disk_check
from device.health.clock import clock_check
from device.health.delivery import condition, link_checks
from device.health.endurance import LIT_KEY, lit_s_per_sample
from device.health.parts import parts_check
from device.health.stored import store_check
from device.health.surroundings import surroundings_checks
from device.health.trend import OpticsObservation, OpticsTrend
from device.health.trust import trust_checks
from device.instrument import Instrument
from device.messaging.link import MqttLink
from device.messaging.payloads import Check, Health
from device.parts import parts_of
from device.sampling.findings import Findings, SamplingEvent
from device.storage.outbox import Outbox

__all__ = ["HEALTH_EVERY_S", "HealthMonitor", "expiry"]

HEALTH_EVERY_S = 300.0
_EXPIRES_SOON = timedelta(days=14)
"""Time to plan a visit."""
_SHARPNESS_FRAMES = 3
"""Of an interval: what more of them tell isn't worth their time."""


class HealthMonitor:
    """Takes every interval's findings, says how the box is."""

    def __init__(
        self,
        config: Config,
        nominal: Instrument,
        calibrated: Calibrations,
        outbox: Outbox,
        environment: Environment,
        more: Callable[[], list[Check]] = list,
    ) -> None:
        """`more`: checks of what else can change."""
        self._more = more
        self._config, self._calibrated, self._outbox, self._environment = config, calibrated, outbox, environment
        self.armed = armed_of(outbox.get_state(ARMED_KEY))
        self._clock = outbox.clock
        self._lit_s = float(outbox.get_state(LIT_KEY) or 0.0)
        camera, current_ma = config.camera, config.lamp.current_ma
        # Under another exposure the background stands at another level.
        key = f"{nominal.id} {camera.exposure_us:g} us x{camera.gain:g} {current_ma:g} mA"
        self.optics = OpticsTrend(outbox.get_state, key, _commissioned(config, nominal))
        self._last_condition = ""
        self._due_s = 0.0

    def assess(self, found: Findings, at: datetime) -> tuple[list[SamplingEvent], dict[str, str]]:
        """What an interval tells of the optics: notices, and the state to keep with its records."""
        self._lit_s += lit_s_per_sample(self._config)
        state = {LIT_KEY: f"{self._lit_s:.2f}"}
        background, sensor = found.background, self._calibrated.instrument.sensor
        if background is None or background.bit_depth != sensor.bit_depth:
            return [], state
        observation = OpticsObservation(background_figures(background.pixels, sensor), background.clean, _sharpness(found))
        notices = self.optics.add(observation, at)
        return notices, state | self.optics.to_state()

    def checks(self, link: MqttLink) -> list[Check]:
        """Everything that can change while the service runs."""
        parts = parts_of(self._config)
        schedule = self._config.sampling.schedule.kind
        return [
            armed_check(self.armed, config_hash(self._config), simulated=not parts.real),
            parts_check(self._config),
            *link_checks(link.report(), self._outbox),
            *trust_checks(self._config),
            store_check(self._outbox),
            disk_check(self._config),
            clock_check(self._clock.quality(), wakes_by_it=schedule in ("cron", "sun"), simulated=not parts.real),
            expiry(self._calibrated, self._clock.now()),
            *surroundings_checks(self._environment),
            *self.optics.checks(),
            *self._more(),
        ]

    def due(self, link: MqttLink, now_s: float) -> Health | None:
        """`health`, where it is due: every five minutes, and at once where a figure of the optics drifts or is back, or the link
        or something else the service hangs on fares otherwise.
        """
        drifting = ",".join(name for name, since in self.optics.drifting().items() if since)
        more = ",".join(f"{check.name} {check.status}" for check in self._more())
        stands = f"{drifting};{more};{condition(link_checks(link.report(), self._outbox))}"
        if now_s < self._due_s and stands == self._last_condition:
            return None
        self._due_s, self._last_condition = now_s + HEALTH_EVERY_S, stands
        return Health.of(self.checks(link))


def _commissioned(config: Config, nominal: Instrument) -> dict[str, float]:
    """Figures of the `flat` record that the trend is measured from."""
    record = commissioning_record(Path(config.calibration.folder).expanduser(), nominal)
    level = None if record is None else record.values.get("background_level")
    return {} if level is None else {"level": level.value}


def _sharpness(found: Findings) -> float | None:
    """Of the first frames that have enough particles."""
    values: list[float] = []
    for frame in found.frames:
        hologram = frame.hologram
        seen = sharpness(hologram.intensity, frame.analysis.particles, hologram.geometry, hologram.noise)
        if seen is not None:
            values.append(seen.value)
        if len(values) == _SHARPNESS_FRAMES:
            break
    return statistics.median(values) if values else None


def expiry(calibrated: Calibrations, now: datetime) -> Check:
    """Records that ended while the service ran, and those that soon do."""
    faults = list(calibrated.refused)
    for record in calibrated.used:
        if record.valid_until < now:
            faults.append(f"{record.procedure} has expired")
        elif record.valid_until < now + _EXPIRES_SOON:
            faults.append(f"{record.procedure} expires on {record.valid_until:%Y-%m-%d}")
    return Check(
        name="calibration", status="warning" if faults else "ok", value=calibrated.id,
        message="; ".join(faults) if faults else f"{len(calibrated.used)} records in force",
        remedy="holonode-calibrate --help" if faults else "",
    )  # fmt: skip
