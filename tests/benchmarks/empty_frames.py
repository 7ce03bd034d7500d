"""Real frames without particles: `python -m tests.benchmarks.empty_frames`.

Frames of a lensless sensor whose cover bears specks but no plastic. Each is divided by the median of the others, through
`holonode replay`; whatever is found is false. Two of the six (012, 015) do hold something: a millimetre of dirt that
covers a tenth of the field and more. It is too large to be a particle, and the frame is reported as blocked, not as
empty. The recordings' optics are not published, so several plausible ones are tried. The frames with plastic, which is
half a millimetre and more, say that the same program is not blind.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import real_data_folder

__all__ = ["OPTICS", "Optics", "particles_by_frame"]


@dataclass(frozen=True)
class Optics:
    """A guess at how the frames were recorded; micrometres."""

    wavelength_um: float
    distance_um: float
    pitch_um: float = 3.45

    def arguments(self) -> list[str]:
        """Flags of `holonode replay`."""
        flags = {"--wavelength-um": self.wavelength_um, "--pitch-um": self.pitch_um, "--distance-um": self.distance_um}
        return [text for flag, value in flags.items() for text in (flag, str(value))]


OPTICS = (Optics(0.45, 600.0), Optics(0.53, 1000.0), Optics(0.53, 3000.0), Optics(0.63, 1000.0), Optics(0.63, 6000.0))
"""Plausible wavelengths of an LED and distances of a sample close to the sensor."""


def particles_by_frame(
    inputs: list[Path], background: str, optics: Optics, method: str = "hidef", largest_um: float | None = None
) -> dict[str, int]:
    """Particles that `holonode replay` finds, by file name."""
    from device.cli import main

    with tempfile.TemporaryDirectory() as out:
        paths = [str(path) for path in inputs]
        options = ["--out", out, "--background", background, "--method", method, "--json", *optics.arguments()]
        if largest_um is not None:
            options += ["--max-esd-um", str(largest_um)]
        status = main(["replay", *paths, *options])
        if status != 0:
            raise SystemExit(status)
        run = json.loads((Path(out) / "run.json").read_text())
    return {str(Path(frame["path"]).relative_to(inputs[0].parents[1])): frame["particles"] for frame in run["frames"]}


def main() -> None:
    """Print the bar's figures."""
    folder = real_data_folder() / "microplastics_labelled"
    empty = sorted((folder / "none").glob("*.jpg"))
    print("wavelength  distance  empty frames: particles")
    for optics in OPTICS:
        found = particles_by_frame(empty, "median", optics)
        conditions = f"{optics.wavelength_um:7.2f} um {optics.distance_um:6.0f} um"
        print(f"{conditions}  {len(found)} frames: {sum(found.values())} (bar 0)", flush=True)
    print("not blind: frames with plastic, each divided by an empty frame, bodies up to 6 mm allowed")
    full = [sorted(p.glob("*.jpg"))[0] for p in sorted(folder.iterdir()) if p.is_dir() and p.name != "none"]
    for name, count in particles_by_frame(full, str(empty[-1]), OPTICS[1], largest_um=6000).items():
        print(f"{name}: {count}")


if __name__ == "__main__":
    main()
