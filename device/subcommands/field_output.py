"""Where reconstructions are written: an .npz file, and a picture beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from device.optics.consistency import Agreement
    from device.optics.geometry import Geometry

__all__ = ["result_path", "write_field", "write_picture"]


def result_path(out: Path, frame_name: str | None) -> Path:
    """The .npz file of one frame; `frame_name` is appended where there are several."""
    target = out if out.suffix == ".npz" else out.with_name(out.name + ".npz")
    if frame_name is None:
        return target
    return target.with_name(f"{target.stem}-{frame_name.replace('#', '-')}.npz")


def write_field(
    out: Path, field: NDArray[np.complex64], geometry: Geometry, method: str, found: Agreement, **more: Any
) -> None:
    """The field and how well it explains its hologram; `more` arrays go into the file as they are."""
    import numpy as np

    from device.output import writing

    with writing(out):
        np.savez_compressed(
            out,
            field=field,
            distance_um=geometry.distance_um,
            pitch_um=geometry.object_pitch_um,
            wavelength_um=geometry.wavelength_um,
            method=method,
            consistency=found.correlation,
            consistency_residual=found.residual,
            consistency_chi2=np.nan if found.chi2 is None else found.chi2,
            **more,
        )


def write_picture(
    out: Path, field: NDArray[np.complex64], geometry: Geometry, method: str, confidence: NDArray[np.float32] | None = None,
    ambiguity: NDArray[np.floating] | None = None,
) -> Path:  # fmt: skip
    """Amplitude, phase and, where they are known, confidence [rows, columns] and ambiguity [height, width] as a PNG beside `out`;
    returns its path."""
    from device.analysis.field_picture import field_picture
    from device.output import write_image

    target = out.with_suffix(".png")
    title = f"{method} at {geometry.distance_um:.6g} um, {geometry.wavelength_um:g} um light"
    write_image(target, field_picture(field, geometry.object_pitch_um, title, confidence, ambiguity))
    return target
