"""[sampling.assay]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct

if TYPE_CHECKING:
    from device.config import Config

__all__ = ["AssaySettings", "assay_settings"]


class AssaySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A chamber of beads, looked at while they clump, for mode = "assay"."""

    duration_s: Annotated[float, Meta(ge=1, le=86_400)] = 1200.0
    """From the first look to the last, which tells the dose."""
    look_every_s: Annotated[float, Meta(ge=1, le=3600)] = 300.0
    """From one look to the next; each is an interval of its own."""
    bead_um: Annotated[float, Meta(gt=0, le=100)] = 10.0
    """Diameter of a bead: two whose middles lie farther apart only lie side by side."""
    fill_ml: Annotated[float, Meta(ge=0, le=100)] = 0.05
    """Pumped to bring the sample in; 0: a person fills the chamber before the start."""
    settle_s: Annotated[float, Meta(ge=0, le=600)] = 5.0
    """Between pump off and the first look: the beads come down."""
    background: Literal["empty", "smooth"] = "empty"
    """empty: frames of the chamber before it is filled, for beads that sit still have no median over time; smooth: each frame's
    own even light, where the chamber is never seen empty."""
    empty_frames: Annotated[int, Meta(ge=1, le=100)] = 8
    """Of the empty chamber, averaged."""
    longest_gap_s: Annotated[float, Meta(ge=0, le=86_400)] = 600.0
    """Without power: a running assay that was interrupted for longer is given up."""


def assay_settings(config: Config) -> AssaySettings:
    """Of a configuration."""
    tables: Any = config.sampling  # which has one for each way of sampling
    settings: AssaySettings = tables.assay
    return settings
