"""The manifest beside every model file: what it is, what it takes, what it covers."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal

from msgspec import Meta, Struct

from device.optics.geometry import Geometry

__all__ = ["Golden", "Manifest", "OpticsRange", "Provenance", "SecondLook", "Tensor", "WeakLens"]

Range = tuple[float, float]


class Tensor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An input or output of the network."""

    shape: tuple[int, ...]
    """Axes with the batch as 1."""
    dtype: Literal["int8", "uint8", "float32"]
    """Stored type."""
    scale: float
    """Quantisation step; 0 for float32."""
    zero_point: int
    """Quantised value that stands for 0."""
    channels: tuple[str, ...]
    """Meaning of the last axis."""
    units: str
    """Unit of the values."""
    multiple_px: int = 0
    """Height and width may be any multiple of this; 0: they are as in `shape`."""


class OpticsRange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The recordings a network was made for."""

    wavelength_um: Range
    """Vacuum wavelength."""
    pitch_um: Range
    """Pitch at the object plane."""
    distance_um: Range
    """Object to sensor."""
    defocus_um: float
    """Half range of depths, at the recipe's nominal instrument."""
    defocus_number: Range
    """wavelength * distance / pitch^2, dimensionless."""
    photons: Range | None = None
    """Electrons a pixel that the noise of its frames is equivalent to, where they are few; None: those of well lit frames."""


class Golden(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sample with its answer: the self-test."""

    input: str
    """Name of the array in the .npz beside the model; of several inputs each has its own: this, a full stop, the input's name."""
    expected: str
    """The same of the answer."""
    tolerance: float
    """Largest mean absolute difference, in quantisation steps of the output; of several outputs, of each."""


class SecondLook(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Weights of what a pass leaves out, put back from the hologram (device/analysis/second_look.py)."""

    cycles_per_px: Annotated[tuple[float, ...], Meta(min_length=2)]
    """Knots of frequency, rising."""
    visibility: Annotated[tuple[float, ...], Meta(min_length=2)]
    """Knots of what lamp and pixels leave of it, rising, 0 to 1."""
    gain: tuple[tuple[Annotated[float, Meta(ge=0, le=10)], ...], ...]
    """A row for every frequency, a value for every visibility; linear between."""

    def __post_init__(self) -> None:
        for name in ("cycles_per_px", "visibility"):
            knots = getattr(self, name)
            if any(b <= a for a, b in pairwise(knots)):
                raise ValueError(f"second_look.{name} must rise from knot to knot, got {list(knots)}")
        if len(self.gain) != len(self.cycles_per_px) or any(len(row) != len(self.visibility) for row in self.gain):
            raise ValueError(f"second_look.gain must have {len(self.cycles_per_px)} rows of {len(self.visibility)} values")


class WeakLens(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By what first depths read short with one instrument's own particles (device/analysis/depth.py)."""

    number_per_px: Annotated[float, Meta(ge=-10, le=10)]
    """Defocus number per pixel of diameter; below 0: they read long."""
    deviation_per_px: Annotated[float, Meta(ge=0, le=10)]
    """One standard deviation of it from particle to particle."""


class Provenance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the model came from."""

    name: str
    """Package or module under models/recipes."""
    commit: str
    """Revision of the source it was trained with."""


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model file."""

    name: str
    """Short name."""
    version: Annotated[str, Meta(pattern=r"^\d+\.\d+\.\d+$")]
    """Major.minor.patch."""
    task: str
    """What it does."""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """Digest of the .tflite file."""
    optics: OpticsRange
    golden: Golden
    recipe: Provenance
    input: Tensor | None = None
    """What goes in, where that is one tensor."""
    output: Tensor | None = None
    """What comes out, where that is one tensor."""
    inputs: dict[str, Tensor] = {}
    """Several tensors that go in, by the names that the file's signature gives them; instead of `input`."""
    outputs: dict[str, Tensor] = {}
    """Several tensors that come out; instead of `output`."""
    labels: tuple[str, ...] = ()
    """Classes, in the order of the outputs."""
    temperature: float = 1.0
    """Divides the logits."""
    conformal_quantile: float = 1.0
    """A class is in the 90 % prediction set where 1 - p is at most this."""
    conformal_quantiles: tuple[float, ...] = ()
    """The same for every class by itself, in the order of `labels`; empty: one for all."""
    other_above: float = 1.0
    """A probability of 'other' above this is 'unknown'; only where the last output is 'other'."""
    reject_below: float = 0.0
    """A best probability under this is 'unknown'."""
    second_look: SecondLook | None = None
    """Of a reconstruction; None: fields are left as the network gave them until refinement."""
    weak_lens: WeakLens | None = None
    """Of a reconstruction that was fitted to an instrument's own frames; None: as for simulated particles."""
    signature: str = ""
    """Reserved for the signature of the bundle."""

    def __post_init__(self) -> None:
        for which, one, several in (("input", self.input, self.inputs), ("output", self.output, self.outputs)):
            if (one is None) == (not several) or len(several) == 1:
                raise ValueError(f"a manifest has one [{which}], or two and more [{which}s.NAME]")

    @property
    def takes(self) -> Mapping[str, Tensor]:
        """What goes in, by name; a sole tensor is called `input`."""
        return {"input": self.input} if self.input else self.inputs

    @property
    def gives(self) -> Mapping[str, Tensor]:
        """What comes out, by name; a sole tensor is called `output`."""
        return {"output": self.output} if self.output else self.outputs

    def refusal(self, geometry: Geometry) -> str | None:
        """Why these optics are not covered; None where they are."""
        checks = {
            "wavelength_um": (geometry.wavelength_um, self.optics.wavelength_um),
            "pitch_um": (geometry.object_pitch_um, self.optics.pitch_um),
            "distance_um": (geometry.distance_um, self.optics.distance_um),
            "defocus_number": (geometry.defocus_number, self.optics.defocus_number),
        }
        outside = [
            f"{name} {value:.4g} is outside {low:.4g} to {high:.4g}"
            for name, (value, (low, high)) in checks.items()
            if not low <= value <= high
        ]
        return "; ".join(outside) or None
