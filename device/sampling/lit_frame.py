"""A frame under light that is known."""

from __future__ import annotations

from device.drivers.ports import Camera, Lamp
from device.errors import HardwareError
from device.frames import Exposure, LampState, RawFrame

__all__ = ["captured", "light_on", "lit_frame"]


def light_on(lamp: Lamp, exposure: Exposure) -> LampState:
    """The lamp at its current, acknowledged."""
    return lamp.set_current(exposure.lamp_current_ma, exposure.lamp_channel)


def lit_frame(camera: Camera, lamp: Lamp, exposure: Exposure) -> RawFrame | None:
    """A frame under light that was acknowledged before it and is still the same after it; off outside of it.

    None where a recorded camera has no more; HardwareError where the lamp's state isn't known.
    """
    lit = light_on(lamp, exposure)
    try:
        return captured(camera, lamp, exposure, lit)
    finally:
        lamp.off()


def captured(camera: Camera, lamp: Lamp, exposure: Exposure, lit: LampState) -> RawFrame | None:
    """A frame under a light that stays on."""
    frame = camera.capture(exposure, lit)
    held = lamp.state
    if frame is not None and not (lit.is_on and held.is_on and _light_of(held) == _light_of(lit)):
        raise HardwareError(
            "the lamp's state during the frame isn't known", expected=f"{lit.current_ma:g} mA, acknowledged",
            got=f"{held.current_ma:g} mA, {'acknowledged' if held.acknowledged else 'not acknowledged'}",
            remedy="The frame was not used. Check the lamp controller's cable and supply.",
        )  # fmt: skip
    return frame


def _light_of(state: LampState) -> tuple[float, float, float]:
    return state.current_ma, state.strobe_delay_us, state.strobe_width_us
