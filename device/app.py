"""The one composition root: configuration in, drivers, pipeline and service out."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from device.analysis.pipeline import Pipeline, PipelineSettings
from device.analysis.verify import VerifySettings
from device.calibration import Calibrations, load_calibrations
from device.clock import BoxClock
from device.config import AnalysisConfig, CameraConfig, Config
from device.drivers.ports import Camera, Environment, Lamp, Pump
from device.errors import InputError
from device.frames import Exposure
from device.inference.networks import ClassifierNetwork, HidefNetwork
from device.inference.store import ModelStore
from device.instrument import Instrument, load_instrument
from device.optics.geometry import Geometry
from device.records import Models, ModelUse
from device.sampling.findings import Mode
from device.storage.outbox import Outbox

if TYPE_CHECKING:
    from device.twin.aggregation import Sample
    from device.twin.world import TwinWorld

__all__ = ["Drivers", "Time", "build_drivers", "build_mode", "build_pipeline", "calibrations", "model_store", "twin_world"]

ARTEFACTS = Path(__file__).resolve().parents[1] / "models" / "artefacts"
"""Bundles shipped beside this package; read as files, never imported."""


_ENVIRONMENT = (
    "temperature_c", "lamp_ageing", "fouling", "fringe_contrast", "flow_um_s", "prnu", "hot_share", "dark_current_e_s", "row_noise_e",
)  # fmt: skip


@dataclass(frozen=True)
class Time:
    """Clock and sleep of the service."""

    monotonic: Callable[[], float]
    sleep: Callable[[float], None]


@dataclass(frozen=True)
class Drivers:
    """What the service acts through."""

    camera: Camera
    lamp: Lamp
    pump: Pump
    environment: Environment
    time: Time
    advance_window: Callable[[], None]
    """A clean window under the impactor."""

    def close(self) -> None:
        """Everything off and released."""
        for driver in (self.pump, self.lamp, self.environment, self.camera):
            driver.close()


def model_store(config: Config) -> ModelStore:
    """The shipped bundles, and those installed and activated on this box."""
    return ModelStore(ARTEFACTS, installed=Path(config.storage.folder).expanduser() / "models")


def calibrations(config: Config, instrument: Instrument) -> Calibrations:
    """The records that hold for this instrument today, whatever their age where the clock was never set."""
    clock = BoxClock()
    dated = clock.quality().source != "none"
    return load_calibrations(Path(config.calibration.folder).expanduser(), instrument, clock.now(), dated=dated)


def build_pipeline(
    store: ModelStore,
    settings: AnalysisConfig,
    geometry: Geometry,
    *,
    strict: bool = True,
    instrument: Instrument | None = None,
) -> tuple[Pipeline, tuple[str, ...]]:
    """The pipeline for a recording geometry, and the classes it can name.

    A reconstruction model whose optics don't cover the geometry is refused. A classifier that doesn't is refused where
    `strict`, else left out: everything is then a 'particle'. The guard tolerates what the `instrument`'s calibration may be
    off by.
    """
    network: HidefNetwork | None = None
    classifier: ClassifierNetwork | None = None
    uses: dict[str, ModelUse] = {}
    if settings.reconstruction == "hidef":
        bundle, interpreter = store.open(settings.reconstruction_model)
        refusal = bundle.manifest.refusal(geometry)
        if refusal:
            raise InputError(
                "the reconstruction model doesn't cover this recording", where=bundle.model.name, got=refusal,
                remedy="Check wavelength, pitch and distance (all in micrometres), or use plain back-propagation.",
            )  # fmt: skip
        network = HidefNetwork(interpreter, bundle.manifest)
        uses["reconstruction"] = bundle.use
    if settings.classifier_model:
        bundle, interpreter = store.open(settings.classifier_model)
        refusal = bundle.manifest.refusal(geometry)
        if refusal is None:
            classifier = ClassifierNetwork(interpreter, bundle.manifest)
            uses["classifier"] = bundle.use
        elif strict:
            raise InputError("the classifier doesn't cover this instrument", where=bundle.model.name, got=refusal)
    chosen = PipelineSettings(
        settings.min_esd_um,
        settings.max_esd_um,
        settings.reject_below,
        settings.refine_iterations,
        settings.refine_most_particles,
        verification=VerifySettings(distance_uncertainty_um=_depth_uncertainty_um(instrument) if instrument else None),
    )
    labels = classifier.manifest.labels if classifier else ("particle",)
    return Pipeline(chosen, network, classifier, Models(**uses), network.ring_gain if network else None), labels


def _depth_uncertainty_um(instrument: Instrument) -> float:
    """Of a particle's distance by calibration: a hologram holds wavelength * distance / pitch^2 only."""
    wavelength = instrument.lamp.wavelength_uncertainty_um / instrument.lamp.wavelength_um
    pitch = instrument.sensor.pitch_uncertainty_um / instrument.sensor.pitch_um
    scale_um = instrument.optics.distance_um * math.hypot(wavelength, 2 * pitch)
    return math.hypot(instrument.optics.distance_uncertainty_um, scale_um)


def build_mode(
    config: Config,
    calibrated: Calibrations,
    pipeline: Pipeline,
    drivers: Drivers,
    sleep: Callable[[float], None],
    outbox: Outbox,
) -> Mode:
    """The way of sampling that is configured, over these drivers; it finds and keeps its state in the outbox.

    `sleep` may be cut short by raising.
    """
    from device.analysis.efficiency import DetectionEfficiency

    instrument = calibrated.instrument
    exposure = Exposure(config.camera.exposure_us, config.camera.gain, 0, config.lamp.current_ma)
    efficiency = DetectionEfficiency.of(calibrated.figures("counts"))
    flow_ml_min, monotonic = instrument.fluidics.flow_ml_min, drivers.time.monotonic
    ports = (drivers.camera, drivers.lamp, drivers.pump)
    if config.sampling.mode == "flow":
        from device.sampling.flow import Flow
        from device.sampling.flow_mode import FlowMode

        flow = Flow(*ports, config.sampling.flow, exposure, flow_ml_min, monotonic=monotonic, sleep=sleep)
        return FlowMode(flow, pipeline, instrument, efficiency)
    if config.sampling.mode == "assay":
        return _assay_mode(config, calibrated, pipeline, drivers, sleep, outbox)
    from device.sampling.impactor import Impactor
    from device.sampling.impactor_mode import MARKER, STATE_KEY, ImpactorMode

    impactor = Impactor(
        *ports,
        config.sampling,
        exposure,
        flow_ml_min,
        monotonic=monotonic,
        sleep=sleep,
        advance_window=drivers.advance_window if config.sampling.window_change == "automatic" else None,
    )
    return ImpactorMode(
        impactor,
        pipeline,
        instrument,
        config.sampling,
        efficiency,
        state=outbox.get_state(STATE_KEY),
        keep=outbox.keep,
        marker=outbox.folder / MARKER,
    )


def _assay_mode(
    config: Config,
    calibrated: Calibrations,
    pipeline: Pipeline,
    drivers: Drivers,
    sleep: Callable[[float], None],
    outbox: Outbox,
) -> Mode:
    """The biosensor, with the response that was calibrated for assays of this duration."""
    from device.analysis.dose_response import from_values
    from device.analysis.efficiency import DetectionEfficiency
    from device.sampling.assay import Assay
    from device.sampling.assay_mode import STATE_KEY, AssayMode
    from device.sampling.impactor_mode import MARKER

    exposure = Exposure(config.camera.exposure_us, config.camera.gain, 0, config.lamp.current_ma)
    flow_ml_min, settings = calibrated.instrument.fluidics.flow_ml_min, config.sampling.assay
    if settings.fill_ml > 0 and flow_ml_min <= 0:
        raise InputError(
            "this instrument has no flow to fill a chamber with", where="sampling.assay.fill_ml", got=f"{settings.fill_ml:g} mL",
            remedy="Set fill_ml = 0 where a person fills it, or give the instrument file its fluidics.flow_ml_min.",
        )  # fmt: skip
    assay = Assay(
        drivers.camera, drivers.lamp, drivers.pump, settings, exposure, flow_ml_min,
        monotonic=drivers.time.monotonic, sleep=sleep,
    )  # fmt: skip
    figures = calibrated.figures("dose")
    same = math.isclose(figures.get("duration_s", (settings.duration_s, 0.0))[0], settings.duration_s, rel_tol=0.01)
    return AssayMode(
        assay,
        pipeline,
        calibrated.instrument,
        config.sampling,
        DetectionEfficiency.of(calibrated.figures("counts")),
        from_values(figures) if same else None,
        state=outbox.get_state(STATE_KEY),
        keep=outbox.keep,
        folder=outbox.folder,
        fresh_chamber=drivers.advance_window if config.sampling.window_change == "automatic" else None,
        marker=outbox.folder / MARKER,
    )


def twin_world(config: Config, *, seed: int | None = None, instrument: Instrument | None = None) -> TwinWorld:
    """The simulated instrument of a configuration."""
    from device.twin.environment import Environment
    from device.twin.morphology import MORPHOLOGIES
    from device.twin.world import SimulatedTime, TwinWorld

    unknown = sorted(set(config.twin.concentration_per_m3) - set(MORPHOLOGIES))
    if unknown:
        raise InputError(
            "unknown morphology", where="twin.concentration_per_m3", expected=" | ".join(sorted(MORPHOLOGIES)), got=unknown[0]
        )
    truth = Path(config.twin.truth_file).expanduser() if config.twin.truth_file else None
    world = TwinWorld(
        instrument=instrument or load_instrument(config.device.instrument),
        concentration_per_m3=config.twin.concentration_per_m3,
        seed=config.twin.seed if seed is None else seed,
        truth_file=truth,
        environment=Environment(**{name: getattr(config.twin, name) for name in _ENVIRONMENT}),
        model=config.twin.scattering,
        sample=_sample(config) if config.sampling.mode == "assay" else None,
    )
    if not config.twin.realtime:
        simulated = SimulatedTime()
        world.monotonic, world.sleep = simulated.monotonic, simulated.sleep
    return world


def _sample(config: Config) -> Sample:
    """What fills the simulated chamber."""
    from device.twin.aggregation import Sample

    return Sample(analyte_per_ul=config.twin.analyte_per_ul, beads_per_ul=config.twin.beads_per_ul)


def _supervised_camera(settings: CameraConfig, instrument: Instrument) -> Camera:
    """A real camera, watched."""
    from device.drivers.picamera2_camera import Picamera2Camera
    from device.drivers.supervised_camera import SupervisedCamera
    from device.drivers.v4l2_camera import V4l2Camera

    def build() -> Camera:
        if settings.driver == "picamera2":
            return Picamera2Camera(instrument.sensor, timeout_s=settings.timeout_s)
        return V4l2Camera(instrument.sensor, settings.device, timeout_s=settings.timeout_s)

    return SupervisedCamera(build, timeout_s=settings.timeout_s)


def build_drivers(config: Config, instrument: Instrument, world: TwinWorld | None = None) -> Drivers:
    """Everything as configured, lamp and pump off; `world` stands in for the simulated instrument's own."""
    from device.drivers.twin import TwinCamera

    if world is None:
        world = twin_world(config, instrument=instrument)
    camera: Camera = TwinCamera(world)
    if config.camera.driver in ("picamera2", "v4l2"):
        camera = _supervised_camera(config.camera, instrument)
    elif config.camera.driver == "replay":
        from device.drivers.replay import ReplayCamera

        camera = ReplayCamera(list(config.camera.replay_inputs))
    lamp, pump, environment = _actuators(config, instrument, world)
    _set_strobe(config, lamp)
    return Drivers(camera, lamp, pump, environment, Time(world.monotonic, world.sleep), world.advance_window)


def _set_strobe(config: Config, lamp: Lamp) -> None:
    """The pulse that lights each frame; InputError where it doesn't lie within the exposure."""
    delay_us, width_us = config.lamp.strobe_delay_us, config.lamp.strobe_width_us
    if not width_us:
        return
    if delay_us + width_us > config.camera.exposure_us:
        lamp.close()
        raise InputError(
            "the strobe outlasts the exposure", where="lamp.strobe_width_us",
            expected=f"delay and width of at most {config.camera.exposure_us:g} us together",
            got=f"{delay_us:g} + {width_us:g} us", remedy="Shorten the strobe, or raise camera.exposure_us.",
        )  # fmt: skip
    lamp.set_strobe(delay_us, width_us)


def _actuators(config: Config, instrument: Instrument, world: TwinWorld) -> tuple[Lamp, Pump, Environment]:
    """Those that are "serial" on one line; the simulated camera sees what the real lamp and pump acknowledged."""
    from device.drivers.twin import TwinEnvironment, TwinLamp, TwinPump

    lamp: Lamp = TwinLamp(world)
    pump: Pump = TwinPump(world)
    environment: Environment = TwinEnvironment(world)
    if "serial" not in (config.lamp.driver, config.pump.driver, config.environment.driver):
        return lamp, pump, environment
    from device.drivers.serial_lamp import SerialLamp
    from device.drivers.serial_line import SerialLine
    from device.drivers.serial_pump import SerialPump
    from device.drivers.serial_sensors import SerialEnvironment

    controller = config.controller
    line = SerialLine(controller.port, baud=controller.baud, timeout_s=controller.acknowledge_timeout_s)
    with ExitStack() as undo:
        if config.lamp.driver == "serial":
            lamp = SerialLamp(line, max_current_ma=instrument.lamp.max_current_ma)
            undo.callback(lamp.close)
            world.follow_lamp(partial(getattr, lamp, "state"))
        if config.pump.driver == "serial":
            pump = SerialPump(
                line,
                full_flow_ml_min=config.pump.full_flow_ml_min or instrument.fluidics.flow_ml_min,
                meter_ml_per_pulse=config.pump.meter_ml_per_pulse,
                monotonic=world.monotonic,
            )
            world.follow_pump(pump.volume_ml)
        if config.environment.driver == "serial":
            environment = SerialEnvironment(line)
        undo.pop_all()
    return lamp, pump, environment
