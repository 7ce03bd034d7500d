"""The simulated instrument: what lamp, pump and camera act on.

Particles arrive with what the pump moves (Poisson, at the concentrations set). In a sampler of air they settle on the window at
their own depths and stay there until it is advanced; in a flow cytometer the water carries them through the field of view; in an
assay's chamber beads clump.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from device.duct_flow import duct_of
from device.frames import Exposure, LampState
from device.instrument import Instrument
from device.optics import fft
from device.optics.propagation import asm_transfer_function
from device.optics.pupil import Pupil
from device.twin.aggregation import BeadSuspension
from device.twin.chamber import Chamber
from device.twin.chamber_history import ChamberHistory
from device.twin.channel import Channel
from device.twin.environment import OperatingConditions
from device.twin.forward import Model, scattered_wave
from device.twin.illumination import Illumination
from device.twin.mie_scattering import SPHERES
from device.twin.scene import SimulatedParticle, draw_particles
from device.twin.sensor import SensorModel

__all__ = ["SimulatedTime", "TwinWorld"]


class SimulatedTime:
    """A clock that moves only when somebody sleeps: a day of sampling in minutes."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def monotonic(self) -> float:
        """Seconds since the start of the simulation."""
        return self._now_s

    def sleep(self, seconds: float) -> None:
        """Advance the clock."""
        self._now_s += max(seconds, 0.0)


@dataclass
class TwinWorld:
    """One simulated instrument in simulated air."""

    instrument: Instrument
    concentration_per_m3: Mapping[str, float]
    """Particles per cubic metre of air, or per litre of liquid, by morphology."""
    seed: int = 1
    run: int = 0
    """Which run of this instrument it is, by any number that grows: the sensor stays, what comes and the noise are drawn anew."""
    truth_file: Path | None = None
    """Every particle that lands, or of every frame every one that flows through it, as JSON lines."""
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    lamp: LampState = field(default_factory=lambda: LampState(0, 0.0, acknowledged=True))
    """The lamp's true state."""
    lamp_ageing: float = 1.0
    """Share of its first light that the lamp still gives."""
    environment: OperatingConditions = field(default_factory=OperatingConditions)
    """Heat, fouling, wear; `change` moves it while the instrument runs."""
    model: Model = "thin"
    """How particles scatter."""
    sample: BeadSuspension | None = None
    """Beads and dose in the chamber of an assay; None where the instrument is none."""
    chamber_file: Path | None = None
    """Where the chamber's history is kept, from which a later run finds it filled; None: nowhere."""
    pupil: Pupil | None = None
    """Aberrations of a lens, a window or a cover slip; None: there are none."""
    deposits: list[SimulatedParticle] = field(default_factory=list)
    """What lies on the window."""
    frames_taken: int = 0
    strobes: int = 0
    """Frames that a strobe lit."""

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._sensor = SensorModel.draw(self.instrument.sensor, self._rng, wear=self.environment)
        if self.run:
            self._rng = np.random.default_rng([self.seed, 0, self.run])
        self._shade = self.environment.shade(self._shape, np.random.default_rng([self.seed, 1]))
        self._wave = np.zeros(self._shape, np.complex64)
        self._flow_ml_min = 0.0
        self._pumping_since_s = 0.0
        self._moved_ml = 0.0
        self._other_lamp: Callable[[], LampState] | None = None
        self._other_volume_ml: Callable[[], float] | None = None
        self._channel: Channel | None = None
        self._chamber: Chamber | None = None
        self._chambers = 0
        self._history: ChamberHistory | None = None
        self._rocked_until_s = 0.0
        if self.sample is not None and (history := ChamberHistory.read(self.chamber_file)) is not None:
            self._chamber = self._filled(self.sample, history)
            for seconds in history.rocked_s:
                self._chamber.advance(seconds)
            self._history, self._rocked_until_s = history, self.monotonic() - history.missed_s

    @property
    def _shape(self) -> tuple[int, int]:
        return self.instrument.sensor.height_px, self.instrument.sensor.width_px

    @property
    def _light(self) -> Illumination:
        lamp, medium = self.instrument.lamp, self.instrument.optics.medium_index
        return Illumination(
            wavelength_um=(lamp.wavelength_um + self.environment.wavelength_drift_um) / medium,
            bandwidth_um=lamp.bandwidth_um / medium,
            source_diameter_um=lamp.source_diameter_um,
            source_distance_um=lamp.source_distance_um or 1e9,
        )

    def set_flow(self, flow_ml_min: float) -> None:
        """Let the air move; what it carried until now lands."""
        self._account()
        self._flow_ml_min = flow_ml_min

    def volume_ml(self) -> float:
        """Air moved so far."""
        self._account()
        return self._moved_ml

    def _account(self) -> None:
        now = self.monotonic()
        moved_ml = self._flow_ml_min * (now - self._pumping_since_s) / 60
        if self._other_volume_ml is not None:
            moved_ml = self._other_volume_ml() - self._moved_ml
        self._pumping_since_s = now
        if moved_ml > 0:
            self._moved_ml += moved_ml
            self._carry(moved_ml)

    def _carry(self, moved_ml: float) -> None:
        """What a volume brings: onto the window, through the channel, which the first of it fills, or into the chamber."""
        if self.sample is not None:
            self._fill(self.sample)
            return
        if self.instrument.fluidics.kind != "flow":
            self._land(moved_ml * 1e-6 * self.instrument.fluidics.collection_fraction)
            return
        channel = self._channel or self.fill_channel({label: n / 1000 for label, n in self.concentration_per_m3.items()})
        channel.advance(moved_ml)

    def fill_channel(
        self, per_ml: Mapping[str, float], body: Callable[[np.random.Generator], SimulatedParticle] | None = None
    ) -> Channel:
        """Put a liquid in front of the sensor, with particles per millilitre by morphology; `body` draws all of them alike."""
        pitch_um, distance_um = self.instrument.sensor.pitch_um, self.instrument.optics.distance_um
        field_um = (self._shape[0] * pitch_um, self._shape[1] * pitch_um)
        rng = np.random.default_rng([self.seed, 2, self.run])
        self._channel = Channel(duct_of(self.instrument), field_um, distance_um, pitch_um, per_ml, rng, body)
        return self._channel

    def _fill(self, sample: BeadSuspension) -> None:
        """A sample in the chamber; what comes after the first of it is like it."""
        if self._chamber is not None:
            return
        self._chambers += 1
        self._rocked_until_s = self.monotonic()
        history = ChamberHistory(chamber=self._chambers, run=self.run, at_s=time.time())
        self._chamber = self._filled(sample, history)
        self._keep(history)

    def _filled(self, sample: BeadSuspension, history: ChamberHistory) -> Chamber:
        optics, pitch_um = self.instrument.optics, self.instrument.sensor.pitch_um
        return Chamber(
            sample,
            (self._shape[0] * pitch_um, self._shape[1] * pitch_um),
            self.instrument.fluidics.channel_height_um,
            optics.distance_um,
            pitch_um,
            np.random.default_rng([self.seed, 3, history.chamber, history.run]),
            {label: value * 1e-6 for label, value in self.concentration_per_m3.items()},
        )

    def _keep(self, history: ChamberHistory) -> None:
        self._history = history
        if self.chamber_file is not None:
            history.write(self.chamber_file)

    def _clumping(self) -> NDArray[np.complex64] | float:
        """The wave of the chamber's beads at this moment; their truth is written for this frame."""
        if self._chamber is None:
            return 0.0
        now_s = self.monotonic()
        rocked_s = now_s - self._rocked_until_s
        self._chamber.advance(rocked_s)
        self._rocked_until_s = now_s
        if self._history is not None:
            self._keep(structs.replace(self._history, rocked_s=(*self._history.rocked_s, rocked_s), at_s=time.time()))
        if self.truth_file is not None:
            with self.truth_file.open("a", encoding="utf-8") as lines:
                for beads, x_um, y_um in self._chamber.in_field():
                    truth = {"frame": self.frames_taken - 1, "label": "clump", "beads": beads, "x_um": x_um, "y_um": y_um}
                    lines.write(json.dumps(truth) + "\n")
        wave = self._scattered(self._chamber.bodies(self.model))
        # Only spheres have an exact wave.
        return wave if self.model != "lorenz-mie" else wave + self._scattered(self._chamber.debris(), "multislice")

    def _flowing(self) -> NDArray[np.complex64] | float:
        """The wave of what is in the channel at this moment; its truth is written for this frame."""
        if self._channel is None:
            return 0.0
        bodies = self._channel.in_reach()
        if self.truth_file is not None:
            with self.truth_file.open("a", encoding="utf-8") as lines:
                for number, particle in bodies:
                    if self._in_field(particle):
                        truth = {"frame": self.frames_taken - 1, "particle": number, **particle.truth()}
                        lines.write(json.dumps(truth) + "\n")
        return self._scattered([particle for _, particle in bodies])

    def _in_field(self, particle: SimulatedParticle) -> bool:
        pitch_um = self.instrument.sensor.pitch_um
        return 0 <= particle.x_um < self._shape[1] * pitch_um and 0 <= particle.y_um < self._shape[0] * pitch_um

    def _land(self, volume_m3: float) -> None:
        """Poisson arrivals from a volume of air."""
        self._land_expected({label: value * volume_m3 for label, value in self.concentration_per_m3.items()})

    def _land_expected(self, expected: Mapping[str, float]) -> None:
        optics, pitch_um = self.instrument.optics, self.instrument.sensor.pitch_um
        arrivals = draw_particles(
            self._rng,
            expected,
            field_um=(self._shape[0] * pitch_um, self._shape[1] * pitch_um),
            depth_um=(optics.distance_um - optics.depth_um, optics.distance_um + optics.depth_um),
            voxel_um=pitch_um,
        )
        self.deposit(arrivals)

    def deposit(self, particles: list[SimulatedParticle]) -> None:
        """Put particles on the window."""
        self._wave += self._scattered(particles)
        self.deposits.extend(particles)
        if self.truth_file is not None:
            with self.truth_file.open("a", encoding="utf-8") as lines:
                for particle in particles:
                    lines.write(json.dumps({"frame": self.frames_taken, **particle.truth()}) + "\n")

    def _scattered(self, particles: list[SimulatedParticle], model: Model | None = None) -> NDArray[np.complex64]:
        drift_um = self.environment.distance_drift_um
        moved = [replace(p, z_um=p.z_um + drift_um) for p in particles] if drift_um else particles
        if self.instrument.fluidics.kind != "flow":
            return scattered_wave(self._shape, self.instrument.sensor.pitch_um, moved, self._light, model or self.model)
        # In water a bubble or a bead is far from thin: spheres by their exact wave, whatever the others are drawn with.
        spheres = [p for p in moved if p.label in SPHERES]
        others = [p for p in moved if p.label not in SPHERES]
        exact = scattered_wave(self._shape, self.instrument.sensor.pitch_um, spheres, self._light, "lorenz-mie")
        return exact + scattered_wave(self._shape, self.instrument.sensor.pitch_um, others, self._light, self.model)

    def change(self, **changes: float) -> None:
        """Let the environment change by name (`temperature_c=40`); what lies on the window is seen anew."""
        self.environment = replace(self.environment, **changes)
        self._shade = self.environment.shade(self._shape, np.random.default_rng([self.seed, 1]))
        self._wave[:] = self._scattered(self.deposits) if self.deposits else 0

    def show(self, transmission: NDArray[np.complexfloating]) -> None:
        """Put something else than particles in the object plane: a complex transmission [height, width], a test target."""
        transfer = asm_transfer_function(
            self._shape, self.instrument.sensor.pitch_um, self._light.wavelength_um, self.instrument.optics.distance_um
        )
        self.advance_window()
        self._wave += fft.ifft2(fft.fft2(transmission.astype(np.complex64)) * transfer) - np.complex64(1)

    def photodiode_v(self) -> float:
        """At the amplifier of a photodiode beside the lamp: 0.1 V a milliampere when new; dark between the pulses of a strobe."""
        steady_ma = self.lamp.current_ma if self.lamp.is_on and self.lamp.strobe_width_us == 0 else 0.0
        return 0.1 * steady_ma * self.lamp_ageing * self.environment.lamp_output

    def follow_lamp(self, state: Callable[[], LampState]) -> None:
        """Let another lamp than the simulated one shine: `state` tells what it acknowledged last."""
        self._other_lamp = state

    def follow_pump(self, volume_ml: Callable[[], float]) -> None:
        """Let another pump than the simulated one move the air: `volume_ml` tells how much since its start."""
        self._other_volume_ml = volume_ml

    def advance_window(self) -> None:
        """A clean window under the impactor; a fresh, empty chamber."""
        self._chamber = self._history = None
        if self.chamber_file is not None:
            self.chamber_file.unlink(missing_ok=True)
        self.deposits.clear()
        self._wave[:] = 0

    def _surroundings(self) -> OperatingConditions:
        """The environment, with the speed that the pump gives to what flows."""
        if self._channel is None or self._flow_ml_min == 0:
            return self.environment
        return replace(self.environment, flow_um_s=self._channel.duct.mean_travel_um(self._flow_ml_min / 60))

    def expose(self, exposure: Exposure) -> NDArray[np.uint16]:
        """One frame, uint16 [height, width], under the lamp's true state."""
        self._account()
        self.frames_taken += 1
        around = self._surroundings()
        wave = self._wave + self._flowing() + self._clumping()
        if self.pupil is not None:
            wave = fft.ifft2(fft.fft2(wave) * self.pupil.transfer(self._shape, self.instrument.sensor.pitch_um))
        intensity = (np.abs(1 + wave) ** 2).astype(np.float32) * self._shade
        lamp = self._other_lamp() if self._other_lamp else self.lamp
        intensity = around.moved(intensity, self.instrument.sensor.pitch_um, lamp.lit_us(exposure.exposure_us))
        self.strobes += int(lamp.is_on and lamp.strobe_width_us > 0)
        light = self.lamp_ageing * around.light_left
        return self._sensor.expose(intensity, exposure, lamp, self._rng, light, around.temperature_c)

    def frames_with_truth(
        self, count: int, per_field: tuple[float, float], exposure: Exposure
    ) -> Iterator[tuple[NDArray[np.uint16], list[SimulatedParticle]]]:
        """A frame of the clean window, then `count` frames of fresh windows, each with what lies on it.

        The expected number of particles is drawn log-uniformly from `per_field`, in the proportions of the air.
        """
        self.lamp = LampState(0, exposure.lamp_current_ma, acknowledged=True)
        self.advance_window()
        yield self.expose(exposure), []
        total = sum(self.concentration_per_m3.values())
        for _ in range(count):
            self.advance_window()
            expected = float(np.exp(self._rng.uniform(*np.log(per_field))))
            self._land_expected({k: v / total * expected for k, v in self.concentration_per_m3.items()})
            yield self.expose(exposure), list(self.deposits)
