"""The TOML configuration: every key with its unit and bounds; unknown keys refused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, defstruct, field

from device.drivers.cameras.kinds import camera_kinds
from device.errors import InputError
from device.paths import anchored_path, anchored_paths, located
from device.sampling.tables import sampling_tables
from device.tomlfile import load_toml

__all__ = ["PRESET", "Config", "WebConfig", "anchored", "config_hash", "load_config", "paths_of", "public"]

PRESET = Path(__file__).parent / "presets" / "simulated-bioaerosol.toml"
"""What runs without a configuration: the simulated bioaerosol sampler."""


def _with_kinds(
    name: str, base: type[Struct], choice: str, default: str, kinds: Mapping[str, tuple[str, type[Struct] | None]]
) -> type[Struct]:
    """A table with a choice of kinds, and a table of its own for each that has settings; kinds by name: summary and settings."""
    said = "; ".join(f"{kind}: {summary}" for kind, (summary, _) in kinds.items()) + "."
    chosen = Annotated[Literal[tuple(kinds)], Meta(description=said)]
    tables = [(kind, settings, settings()) for kind, (_, settings) in kinds.items() if settings is not None]
    fields = [(choice, chosen, default), *tables]
    said = {"__doc__": base.__doc__}
    return defstruct(
        name, fields, bases=(base,), namespace=said, frozen=True, kw_only=True, forbid_unknown_fields=True, module=__name__
    )


Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]


class DeviceConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this box is."""

    id: Annotated[str, Meta(pattern="^[a-z0-9-]{1,64}$")] = "holonode-sim"
    """Unique per box: lower-case letters, digits, hyphens."""
    instrument: str = "bioaerosol-imx219-850nm"
    """A reference instrument's name or the path of an instrument file."""
    identity_folder: str = "~/.local/share/holonode/identity"
    """Of the key that `holonode identity` makes, and its certificate."""


class _CameraBase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The camera. Beside any but the simulated one, lamp, pump and environment name their drivers."""

    device: str = "/dev/video0"
    """Device file for driver = "v4l2"; the names in /dev/v4l/by-id don't change."""
    exposure_us: Annotated[float, Meta(ge=1, le=10_000_000)] = 1000.0
    """Exposure time; the background at a third of the white level leaves room for the foci of large grains."""
    gain: Annotated[float, Meta(ge=1, le=64)] = 1.0
    """Analogue gain; for driver = "v4l2" in the device's own units, where 1 leaves a device without a gain as it is."""
    timeout_s: Annotated[float, Meta(ge=0.1, le=120)] = 4.0
    """After this long without a frame (and the exposures that it takes) the camera counts as hung and is restarted."""
    replay_inputs: list[str] = []
    """Files, folders or globs for driver = "replay"."""
    replay_array: str = ""
    """Name of the hologram's array in files that hold several; empty: the one that can only be meant."""
    replay_frames_axis: Literal["auto", "first", "last", "0", "1", "2"] = "auto"
    """Axis of an array that counts its frames; auto: as its shape tells."""


if TYPE_CHECKING:

    class CameraConfig(_CameraBase, frozen=True, kw_only=True):
        """With the kind of camera, and a table for the settings of each that has some."""

        driver: str = "twin"

else:
    CameraConfig = _with_kinds(
        "CameraConfig", _CameraBase, "driver", "twin", {k.name: (k.summary, k.settings) for k in camera_kinds().values()}
    )


class ControllerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The microcontroller of lamp, pump and sensors, for every driver that is "serial"."""

    port: str = ""
    """Device file (/dev/serial/by-id/... keeps its name), a glob, or usb:VENDOR:PRODUCT[:SERIAL], e.g. usb:1a86:7523."""
    baud: Literal[57600, 115200, 250000] = 115200
    """Line speed."""
    acknowledge_timeout_s: Annotated[float, Meta(ge=0.01, le=10)] = 0.5
    """How long to wait for the controller to confirm."""


class LampConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The lamp."""

    driver: Literal["twin", "serial"] | None = None
    """serial: the controller's; twin: the simulated lamp. Left out: simulated where all of the box is."""
    current_ma: Annotated[float, Meta(ge=0, le=2000)] = 20.0
    """Current while exposing."""
    strobe_width_us: Annotated[float, Meta(ge=0, le=16_000)] = 0.0
    """Light only so long of each exposure, so that what moves stays sharp; 0: through all of it."""
    strobe_delay_us: Annotated[float, Meta(ge=20, le=16_000)] = 20.0
    """From the sensor's trigger to the light; with a rolling shutter, until every row is exposing."""


class PumpConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pump."""

    driver: Literal["twin", "serial", "none"] | None = None
    """serial: the controller's; none: there is none; twin: the simulated pump. Left out: simulated where all of the box is."""
    full_flow_ml_min: NonNegative = 0.0
    """Flow at full drive, in proportion below it; 0: the instrument's nominal flow is full drive."""
    meter_ml_per_pulse: NonNegative = 0.0
    """Of a flow meter on the controller, which then tells the volume; 0: there is none, volume is flow times time."""


class EnvironmentConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Temperature, humidity, pressure, supply."""

    driver: Literal["twin", "serial", "none"] | None = None
    """serial: the controller's sensors; none: there are none; twin: a mild day. Left out: simulated where all of the box is."""


class TwinConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The simulated instrument."""

    seed: Annotated[int, Meta(ge=0)] = 1
    """Of every random draw. A first run is as the last first run; one that goes on with a store draws anew."""
    concentration_per_m3: dict[str, NonNegative] = field(
        default_factory=lambda: {
            "birch": 300.0,
            "grass": 200.0,
            "ragweed": 200.0,
            "alternaria": 300.0,
            "cladosporium": 600.0,
            "dust": 500.0,
        }
    )
    """Particles per cubic metre of air (or per litre of liquid), by morphology."""
    analyte_per_ul: NonNegative = 0.0
    """Dose in the chamber, for mode = "assay"."""
    beads_per_ul: Annotated[float, Meta(ge=0, le=2000)] = 200.0
    """In the chamber, for mode = "assay"."""
    truth_file: str = ""
    """Where to write every simulated particle as JSON lines; empty: nowhere."""
    scattering: Literal["thin", "multislice", "lorenz-mie"] = "thin"
    """thin: projections; multislice: through every particle in slices; lorenz-mie: exact, spheres only."""
    temperature_c: Annotated[float, Meta(ge=-40, le=85)] = 25.0
    """Of the box: moves wavelength, distance, light and dark current."""
    lamp_ageing: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """Share of its first light that the lamp still gives."""
    fouling: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Share of the window that is soiled."""
    fringe_contrast: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Of fringes between the faces of the cover glass."""
    flow_um_s: NonNegative = 0.0
    """Speed of the sample while a frame is exposed (motion blur)."""
    prnu: Annotated[float, Meta(ge=0, le=0.5)] = 0.0
    """Pixel-to-pixel scatter of the response, relative."""
    hot_share: Annotated[float, Meta(ge=0, le=0.1)] = 0.0
    """Share of hot pixels."""
    dark_current_e_s: NonNegative = 0.0
    """Dark current per pixel at 25 degrees."""
    row_noise_e: NonNegative = 0.0
    """Noise that the pixels of a row share."""
    realtime: bool = True
    """False: pump and exposure take no wall time (demonstrations, tests)."""


class ScheduleConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When samples begin."""

    kind: Literal["continuous", "interval", "cron", "sun"] = "continuous"
    """continuous: one after the other; interval: every `every_s`; cron: `cron` in `zone`; sun: `sun` at a place."""
    every_s: Annotated[float, Meta(ge=1, le=31_622_400)] = 3600.0
    """For interval: from one beginning to the next, counted from the Unix epoch."""
    cron: str = ""
    """Minute, hour, day of month, month, day of week: "*/30 6-20 * * *"."""
    zone: str = "UTC"
    """Time zone of `cron` and of what is shown, e.g. "Europe/Berlin"."""
    sun: list[str] = []
    """E.g. "sunrise", "sunset-30min", "sunrise+90min"."""
    latitude_degrees: Annotated[float, Meta(ge=-90, le=90)] | None = None
    """Of the box, north positive."""
    longitude_degrees: Annotated[float, Meta(ge=-180, le=180)] | None = None
    """Of the box, east positive."""


class _SamplingBase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a sample is taken."""

    sample_volume_l: Positive = 13.0
    """Air per interval."""
    settle_s: Annotated[float, Meta(ge=0, le=600)] = 0.5
    """Wait between pump off and capture."""
    pause_s: Annotated[float, Meta(ge=0, le=86400)] = 0.0
    """Wait between intervals."""
    window_intervals: Annotated[int, Meta(ge=1, le=10000)] = 12
    """Intervals after which the window is full and advanced."""
    window_most_hidden: Annotated[float, Meta(gt=0, le=0.9)] = 0.2
    """Share of the landing particles that may fall on others: beyond it the window is full, too."""
    window_change: Literal["automatic", "person"] = "automatic"
    """automatic: the instrument advances its window; person: it asks for a clean one and goes on (`holonode window changed`)."""
    max_intervals: Annotated[int, Meta(ge=0)] = 0
    """Stop after this many; 0: go on until stopped."""
    schedule: ScheduleConfig = ScheduleConfig()


if TYPE_CHECKING:

    class SamplingConfig(_SamplingBase, frozen=True, kw_only=True):
        """With the way of sampling, and a table for the settings of each that has some."""

        mode: str = "impactor"

else:
    SamplingConfig = _with_kinds(
        "SamplingConfig",
        _SamplingBase,
        "mode",
        "impactor",
        {k.name: (k.summary, k.settings) for k in sampling_tables().values()},
    )


class AnalysisConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From hologram to particles."""

    reconstruction: Literal["hidef", "backpropagate"] = "hidef"
    """hidef: the network; backpropagate: plain refocusing."""
    reconstruction_model: str = "hidef"
    """Name of a bundle in the model store."""
    low_photon_model: str = "hidef-low-photon"
    """Name of the bundle for frames of few photons, taken where a frame's noise is that of so little light; empty: no such frame is
    told from others."""
    refine_iterations: Annotated[int, Meta(ge=0, le=20)] = 8
    """Iterations of physics on every particle the network found, some 60 ms a particle on a desktop core; they restore detail,
    depth and the consistency flag. 0: none."""
    refine_most_particles: Annotated[int, Meta(ge=0)] = 300
    """Frames with more particles are not refined: their consistency is 'not evaluated'."""
    classifier_model: str = "bioaerosol"
    """Name of a bundle in the model store; none, or empty: particles are counted, not named."""
    models: dict[str, str] = {}
    """Names of bundles for further tasks, by task."""
    min_esd_um: NonNegative = 4.0
    """Smaller particles are not reported."""
    max_esd_um: Positive = 300.0
    """Larger particles are not reported."""
    reject_below: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """A best probability under this is 'unknown'."""

    @property
    def classifier(self) -> str:
        """Name of the bundle; empty where particles are counted and not named."""
        return "" if self.classifier_model == "none" else self.classifier_model


class StorageConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where records wait until they are delivered."""

    folder: str = "~/.local/share/holonode"
    """Store folder; one service at a time."""
    min_free_mb: Annotated[float, Meta(ge=0)] = 50.0
    """Below this much free disk new records are refused and counted."""
    history_particles_mb: Annotated[float, Meta(ge=0, le=1_000_000)] = 256.0
    """Disk for the particles' few columns in the history, some 36 bytes each; the oldest days make room; 0: none are kept."""


class ReviewConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Crops kept in the store for a person to look at: `holonode review`."""

    budget_mb: Annotated[float, Meta(ge=0, le=1_000_000)] = 50.0
    """Disk for crops, some 4 kB each; the oldest unlabelled ones make room for newer; 0: none are kept."""
    random_share: Annotated[float, Meta(ge=0, le=1)] = 0.01
    """Share of all detections kept whatever the classifier says; their labels tell its accuracy in the field."""


class SiteConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the box stands, as exports tell it."""

    name: str = ""
    """E.g. "Roof of the institute"."""
    operator: str = ""
    """Who runs the box: a person or an institution."""
    latitude_degrees: Annotated[float, Meta(ge=-90, le=90)] | None = None
    """North positive, WGS 84; left out: that of sampling.schedule."""
    longitude_degrees: Annotated[float, Meta(ge=-180, le=180)] | None = None
    """East positive, WGS 84; left out: that of sampling.schedule."""
    altitude_m: Annotated[float, Meta(ge=-500, le=9000)] | None = None
    """Above sea level."""


class ExportConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What exports need to know: `holonode export`."""

    taxa: dict[str, str] = {}
    """Scientific name by label, beside those that are known: alder = "Alnus"."""


class CalibrationConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the instrument's calibration records lie."""

    folder: str = "~/.local/share/holonode/calibration"
    """Outside the program's folder, so that records survive updates."""


class MqttConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The broker."""

    url: str = ""
    """mqtt://host:port or mqtts://host:port; empty: a broker of the service's own on loopback."""
    username: str = ""
    """User name; empty: none."""
    password_file: str = ""
    """File holding the password."""
    ca_file: str = ""
    """Certificate authority for mqtts; empty: the system's."""
    cert_file: str = ""
    """This device's certificate for mqtts, with those that lead to the authority; its common name is device.id; empty: none.
    A file that is replaced is taken up without a restart."""
    key_file: str = ""
    """Its private key, readable by the service's user alone."""
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """auto: MQTT 5, falling back to 3.1.1 where the broker lacks it."""
    own_broker_port: Port = 0
    """Port of the service's own broker; 0: 1883, or the next free one."""
    keepalive_s: Annotated[int, Meta(ge=2, le=3600)] = 15
    """Keep-alive; the broker says 'offline' after one and a half of these."""


class CommandsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Commands over MQTT."""

    enabled: bool | None = None
    """Left out: only from a broker on this machine or over TLS; a broker that anybody on the network can write to commands no
    pump."""
    max_age_s: Annotated[float, Meta(ge=1, le=86_400)] = 300.0
    """A request that says it was issued longer ago, or as far ahead, is ignored and counted."""


class HomeAssistantConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether Home Assistant is told of this box (MQTT device discovery, Home Assistant 2024.12 or newer)."""

    enabled: bool = False
    """True: announced on the broker of [mqtt]; switched off again, the announcement is taken back."""
    prefix: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")] = "homeassistant"
    """Home Assistant's discovery prefix."""
    expire_after_s: Annotated[int, Meta(ge=60, le=604_800)] = 3600
    """A figure older than this is shown as unavailable; at least twice the time from one sample to the next."""


class WebConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The dashboard."""

    enabled: bool = True
    """False: none is served."""
    address: Annotated[str, Meta(pattern="^[0-9A-Fa-f.:]{2,45}$")] = "127.0.0.1"
    """Where it is served: 127.0.0.1 for this machine alone, 0.0.0.0 or an address of the network for others, then always over TLS
    and with a password."""
    port: Port = 8080
    """The next free one where it is taken; 0: any."""
    hosts: list[str] = []
    """Further names that it is asked by, e.g. "box.example.org", as a reverse proxy's; others are refused."""
    trusted_proxies: list[str] = []
    """Addresses or networks of reverse proxies whose forwarded headers count; all others' are ignored."""
    cert_file: str = ""
    """Certificate for TLS, with those that lead to its authority; empty: one that the box makes for itself."""
    key_file: str = ""
    """Its private key, readable by the service's user alone."""

    def __post_init__(self) -> None:
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("web.cert_file and web.key_file: both or neither")


class DeliveryConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a record counts as delivered, and how fast records go out."""

    confirm: Literal["broker", "collector"] = "broker"
    """broker: when the broker acknowledges it; collector: when a collector says on `ack` that it has committed it. A broker
    acknowledges what a full queue, a crash or the lack of a subscriber then loses."""
    window: Annotated[int, Meta(ge=1, le=1000)] = 20
    """Records in flight at a time: enough to hide the round trip, few enough to send again."""
    history_per_s: Annotated[float, Meta(ge=1, le=100_000)] = 200.0
    """Records a second of those that waited through an outage; live ones go first."""
    retry_s: Annotated[float, Meta(ge=1, le=3600)] = 60.0
    """A record that nobody confirms within this is sent again, and ever later while nobody confirms any."""


class UpdatesConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Signed updates: `holonode update`."""

    source: str = ""
    """Address (https://...) or folder of the owner's signed list; empty: only what --source names."""
    automatic: Literal["off", "check", "apply"] = "check"
    """Once a day, where a source is named: check looks and tells in `health` what is newer; apply takes it; off does nothing."""
    folder: str = "~/.local/share/holonode/updates"
    """What is fetched and trusted; of an installation /var/lib/holonode/updates, where root's unit looks for requests."""
    root_file: str = "/etc/holonode/update-root.json"
    """Root metadata of whose updates this box takes, put there by `holonode update trust`."""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration."""

    device: DeviceConfig = DeviceConfig()
    camera: CameraConfig = CameraConfig()
    controller: ControllerConfig = ControllerConfig()
    lamp: LampConfig = LampConfig()
    pump: PumpConfig = PumpConfig()
    environment: EnvironmentConfig = EnvironmentConfig()
    twin: TwinConfig = TwinConfig()
    sampling: SamplingConfig = SamplingConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    storage: StorageConfig = StorageConfig()
    review: ReviewConfig = ReviewConfig()
    site: SiteConfig = SiteConfig()
    export: ExportConfig = ExportConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    mqtt: MqttConfig = MqttConfig()
    commands: CommandsConfig = CommandsConfig()
    homeassistant: HomeAssistantConfig = HomeAssistantConfig()
    delivery: DeliveryConfig = DeliveryConfig()
    web: WebConfig = WebConfig()
    updates: UpdatesConfig = UpdatesConfig()


def load_config(path: str | Path | None = None) -> Config:
    """The configuration in a file, or a packaged preset by name (default: PRESET); InputError where it is wrong.

    Relative paths in a file are relative to its folder; those in a preset, which is nobody's to write beside, to the current
    one.
    """
    if path is None:
        return anchored(load_toml(PRESET, Config), Path.cwd())
    named, file = PRESET.parent / f"{path}.toml", Path(path).expanduser()
    if named.parent == PRESET.parent and named.is_file():
        return anchored(load_toml(named, Config), Path.cwd())
    if not file.exists():
        presets = " | ".join(sorted(preset.stem for preset in PRESET.parent.glob("*.toml")))
        raise InputError("there is no such configuration", where=path, expected=f"a file, or a preset by name: {presets}")
    return anchored(load_toml(file, Config), file.absolute().parent)


_PATHS = {
    "device": ("identity_folder",),
    "camera": ("device", "replay_inputs"),
    "controller": ("port",),
    "twin": ("truth_file",),
    "storage": ("folder",),
    "calibration": ("folder",),
    "mqtt": ("password_file", "ca_file", "cert_file", "key_file"),
    "web": ("cert_file", "key_file"),
    "updates": ("source", "folder", "root_file"),
}
"""Settings that name files and folders; beside these, an instrument or a model may."""
_MODELS = ("reconstruction_model", "low_photon_model", "classifier_model")


def anchored(config: Config, base: Path) -> Config:
    """The same with its relative paths relative to a folder, so that they mean the same wherever a command is run."""
    changed: dict[str, Any] = {}
    for table, names in _PATHS.items():
        settings = getattr(config, table)
        found = {name: anchored_paths(getattr(settings, name), base) for name in names}
        changed[table] = msgspec.structs.replace(settings, **found)
    # These are names unless they look like files.
    instrument = config.device.instrument
    if instrument.endswith(".toml") or (base / instrument).is_file():
        changed["device"] = msgspec.structs.replace(config.device, instrument=anchored_path(instrument, base))
    models = {name: value for name in _MODELS if (value := getattr(config.analysis, name)).endswith(".tflite")}
    found = {name: anchored_path(value, base) for name, value in models.items()}
    changed["analysis"] = msgspec.structs.replace(config.analysis, **found)
    return msgspec.structs.replace(config, **changed)


def paths_of(config: Config) -> dict[str, str]:
    """Where the settings that name files and folders lead, absolute, by dotted name; those that name nothing are left out."""
    settings = {f"{table}.{name}": getattr(getattr(config, table), name) for table, names in _PATHS.items() for name in names}
    simulated = config.camera.driver != "v4l2"
    return {
        name: ", ".join(str(located(one)) for one in ([value] if isinstance(value, str) else value))
        for name, value in settings.items()
        if value and not (name == "camera.device" and simulated) and not value[0].startswith("usb:")
    } | ({"device.instrument": str(located(config.device.instrument))} if config.device.instrument.endswith(".toml") else {})


def public(config: Config) -> dict[str, Any]:
    """The configuration as others may see it: what is secret is shown as set."""
    shown: dict[str, Any] = msgspec.to_builtins(config)
    for key in ("username", "password_file"):
        if shown["mqtt"][key]:
            shown["mqtt"][key] = "(set)"
    return shown


def config_hash(config: Config) -> str:
    """The first 16 hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(config, order="sorted")).hexdigest()[:16]
