"""The pump turned on for a moment: does anything move, and does it stop?"""

from __future__ import annotations

from collections.abc import Callable

from device.drivers.ports import Pump
from device.errors import HolonodeError
from device.messaging.payloads import Check

__all__ = ["pump_check"]

_SECONDS = 2.0
_STOPPED_S = 1.0
_LEAST, _MOST = 0.5, 2.0
"""Of the volume that flow and time make: a meter sees a pump spin up; a wrong figure of it is further off."""
_RUN_ON = 0.1
"""Of the flow: a pump that stands may still drip."""


def pump_check(pump: Pump, flow_ml_min: float, sleep: Callable[[float], None], *, metered: bool) -> Check:
    """On for two seconds, off again; off whatever happens.

    `metered`: whether the pump's volume is a flow meter's; without one it proves only that the controller obeyed.
    """
    try:
        return _judged(*_volumes_ml(pump, flow_ml_min, sleep), flow_ml_min, metered=metered)
    except HolonodeError as error:
        return Check(
            name="pump", status="failed", message=str(error), remedy=error.remedy or "Check the pump's plug and supply"
        )


def _volumes_ml(pump: Pump, flow_ml_min: float, sleep: Callable[[float], None]) -> tuple[float, float, bool]:
    """(moved while on, moved after off, whether the controller confirmed both)."""
    start_ml = pump.volume_ml()
    try:
        pump.set_flow(flow_ml_min)
        sleep(_SECONDS)
        ran = pump.state
    finally:
        off = pump.set_flow(0.0)
    on_ml = pump.volume_ml()
    sleep(_STOPPED_S)
    confirmed = ran.acknowledged and ran.flow_ml_min > 0 and off.acknowledged and off.flow_ml_min == 0
    return on_ml - start_ml, pump.volume_ml() - on_ml, confirmed


def _judged(on_ml: float, off_ml: float, confirmed: bool, flow_ml_min: float, *, metered: bool) -> Check:
    expected_ml = flow_ml_min / 60 * _SECONDS
    share = on_ml / expected_ml
    trouble, remedy = "", ""
    if not confirmed:
        trouble, remedy = "the controller didn't hold what it was told", "Check the controller's cable and supply"
    elif share < _LEAST:
        trouble, remedy = "the pump runs but too little moves", "Check tubing, filter and inlet; then the pump itself"
    elif share > _MOST:
        trouble, remedy = "more moves than can be", "Check pump.meter_ml_per_pulse and pump.full_flow_ml_min"
    elif off_ml > _RUN_ON * flow_ml_min / 60 * _STOPPED_S:
        trouble, remedy = f"it goes on after it is off: {off_ml:.3g} mL in {_STOPPED_S:g} s", "Check the pump's driver"
    proof = "by the flow meter" if metered else "by drive and time: there is no flow meter to prove it"
    return Check(
        name="pump", status="failed" if trouble else "ok", value=round(on_ml, 4), unit="mL",
        message=f"{trouble or 'moves and stops'} ({share:.0%} of what is expected in {_SECONDS:g} s, {proof})", remedy=remedy,
    )  # fmt: skip
