"""The file that carries an instrument's own frames, and what physics made of them, to where models are made.

`holonode-calibrate transfer` writes it, `holonode-models finetune` reads it; neither knows the other. A NumPy archive without
pickled objects.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.coherence import Coherence
from device.optics.geometry import Geometry
from device.optics.pupil import Pupil
from device.output import output_file, writing

__all__ = ["TransferFile", "read_transfer", "write_transfer"]

SCHEMA = "holonode.transfer/2"
_GEOMETRY = ("wavelength_um", "pitch_um", "distance_um", "magnification", "source_distance_um", "medium_index")


@dataclass(frozen=True)
class TransferFile:
    """Frames of one instrument, as holograms, with pseudo-truth."""

    instrument_id: str
    """Content id of the instrument file."""
    instrument_name: str
    geometry: Geometry
    """As measured, aberrations included."""
    depth_um: float
    """Half range of the depths around its distance."""
    noise: float
    """Relative standard deviation of a pixel where nothing is."""
    aberration_uncertainty_rad: float
    """Of all coefficients together, root mean square; 0 where none was measured."""
    intensities: NDArray[np.float32]
    """float32 [frames, height, width], 1 where nothing is."""
    distances_um: NDArray[np.float64]
    """float64 [frames]: focal plane of each to the sensor."""
    truth: NDArray[np.complex64]
    """complex64 [frames, height, width]: object field by physics, every particle in focus."""
    weight: NDArray[np.float32]
    """float32 [frames, height, width]: 0 where the truth isn't to be believed, 1 background, more near particles."""
    labels: NDArray[np.uint16]
    """uint16 [frames, height, width]: number of the particle a pixel belongs to, counted over all frames from 1; 0: none."""
    depths_um: NDArray[np.float64]
    """float64 [particles]: of each, from the sensor, of the equivalent plane-wave recording."""

    def at(self, frame: int) -> Geometry:
        """How one frame was recorded."""
        return self.geometry.at(float(self.distances_um[frame]))


def write_transfer(path: Path, file: TransferFile) -> None:
    """Write the archive, all or nothing."""
    geometry = {name: getattr(file.geometry, name) for name in _GEOMETRY}
    geometry["source_distance_um"] = geometry["source_distance_um"] or np.nan
    pupil, lamp = file.geometry.pupil, file.geometry.coherence
    far = np.nan
    coherence = () if lamp is None else (lamp.bandwidth_um, lamp.source_diameter_um, lamp.source_distance_um or far)
    arrays = {field.name: getattr(file, field.name) for field in fields(file) if field.name != "geometry"}
    partial = path.with_name(path.name + ".partial")
    output_file(path)
    with writing(path), partial.open("wb") as out:
        np.savez_compressed(
            out, schema=SCHEMA, geometry=np.array([geometry[name] for name in _GEOMETRY]),
            aberrations_rad=np.array(pupil.coefficients_rad if pupil else ()),
            pupil_radius_per_um=pupil.radius_per_um if pupil else 0.0, coherence_um=np.array(coherence), **arrays,
        )  # fmt: skip
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)


def read_transfer(path: Path) -> TransferFile:
    """The file's content; InputError where it isn't a transfer file."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            found: dict[str, Any] = {name: arrays[name] for name in arrays.files}
    except OSError as error:
        raise _no_transfer_file(path, error.strerror or str(error)) from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _no_transfer_file(path, "no archive of plain arrays, or a damaged one") from error
    if str(found.get("schema", "none")) != SCHEMA:
        raise _no_transfer_file(path, f"schema {found.get('schema', 'none')}")
    try:
        values = dict(zip(_GEOMETRY, (float(v) for v in found["geometry"]), strict=True))
        source = values.pop("source_distance_um")
        coefficients = tuple(float(c) for c in found["aberrations_rad"])
        pupil = Pupil(coefficients, float(found["pupil_radius_per_um"])) if coefficients else None
        lamp = tuple(None if np.isnan(v) else float(v) for v in found["coherence_um"])
        coherence = Coherence(lamp[0] or 0.0, lamp[1] or 0.0, lamp[2]) if lamp else None
        geometry = Geometry(**values, source_distance_um=None if np.isnan(source) else source, pupil=pupil, coherence=coherence)
        plain = {f.name: found[f.name] for f in fields(TransferFile) if f.name != "geometry"}
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise _no_transfer_file(path, str(error)) from error
    for name in ("instrument_id", "instrument_name"):
        plain[name] = str(plain[name])
    for name in ("depth_um", "noise", "aberration_uncertainty_rad"):
        plain[name] = float(plain[name])
    file = TransferFile(geometry=geometry, **plain)
    shapes = {file.intensities.shape, file.truth.shape, file.weight.shape, file.labels.shape}
    if len(shapes) != 1 or file.intensities.ndim != 3 or len(file.distances_um) != len(file.intensities):
        raise _no_transfer_file(path, f"arrays of shapes {sorted(shapes)}")
    if int(file.labels.max(initial=0)) > len(file.depths_um):
        raise _no_transfer_file(path, f"{int(file.labels.max())} particles, {len(file.depths_um)} depths")
    return file


def _no_transfer_file(path: Path, got: str) -> InputError:
    return InputError(
        "this is no transfer file", where=path, expected=SCHEMA, got=got,
        remedy="Make one from frames of the instrument: holonode-calibrate transfer FRAMES --config FILE.",
    )  # fmt: skip
