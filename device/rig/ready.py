"""Whether a box can do what it is configured for."""

from __future__ import annotations

from device.config import Config
from device.health.readiness import Readiness, readiness
from device.instrument import load_instrument
from device.rig.models import model_store
from device.rig.records import calibrations

__all__ = ["readiness_of"]


def readiness_of(config: Config, *, tests_models: bool = True) -> Readiness:
    """With the records and models of the box; InputError where there is no such instrument."""
    calibrated = calibrations(config, load_instrument(config.device.instrument))
    return readiness(config, calibrated, model_store(config), tests_models=tests_models)
