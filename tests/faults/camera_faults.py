"""Cameras that raise, fall silent, repeat themselves, won't close: `python -m tests.faults.camera_faults --each 200`.

Each trial is a running camera that one fault befalls; the loop around it pauses between tries as the service does. Time is
simulated (threads are real) but for `--real` trials of each kind. Half of the faults go when the camera is started anew, half
last up to 15 s whatever is done; half of the cameras are picamera2's, half V4L2's.

Bars: found within 5 s of the frame that was asked for (a slow close: of the close), frames again within 30 s of the fault
(where the library never lets go: the process ends within 30 s, and the service manager starts it again), every fault counted in
`stats` and told in an event, no repeated frame and none without its light given out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from device.drivers.bounded import Threads
from device.drivers.picamera2_camera import Picamera2Camera
from device.drivers.ports import Camera
from device.drivers.supervised_camera import CameraEvent, CameraStuckError, SupervisedCamera
from device.drivers.twin import TwinLamp
from device.drivers.v4l2_camera import V4l2Camera
from device.errors import HardwareError
from device.frames import Exposure, RawFrame
from device.service.service import LONGEST_PAUSE_S
from device.twin.world import TwinWorld
from tests.fakes.picamera2 import Fault, Rig, module
from tests.fakes.video_capture import VideoCapture
from tests.fakes.virtual_time import VirtualTime
from tests.worlds import AIR, small_instrument

Kind = Literal["exception", "silence", "repeated frame", "slow close"]
KINDS: tuple[Kind, ...] = ("exception", "silence", "repeated frame", "slow close")

COUNTER: dict[Kind, str] = {
    "exception": "exceptions",
    "silence": "silences",
    "repeated frame": "repeats",
    "slow close": "slow_closes",
}

FOUND_WITHIN_S, BACK_WITHIN_S = 5.0, 30.0
LASTS_AT_MOST_S = 15.0

# What systemd and Python take to have the service running again; RestartSec is part of it.
PROCESS_RESTART_S = 5.0

# A camera that isn't back after this never will be.
GIVE_UP_S = 300.0

EXPOSURE = Exposure(2000.0)
SIDE_PX = 32


@dataclass
class Outcome:
    """What a kind of fault came to."""

    trials: int = 0
    found_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)
    process_restarts: int = 0
    counted: int = 0
    """In `stats`, under the fault's own name."""
    lost: int = 0
    told: Counter[str] = field(default_factory=Counter)
    wrong_frames: int = 0
    """Repeated ones, and ones without their light."""

    def failures(self, kind: Kind, slack: float = 1.0) -> list[str]:
        """Bars that were missed; `slack` stretches those of time, for real time on a busy machine."""
        code = "camera_slow_close" if kind == "slow close" else "camera_lost"
        checks = {
            f"found in {max(self.found_s, default=np.inf):.1f} s": max(self.found_s, default=np.inf) <= FOUND_WITHIN_S * slack,
            f"back in {max(self.back_s, default=np.inf):.1f} s": max(self.back_s, default=np.inf) <= BACK_WITHIN_S * slack,
            f"{len(self.found_s)} found, {len(self.back_s)} back": len(self.found_s) == len(self.back_s) == self.trials,
            f"{self.counted} counted in stats": self.counted >= self.trials,
            f"{self.lost} losses in stats": self.lost == self.trials,
            f"{self.told['camera_lost']} losses told": self.told["camera_lost"] == self.trials,
            f"{self.told[code]} of {code} told": self.told[code] >= self.trials,
            f"{self.told['camera_recovered']} recoveries told, {self.process_restarts} process restarts": (
                self.told["camera_recovered"] + self.process_restarts == self.trials
            ),
            f"{self.wrong_frames} wrong frames": self.wrong_frames == 0,
        }
        return [f"{kind}: {text} of {self.trials} trials" for text, good in checks.items() if not good]

    def __str__(self) -> str:
        return (
            f"{self.trials:6d}   {max(self.found_s):5.2f} / {statistics.median(self.found_s):5.2f}"
            f"   {max(self.back_s):6.2f} / {statistics.median(self.back_s):6.2f}   {self.process_restarts:6d}"
            f"   {self.counted:6d}   {self.told['camera_lost']:6d}   {self.told['camera_recovered']:6d}   {self.wrong_frames:6d}"
        )


HEAD = "found s, max / med   back s, max / med   process   counted   told lost   told back   wrong"


class Box:
    """A camera that is watched, its lamp, and the loop that takes frames."""

    def __init__(self, driver: Literal["picamera2", "v4l2"], seed: int, *, real: bool) -> None:
        if real:
            self.monotonic, self.sleep, self._threads = time.monotonic, time.sleep, Threads()
        else:
            simulated = VirtualTime()
            self.monotonic, self.sleep = simulated.monotonic, simulated.sleep
            self._threads = Threads(simulated.monotonic, simulated.spawn, simulated.wait)
        world = TwinWorld(small_instrument(SIDE_PX), AIR, seed, monotonic=self.monotonic, sleep=self.sleep)
        self._spec = world.instrument.sensor
        self._driver = driver
        self.rig = Rig(world)
        self.lamp = TwinLamp(self.rig)  # type: ignore[arg-type]
        self.events: list[tuple[float, CameraEvent]] = []
        self.camera = self._process()
        self._last_ns = -1
        self._last_pixels = np.zeros(1)
        self.wrong_frames = 0

    def _process(self) -> SupervisedCamera:
        made = SupervisedCamera(self._build, timeout_s=4.0, threads=self._threads)
        made.on_event = lambda event: self.events.append((self.monotonic(), event))
        made.start()
        return made

    def _build(self) -> Camera:
        if self._driver == "picamera2":
            sys.modules["picamera2"] = module(self.rig)
            return Picamera2Camera(self._spec, monotonic=self.monotonic)
        code = {"BGGR": "BG10"}[self._spec.bayer]
        return V4l2Camera(self._spec, monotonic=self.monotonic, open_capture=lambda _device, _s: VideoCapture(self.rig, code))

    def take(self) -> RawFrame:
        """One frame under the lamp, as the sampler takes it."""
        lit = self.lamp.set_current(20.0)
        try:
            frame = self.camera.capture(EXPOSURE, lit)
        finally:
            self.lamp.off()
        assert frame is not None
        lit_counts = 300
        repeated = frame.sensor_timestamp_ns <= self._last_ns or np.array_equal(frame.pixels, self._last_pixels)
        if repeated or frame.pixels.mean() < lit_counts:
            self.wrong_frames += 1
        self._last_ns, self._last_pixels = frame.sensor_timestamp_ns, frame.pixels
        return frame

    def take_until_back(self) -> tuple[list[dict[str, int]], int]:
        """(stats of every process that it took, process restarts); pauses as the service's loop does."""
        ended: list[dict[str, int]] = []
        began_s, pause_s = self.monotonic(), 1.0
        while True:
            try:
                self.take()
                return [*ended, self.camera.stats], len(ended)
            except CameraStuckError:
                ended.append(self.camera.stats)
                self.sleep(PROCESS_RESTART_S)
                # The kernel closes what a process that ended had open.
                self.rig.held, self.rig.fault = False, None
                self.camera = self._process()
            except HardwareError:
                if self.monotonic() - began_s > GIVE_UP_S:
                    raise
                self.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _fault(kind: Kind, now_s: float, rng: np.random.Generator, *, real: bool) -> Fault:
    mended = real or bool(rng.random() < 0.5)
    # A pause in the frames that is shorter than the limit is no fault.
    shortest_s = 6.0 if kind == "silence" else 0.5
    until_s = float("inf") if mended else now_s + float(rng.uniform(shortest_s, LASTS_AT_MOST_S))
    if kind == "slow close":
        # Something has to go wrong for a camera to be closed; closing then takes long, or as good as for ever.
        close_s = 4.0 if real else float(rng.choice([rng.uniform(3.5, 12.0), 1e5]))
        first = rng.choice(["exception", "silence", "repeated frame"])
        return Fault("slow close", float("inf"), mended_by_start=True, close_s=close_s, also=(str(first),))  # type: ignore[arg-type]
    if kind == "exception" and rng.random() < 0.3:
        return Fault("exception", until_s, mended_by_start=mended, also=("no camera",) if not mended else ())
    if kind == "repeated frame":
        return Fault("repeated frame" if rng.random() < 0.5 else "frozen picture", until_s, mended_by_start=mended)
    return Fault(kind, until_s, mended_by_start=mended)


def trial(kind: Kind, outcome: Outcome, seed: int, *, real: bool = False) -> None:
    """One fault, from the last good frame to the next."""
    rng = np.random.default_rng([seed, KINDS.index(kind), real])
    box = Box("picamera2" if seed % 2 else "v4l2", seed, real=real)
    box.take()
    box.sleep(float(rng.uniform(0, 0.3)))
    box.take()
    struck_s = box.monotonic()
    box.rig.fault = _fault(kind, struck_s, rng, real=real)
    processes: list[dict[str, int]] = []
    # A frame that was under way when the fault struck may still be a good one.
    while True:
        asked_s = box.monotonic()
        processes, restarts = box.take_until_back()
        if box.events:
            break
        if asked_s - struck_s > LASTS_AT_MOST_S or box.rig.fault is None:
            break
    outcome.trials += 1
    code, since_s = ("camera_slow_close", box.rig.closing_since_s) if kind == "slow close" else ("camera_lost", asked_s)
    found = [at_s - since_s for at_s, event in box.events if event.code == code]
    if found:
        outcome.found_s.append(found[0])
        outcome.back_s.append(box.monotonic() - asked_s)
    outcome.process_restarts += restarts
    outcome.counted += min(sum(p[COUNTER[kind]] for p in processes), 1)
    outcome.lost += sum(p["lost"] for p in processes)
    outcome.told.update(event.code for _, event in box.events)
    outcome.wrong_frames += box.wrong_frames
    box.camera.close()


def campaign(each: int, *, real: bool = False, seed: int = 0) -> dict[Kind, Outcome]:
    """`each` trials of every kind."""
    outcomes: dict[Kind, Outcome] = {}
    for kind in KINDS:
        outcome = outcomes[kind] = Outcome()
        for k in range(each):
            trial(kind, outcome, seed + k, real=real)
    return outcomes


def failures(outcomes: dict[Kind, Outcome], slack: float = 1.0) -> list[str]:
    """Bars that were missed."""
    return [text for kind, outcome in outcomes.items() for text in outcome.failures(kind, slack)]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every bar was kept, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=200, help="trials of each kind on simulated time")
    parser.add_argument("--real", type=int, default=3, help="trials of each kind in real time, some 10 s each")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    missed: list[str] = []
    for title, each, real in (("simulated time", chosen.each, False), ("real time", chosen.real, True)):
        if not each:
            continue
        outcomes = campaign(each, real=real, seed=chosen.seed)
        print(f"{title:16s} trials   {HEAD}")
        for kind, outcome in outcomes.items():
            print(f"{kind:16s} {outcome}", flush=True)
        missed += failures(outcomes)
    print("\n".join(missed) if missed else f"found within {FOUND_WITHIN_S:g} s and back within {BACK_WITHIN_S:g} s, every one")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
