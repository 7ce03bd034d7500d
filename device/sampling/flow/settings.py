"""[sampling.flow]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct

if TYPE_CHECKING:
    from device.config import Config

__all__ = ["FlowSettings", "flow_settings"]


class FlowSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bursts of frames of a stream, for mode = "flow"."""

    frames_per_interval: Annotated[int, Meta(ge=3, le=1000)] = 12
    """Frames of a burst; their median is its background, so that what sticks to the window isn't counted."""
    frame_interval_s: Annotated[float, Meta(ge=0.001, le=600)] = 0.4
    """Between frames. Shorter than the fastest layer takes through the field, nothing passes unseen; longer, each frame shows
    more that is new."""
    light: Literal["strobed", "continuous"] = "strobed"
    """strobed: the lamp is on for each frame; continuous: through the burst."""
    flush_s: Annotated[float, Meta(ge=0, le=600)] = 1.0
    """Pump on before the first frame, until the flow is steady."""


def flow_settings(config: Config) -> FlowSettings:
    """Of a configuration."""
    tables: Any = config.sampling  # which has one for each way of sampling
    settings: FlowSettings = tables.flow
    return settings
