"""Does the rule that chooses a reconstruction choose well? `python -m tests.benchmarks.reconstruction_choice [--fields 3]`.

Network, sparse retrieval and plain refocusing of the same frame: what each predicts of the squares that were kept from it
(device.analysis.held_out), beside its complex correlation with the truth (mean removed, border left out). Truth: colon and
beads, the independently measured field; simulated full fields and particles (tests/foreign_fields.py), the field they were drawn
with, averaged over the sensor's pixels. 'lost' is how far the one chosen lies below the best of the three; transparent retrieval is scored beside them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from device.analysis.background import normalise
from device.analysis.held_out import best, held_out
from device.drivers.recorded import read_frames
from device.frames import Hologram
from device.optics.geometry import Geometry
from device.optics.phase_retrieval import retrieve_single_shot, retrieve_transparent
from device.optics.propagation import backpropagate
from tests.benchmarks.real_focus import BEADS, BEADS_MM, complex_correlation, measured_field
from tests.benchmarks.scenes import Judge
from tests.conftest import real_data_folder
from tests.foreign_fields import FULL_FIELDS, MARGIN_PX, OPTICS, canvas_px, particle_field, recorded

SIDE_PX = 256
ASKED_FOR = "transparent"
"""Scored beside them, and never chosen: it predicts fringes of what absorbs, too, and is wrong there."""
KINDS = ("section", "tissue", "film", "mat", "grating", "suspension")


def ways(judge: Judge) -> dict[str, Callable[[Hologram], NDArray[np.complex64]]]:
    return {
        "backpropagate": lambda h: backpropagate(h.intensity, h.geometry),
        "iterative": lambda h: retrieve_single_shot(h.intensity, h.geometry),
        "transparent": lambda h: retrieve_transparent(h.intensity, h.geometry),
        "hidef": lambda h: judge.pipeline(h.geometry).whole_field(h),
    }


def cases(fields: int) -> Iterator[tuple[str, Hologram, NDArray[np.complexfloating]]]:
    """Name, hologram, truth."""
    data = real_data_folder()

    def real(path: str, geometry: Geometry) -> Hologram:
        ready = normalise(next(iter(read_frames(data / path))).pixels)
        return Hologram(ready.intensity, geometry, ready.noise, datetime.now(UTC))

    yield "colon", real("tissue_gt/colon/holo_26mm.mat", BEADS.at(26_200.0)), measured_field(data / "tissue_gt" / "colon")
    beads = measured_field(data / "beads_multiheight_gt" / "fov1")
    for nominal in (9, 14):
        yield (
            f"beads {nominal} mm",
            real(f"beads_multiheight_gt/fov1/holo_{nominal:02d}mm.mat", BEADS.at(1000 * BEADS_MM[nominal])),
            beads,
        )
    side = canvas_px(SIDE_PX)
    inner = (slice(MARGIN_PX, -MARGIN_PX),) * 2
    for k in range(fields):
        for kind in (*KINDS, "particles"):
            rng = np.random.default_rng(50 + k)
            field = particle_field(rng, side, 9) if kind == "particles" else FULL_FIELDS[kind].draw(rng, side)
            truth = field.reshape(side // 2, 2, side // 2, 2).mean((1, 3))[inner]
            yield f"{kind} {k}, simulated", recorded(field, OPTICS[(2 * k + 1) % len(OPTICS)], rng), truth


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=3, help="simulated, of each kind")
    args = parser.parse_args()
    judge = Judge()
    lost: list[float] = []
    lost_by_default: list[float] = []
    for name, hologram, truth in cases(args.fields):
        predictions = {way: held_out(hologram, make) for way, make in ways(judge).items()}
        scores = {way: complex_correlation(make(hologram), truth) for way, make in ways(judge).items()}
        tried = {way: prediction for way, prediction in predictions.items() if way != ASKED_FOR}
        chosen, most = best(tried), max(scores[way] for way in tried)
        lost.append(most - scores[chosen])
        lost_by_default.append(most - scores["hidef"])
        told = "  ".join(f"{way} {predictions[way].share or 0:+.2f} {scores[way]:.2f}" for way in scores)
        print(f"{name:24s}{told}  -> {chosen}, lost {lost[-1]:.2f}", flush=True)
    print(
        f"\n{len(lost)} fields: chosen within 0.02 of the best {sum(v <= 0.02 for v in lost)} times, lost {np.mean(lost):.3f} by mean, "
        f"{max(lost):.2f} at most; always the network: {sum(v <= 0.02 for v in lost_by_default)} times, {np.mean(lost_by_default):.3f}, "
        f"{max(lost_by_default):.2f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
