"""Small simulated instruments for tests."""

from __future__ import annotations

import msgspec

from device.instrument import Instrument, load_instrument
from device.twin.world import SimulatedTime, TwinWorld

AIR = {"birch": 8000.0, "dust": 8000.0}


def small_instrument(side_px: int = 256) -> Instrument:
    """The bioaerosol instrument with a smaller read-out."""
    whole = load_instrument("bioaerosol-imx219-850nm")
    return msgspec.structs.replace(whole, sensor=msgspec.structs.replace(whole.sensor, width_px=side_px, height_px=side_px))


def small_world(seed: int = 1, side_px: int = 256) -> TwinWorld:
    """A simulated instrument whose time moves only when it sleeps."""
    time = SimulatedTime()
    return TwinWorld(small_instrument(side_px), AIR, seed, monotonic=time.monotonic, sleep=time.sleep)


def small_assay_instrument(side_px: int = 256) -> Instrument:
    """The biosensor's chamber with a smaller read-out."""
    whole = load_instrument("assay-chamber-ov9281-850nm")
    return msgspec.structs.replace(whole, sensor=msgspec.structs.replace(whole.sensor, width_px=side_px, height_px=side_px))
