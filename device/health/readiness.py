"""Can this box do what its configuration says? One list, asked by `doctor`, `run --dry-run`, `arm` and by `run` before it starts.

Configuration, instrument, models, calibration, mode, schedule and what is installed, each against the others; no hardware is
touched. What a person finds out at his desk must not differ from what the service finds out on the roof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from device.calibration import Calibrations
from device.config import Config
from device.drivers.cameras.kinds import camera_kind
from device.errors import CheckError, HolonodeError, InputError
from device.health import demands
from device.health.parts import parts_check
from device.health.ranges import range_checks
from device.inference.coverage import not_covered, open_for
from device.inference.store import ModelStore
from device.inference.tasks.kinds import TaskKind, refuse_unknown_tasks, task_kinds
from device.instrument import Instrument
from device.messaging.payloads import Check
from device.optics.geometry import Geometry
from device.plan import Plan, plan_of
from device.sampling.kinds import sampling_kind

__all__ = ["Readiness", "readiness", "statement"]


@dataclass(frozen=True)
class Readiness:
    """What came of it."""

    checks: tuple[Check, ...]
    plan: Plan | None
    """None where the configuration allows none."""
    errors: tuple[HolonodeError, ...]
    """Why it can't, in the order of the checks; empty where it can."""

    def require(self) -> Plan:
        """The plan; raises the first reason where the box can't carry it out."""
        if self.errors:
            first, more = self.errors[0], len(self.errors) - 1
            remedy = " ".join(filter(None, [first.remedy, f"{more} more: `holonode doctor` lists them." if more else ""]))
            raise type(first)(statement(first), remedy=remedy or None)
        if self.plan is None:
            raise InputError("the configuration allows no plan")
        return self.plan


def readiness(
    config: Config, calibrated: Calibrations, store: ModelStore, now: datetime | None = None, *, tests_models: bool = True
) -> Readiness:
    """Every demand of a configuration; nothing is raised for one that isn't met.

    Not `tests_models`: a model must be there and cover the instrument; whether it is sound is left to who goes without it.
    """
    checks: list[Check] = []
    errors: list[HolonodeError] = []
    plan: Plan | None = None
    try:
        plan = plan_of(config, calibrated, now)
    except HolonodeError as error:
        _note("plan", error, checks, errors)
    if plan is not None:
        for check in range_checks(config, calibrated.instrument, plan, now):
            checks.append(check)
            if check.status == "failed":
                errors.append(_error_of(check))
    for name, demand in _demands(config, calibrated, store, tests_models=tests_models):
        try:
            checks.append(demand())
        except HolonodeError as error:
            _note(name, error, checks, errors)
    for name, met in _plain(config, calibrated.instrument).items():
        try:
            met()
        except HolonodeError as error:
            _note(name, error, checks, errors)
    return Readiness(tuple(checks), plan, tuple(errors))


def statement(error: HolonodeError) -> str:
    """What an error says, less what to do about it."""
    return str(error).removesuffix(f" {error.remedy}") if error.remedy else str(error)


def _note(name: str, error: HolonodeError, checks: list[Check], errors: list[HolonodeError]) -> None:
    remedy = error.remedy or "Correct the configuration"
    checks.append(Check(name=name, status="failed", message=statement(error), remedy=remedy))
    errors.append(error)


def _error_of(check: Check) -> InputError:
    figure = " ".join(str(v) for v in (check.value, check.unit) if v is not None)
    return InputError(f"{check.name} {figure}: {check.message}", remedy=check.remedy or None)


def _demands(
    config: Config, calibrated: Calibrations, store: ModelStore, *, tests_models: bool
) -> Iterator[tuple[str, Callable[[], Check]]]:
    # Simulated parts beside real ones run, and every record tells of them: this fails no demand, nobody should arm such a box.
    yield "drivers", lambda: parts_check(config)
    geometry = calibrated.instrument.geometry
    for kind in task_kinds().values():
        if name := kind.chosen(config.analysis):
            yield f"model {name}", partial(_model if tests_models else _named_model, store, name, kind, geometry)
    if not config.analysis.classifier:
        yield (
            "names",
            lambda: Check(name="names", status="ok", value="none", message="counted, not named: no classifier is set"),
        )
    if "dose" in sampling_kind(config.sampling.mode).procedures:
        yield "response", lambda: _response(calibrated)


def _plain(config: Config, instrument: Instrument) -> dict[str, Callable[[], None]]:
    """Demands that are worth a line only where they aren't met."""
    return {
        "further models": lambda: refuse_unknown_tasks(config.analysis),
        "sizes": lambda: demands.refuse_sizes(config),
        "strobe": lambda: demands.refuse_long_strobe(config),
        "sampling": lambda: sampling_kind(config.sampling.mode).demand(config, instrument),
        "camera driver": lambda: camera_kind(config.camera.driver).demand(config.camera),
        "controller port": lambda: demands.refuse_missing_port(config),
        "simulated air": lambda: demands.refuse_unknown_morphologies(config),
        "broker settings": lambda: demands.refuse_missing_broker(config),
    }


def _model(store: ModelStore, name: str, kind: TaskKind, geometry: Geometry) -> Check:
    opened = open_for(store, name, kind, geometry)
    if opened.refusal and not kind.deferred:
        raise not_covered(store, opened.bundle, geometry, opened.refusal)
    if opened.refusal:
        return Check(name=f"model {name}", status="ok", value="not used", message=opened.refusal)
    return Check(
        name=f"model {name}", status="ok", value=opened.bundle.manifest.version,
        message="digest and golden self-test passed; covers the instrument",
    )  # fmt: skip


def _named_model(store: ModelStore, name: str, kind: TaskKind, geometry: Geometry) -> Check:
    try:
        bundle = store.find(name)
    except CheckError as error:
        return Check(name=f"model {name}", status="warning", message=str(error))
    if (refusal := kind.refusal(bundle.manifest, geometry)) and not kind.deferred:
        raise not_covered(store, bundle, geometry, refusal)
    return Check(name=f"model {name}", status="ok", value=bundle.manifest.version)


def _response(calibrated: Calibrations) -> Check:
    if calibrated.figures("dose"):
        return Check(name="response", status="ok", message="doses are published")
    return Check(
        name="response", status="warning", message="no response was calibrated: clumping is published, a dose isn't",
        remedy="holonode-calibrate dose",
    )  # fmt: skip
