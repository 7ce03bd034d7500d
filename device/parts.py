"""What a box is made of, part by part: all simulated (a twin), or real with every part named.

A simulated part beside real ones is there only where the configuration asks for it by name; every record then says so, and
none of its numbers passes quality control.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from device.config import Config
from device.errors import InputError
from device.sampling.kinds import sampling_kind

__all__ = ["Parts", "parts_of"]

_SIMULATED, _ABSENT = "twin", "none"


@dataclass(frozen=True)
class Parts:
    """The driver of each part, by the configuration's words."""

    camera: str
    lamp: str
    pump: str
    environment: str

    @property
    def simulated(self) -> tuple[str, ...]:
        """Names of the simulated parts."""
        return tuple(part.name for part in fields(self) if getattr(self, part.name) == _SIMULATED)

    @property
    def real(self) -> tuple[str, ...]:
        """Names of the parts that are there and not simulated; recorded frames are no simulation."""
        return tuple(part.name for part in fields(self) if getattr(self, part.name) not in (_SIMULATED, _ABSENT))

    @property
    def mixed(self) -> bool:
        """Whether simulated parts stand beside real ones: what is measured then is neither."""
        return bool(self.simulated and self.real)


def parts_of(config: Config) -> Parts:
    """Every part's driver; InputError where a real box leaves one unnamed or has nothing to change its window with."""
    named = {"lamp": config.lamp.driver, "pump": config.pump.driver, "environment": config.environment.driver}
    given = [driver for driver in (config.camera.driver, *named.values()) if driver is not None]
    if all(driver == _SIMULATED for driver in given):
        return Parts(config.camera.driver, **dict.fromkeys(named, _SIMULATED))
    unnamed = [name for name, driver in named.items() if driver is None]
    if unnamed:
        raise InputError(
            "a real box names every part", where=", ".join(f"{name}.driver" for name in unnamed),
            expected='"serial" (the controller\'s); "none" where there is no pump or are no sensors', got="nothing",
            remedy='Name them. "twin" simulates a part beside the real ones: its records say so and never pass quality control.',
        )  # fmt: skip
    if (
        config.camera.driver != _SIMULATED
        and sampling_kind(config.sampling.mode).window != "none"
        and config.sampling.window_change == "automatic"
    ):
        raise InputError(
            "nothing on this box changes its window", where="sampling.window_change", expected='"person"', got='"automatic"',
            remedy='Set sampling.window_change = "person"; `holonode window changed` tells when it is clean.',
        )  # fmt: skip
    return Parts(config.camera.driver, **{name: driver or _ABSENT for name, driver in named.items()})
