"""How long each stage of the service may take, as configured, and what a service manager's watchdog is set to by that.

A stage that takes longer hangs: the service no longer feeds the watchdog and triggers it. One that computes hangs as soon as its
thread gets on no more; what it may take is then a bound for a computation that comes to no end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from device.config import Config
from device.drivers.cameras.kinds import camera_kind

__all__ = ["FEED_EVERY_S", "WATCHDOG_S", "Allowances", "allowances_of"]

FEED_EVERY_S = 2.0
"""A stage is found hanging within this."""
WATCHDOG_S = 20
"""Of WatchdogSec: the service is fed while a stage works, however long that takes, so this bounds only how late the thread that
feeds may come on a box that is busy with something else."""

_SLOW_BOX = 10.0
"""Times that the smallest boards take over a desktop core."""
_FRAME_S = 6.0
"""On a desktop core, to reconstruct and segment the largest frames."""
_PARTICLE_ITERATION_S = 0.0075
"""On a desktop core, to refine one particle once."""
_RENDER_S = 120.0
"""Of a simulated frame."""
_DISK_S = 60.0
"""A worn card that tidies itself up, and a large store's housekeeping."""
_CAMERA_RESTART_S = 15.0
"""Closing, opening, and waiting for the first frame's controls: see the supervised camera."""
_STILL_S = 10.0
"""A box ten times slower, with nine others at its processor, still gives a thread a tenth of a second meanwhile."""
_LINK_STILL_S = 15.0
"""Its turns wait for nothing on the network."""
_MODELS_S = 7200.0
"""A machine a hundred times slower than a desktop takes two minutes; one that hangs is ended by the test's own limits long before."""
_PIPELINE_EXPOSURES = 10
_EXCHANGES = 40
"""With the controller between two frames, each tried three times."""


@dataclass(frozen=True)
class Allowances:
    """Longest legitimate steps, in seconds."""

    start_s: float
    """Of one part of the start: a store that is recovered, a broker."""
    models_s: float
    """Of models tested in processes of their own, which are limited by what they compute, not by the clock."""
    camera_s: float
    """To a frame, or to the news that there is none: one restart included."""
    camera_still_s: float
    """Without any processor time; infinite for a camera that is waited for."""
    analysis_s: float
    """Of one frame."""
    analysis_still_s: float
    """Without any processor time."""
    store_s: float
    """Of one commit."""
    store_still_s: float
    """Without any processor time, and no thread of the service waits for a disk."""
    between_s: float
    """Between those: lamp, pump, figures of an interval."""
    link_s: float
    """Of one turn of the link's thread, which waits for the store."""
    link_still_s: float
    """Of one turn while no thread of the service waits for a disk."""
    preflight_s: float
    """Between two frames of one."""


def allowances_of(config: Config) -> Allowances:
    """What a configuration's steps may take."""
    camera, analysis = config.camera, config.analysis
    frame_s = camera.timeout_s + 0.5 + _PIPELINE_EXPOSURES * camera.exposure_us * 1e-6
    computed = camera_kind(camera.driver).computed
    refined_s = analysis.refine_most_particles * analysis.refine_iterations * _PARTICLE_ITERATION_S
    between_s = 30.0 + _EXCHANGES * 3 * config.controller.acknowledge_timeout_s
    return Allowances(
        start_s=600.0,
        models_s=_MODELS_S,
        camera_s=_RENDER_S + frame_s if computed else 2 * frame_s + _CAMERA_RESTART_S,
        camera_still_s=_STILL_S if computed else math.inf,
        analysis_still_s=_STILL_S,
        analysis_s=_SLOW_BOX * (_FRAME_S + refined_s),
        store_s=_DISK_S,
        store_still_s=_STILL_S,
        between_s=between_s,
        link_s=2 * _DISK_S,
        link_still_s=_LINK_STILL_S,
        preflight_s=between_s + 300.0,
    )
