"""The parts of a box as configured."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from device.config import Config
from device.drivers.ports import Camera, Environment, Lamp, Pump
from device.errors import InputError
from device.health.demands import refuse_long_strobe
from device.instrument import Instrument
from device.parts import Parts, parts_of
from device.rig import real
from device.rig.rig import Rig, Time

if TYPE_CHECKING:
    from device.twin.world import TwinWorld

__all__ = ["build_rig"]


def build_rig(
    config: Config, instrument: Instrument, world: TwinWorld | None = None, *, run: int = 0, folder: Path | None = None
) -> Rig:
    """Everything as configured, lamp and pump off; `world` stands in for the simulated instrument's own, in its `run`.

    `folder`: of the store, where a simulated chamber outlives its run.

    InputError where a real box leaves a part unnamed. The twin is loaded only where a part of it was asked for.
    """
    parts = parts_of(config)
    rig = (
        _rig_with_twin(config, instrument, parts, world, run, folder)
        if parts.simulated
        else _real_rig(config, instrument, parts)
    )
    _set_strobe(config, rig)
    return rig


def _real_rig(config: Config, instrument: Instrument, parts: Parts) -> Rig:
    time = Time()
    with ExitStack() as undo:
        line = cache(partial(real.controller_line, config))
        lamp = real.build_lamp(line, instrument)
        undo.callback(lamp.close)
        pump = real.build_pump(config, line, instrument, time.monotonic)
        undo.callback(pump.close)
        environment = real.build_environment(config, line)
        camera = real.build_camera(config, instrument)
        undo.pop_all()
    return Rig(parts, camera, lamp, pump, environment, time)


def _rig_with_twin(
    config: Config, instrument: Instrument, parts: Parts, world: TwinWorld | None, run: int, folder: Path | None
) -> Rig:
    """Some or all of it simulated; a simulated camera sees what the real lamp and pump acknowledged."""
    from device.drivers.twin import TwinCamera, TwinEnvironment, TwinLamp, TwinPump
    from device.rig.simulated import bystander_world, twin_world

    seen = "camera" in parts.simulated
    if world is None:
        world = twin_world(config, run=run, instrument=instrument, folder=folder) if seen else bystander_world(instrument)
    camera: Camera = TwinCamera(world) if seen else real.build_camera(config, instrument)
    lamp: Lamp = TwinLamp(world)
    pump: Pump = TwinPump(world)
    environment: Environment = TwinEnvironment(world)
    with ExitStack() as undo:
        line = cache(partial(real.controller_line, config))
        if "lamp" not in parts.simulated:
            lamp = real.build_lamp(line, instrument)
            undo.callback(lamp.close)
            world.follow_lamp(partial(getattr, lamp, "state"))
        if "pump" not in parts.simulated:
            pump = real.build_pump(config, line, instrument, world.monotonic)
            undo.callback(pump.close)
            world.follow_pump(pump.volume_ml)
        if "environment" not in parts.simulated:
            environment = real.build_environment(config, line)
        undo.pop_all()
    time = Time(world.monotonic, world.sleep, simulated=seen and not config.twin.realtime)
    return Rig(parts, camera, lamp, pump, environment, time, world.advance_window if seen else None)


def _set_strobe(config: Config, rig: Rig) -> None:
    """The pulse that lights each frame; InputError where it doesn't lie within the exposure."""
    if not config.lamp.strobe_width_us:
        return
    try:
        refuse_long_strobe(config)
    except InputError:
        rig.close()
        raise
    rig.lamp.set_strobe(config.lamp.strobe_delay_us, config.lamp.strobe_width_us)
