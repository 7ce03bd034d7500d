"""The controllers that the serial drivers are tested on."""

from __future__ import annotations

from tests.controller import Controller
from tests.firmware import Firmware

CONTROLLERS = {"pseudo-controller": Controller, "firmware": Firmware}
STEP_MA = 0.25
"""An 8-bit PWM's current may be off by this."""
