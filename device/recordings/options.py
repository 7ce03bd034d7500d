"""What a person can say about a file that it doesn't say itself."""

from __future__ import annotations

from dataclasses import dataclass

from device.errors import InputError

__all__ = ["ReadOptions", "parsed_axis"]

_AXES = {"first": 0, "last": -1, "0": 0, "1": 1, "2": 2, "-1": -1}


@dataclass(frozen=True)
class ReadOptions:
    """How files are to be read."""

    array: str | None = None
    """Name of the array in files that hold several (MAT, NPZ, HDF5); None: the one that can only be meant."""
    frames_axis: str = "auto"
    """Axis of an array that counts frames: first, last, 0, 1, 2; none: the array is one colour image; auto: as its shape tells."""
    memory_mb: float | None = None
    """What a frame and its analysis may take; None: four fifths of what is free."""
    bayer: str | None = None
    """Colour filters of the sensor, as its instrument file says ("none" for a monochrome one); None: not known."""
    level_mosaic: bool = True
    """Whether the pattern of colour filters is levelled; False: counts stay as they are."""

    def __post_init__(self) -> None:
        parsed_axis(self.frames_axis)
        if self.memory_mb is not None and not self.memory_mb > 0:
            raise InputError("a frame needs memory", where="--memory-mb", expected="more than 0", got=f"{self.memory_mb:g}")


def parsed_axis(text: str) -> int | None:
    """Number of the axis; None for auto and none. InputError for anything else."""
    if text in ("auto", "none"):
        return None
    if text not in _AXES:
        raise InputError("no such axis", where="--frames-axis", expected="first | last | 0 | 1 | 2 | none", got=text)
    return _AXES[text]
