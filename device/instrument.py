"""What this instrument is: sensor, lamp, geometry, fluidics, each with uncertainty; and its content id."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from device.errors import InputError
from device.optics.coherence import Coherence
from device.optics.geometry import Geometry
from device.optics.pupil import Pupil
from device.tomlfile import load_toml

__all__ = ["Fluidics", "Instrument", "LampSpec", "OpticsSpec", "SensorSpec", "load_instrument"]

REFERENCE_FOLDER = Path(__file__).resolve().parents[1] / "calibration" / "instruments"
"""Reference instruments, shipped beside this package; read as files, never imported."""

PositiveUm = Annotated[float, Meta(gt=0, le=1e6)]
NonNegative = Annotated[float, Meta(ge=0)]


class SensorSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The image sensor, as it is read out."""

    model: str
    """Sensor type, e.g. IMX219."""
    width_px: Annotated[int, Meta(ge=16, le=16384)]
    """Columns read out."""
    height_px: Annotated[int, Meta(ge=16, le=16384)]
    """Rows read out."""
    pitch_um: Annotated[float, Meta(ge=0.1, le=100)]
    """Pixel pitch."""
    pitch_uncertainty_um: NonNegative = 0.0
    """One standard deviation of pitch_um."""
    bit_depth: Literal[8, 10, 12, 16] = 10
    """Bits of the raw read-out."""
    full_well_e: Annotated[float, Meta(gt=0)] = 4700.0
    """Electrons at saturation."""
    read_noise_e: NonNegative = 3.0
    """Read noise in electrons, one standard deviation."""
    dark_level_counts: NonNegative = 64.0
    """Pedestal in counts of bit_depth."""
    bayer: Literal["none", "BGGR", "RGGB", "GRBG", "GBRG"] = "none"
    """Colour filter array; transparent alike at 850 nm."""


class LampSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The light source."""

    wavelength_um: Annotated[float, Meta(ge=0.1, le=20)]
    """Centre wavelength in vacuum."""
    wavelength_uncertainty_um: NonNegative = 0.0
    """One standard deviation of wavelength_um."""
    bandwidth_um: NonNegative = 0.0
    """Full width at half maximum of the spectrum."""
    source_diameter_um: NonNegative = 0.0
    """Diameter of the emitting area or pinhole."""
    source_distance_um: PositiveUm | None = None
    """Source to sensor; needed for the blur of an extended source."""
    diverging: bool = False
    """True where the magnification of the diverging wave matters (point-source geometry)."""
    max_current_ma: Annotated[float, Meta(gt=0, le=2000)] = 50.0
    """The most the driver may send."""
    rated_life_h: Annotated[float, Meta(gt=0)] | None = None
    """Hours of light after which it is worn, as the maker says; None: not known."""


class OpticsSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the particles are."""

    distance_um: PositiveUm
    """Nominal object plane to sensor."""
    distance_uncertainty_um: NonNegative = 0.0
    """One standard deviation of distance_um."""
    depth_um: NonNegative = 100.0
    """Half range of the particles' depths around distance_um."""
    magnification: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    """Of a lens between object and sensor; 1 without one."""
    medium_index: Annotated[float, Meta(ge=1, le=2)] = 1.0
    """Refractive index between object and sensor."""
    aberrations_rad: tuple[float, ...] = ()
    """Measured aberrations, as device.optics.pupil names them; none: not known to have any."""
    pupil_radius_per_um: NonNegative = 0.0
    """Radius of the disc that they are stated over, in cycles per micrometre at the object."""

    @property
    def pupil(self) -> Pupil | None:
        """The aberrations."""
        return Pupil(self.aberrations_rad, self.pupil_radius_per_um) if self.aberrations_rad else None


class Fluidics(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the sample reaches the field of view."""

    kind: Literal["impactor", "flow", "static"]
    """impactor: air onto a sticky window; flow: liquid through a channel; static: a window that is looked at."""
    flow_ml_min: NonNegative = 0.0
    """Nominal volume flow."""
    flow_relative_uncertainty: Annotated[float, Meta(ge=0, le=1)] = 0.05
    """One standard deviation of the flow, relative."""
    collection_fraction: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """Share of the sampled particles that land in the field of view."""
    channel_height_um: NonNegative = 0.0
    """Depth of the channel along the optical axis (flow)."""
    channel_width_um: NonNegative = 0.0
    """Width of the channel across the flow, along the rows; 0: as wide as the field of view."""


class Instrument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One instrument, as a file describes it."""

    name: str
    """Short name, e.g. bioaerosol-imx219-850nm."""
    sensor: SensorSpec
    lamp: LampSpec
    optics: OpticsSpec
    fluidics: Fluidics

    @property
    def geometry(self) -> Geometry:
        """The nominal recording geometry."""
        return Geometry(
            wavelength_um=self.lamp.wavelength_um,
            pitch_um=self.sensor.pitch_um,
            distance_um=self.optics.distance_um,
            magnification=self.optics.magnification,
            source_distance_um=self.lamp.source_distance_um if self.lamp.diverging else None,
            medium_index=self.optics.medium_index,
            coherence=Coherence(self.lamp.bandwidth_um, self.lamp.source_diameter_um, self.lamp.source_distance_um),
            pupil=self.optics.pupil,
        )

    @property
    def id(self) -> str:
        """Content id: the first 16 hex digits of the SHA-256 of the canonical JSON.

        Aberrations, a channel's width and a lamp's life count where they are given, so that an instrument file without them
        keeps the id it had before there were.
        """
        tree = msgspec.to_builtins(self)
        if not self.optics.aberrations_rad:
            for key in ("aberrations_rad", "pupil_radius_per_um"):
                del tree["optics"][key]
        if not self.fluidics.channel_width_um:
            del tree["fluidics"]["channel_width_um"]
        if self.lamp.rated_life_h is None:
            del tree["lamp"]["rated_life_h"]
        return hashlib.sha256(msgspec.json.encode(tree, order="sorted")).hexdigest()[:16]


def load_instrument(name: str) -> Instrument:
    """A reference instrument by name, or an instrument file by path; InputError where there is none or it is wrong."""
    given = Path(name).expanduser()
    if given.suffix == ".toml" or given.is_file():
        return load_toml(given, Instrument)
    path = REFERENCE_FOLDER / f"{name}.toml"
    if not path.is_file():
        known = sorted(p.stem for p in REFERENCE_FOLDER.glob("*.toml"))
        raise InputError("no such instrument", expected="a file, or one of " + ", ".join(known), got=name)
    return load_toml(path, Instrument)
