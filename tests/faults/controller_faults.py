"""A controller that fails in mid-sample: `python -m tests.faults.controller_faults --cycles 10000`.

Samples are taken through the real drivers while the controller is reset or hangs, its line carries noise, its cable is
pulled, or its port comes back under another name: while a frame is exposed, or at any moment of the talk. The simulated
camera sees what the lamp truly does, so a frame that was taken in the dark and is accepted all the same shows. Most cycles
run on the pseudo-controller, some on the real firmware on a simulated ATmega328P.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from device.config import SamplingConfig
from device.drivers.serial_lamp import SerialLamp
from device.drivers.serial_line import SerialLine
from device.drivers.serial_pump import SerialPump
from device.drivers.twin import TwinCamera
from device.errors import HardwareError
from device.frames import Exposure, LampState, RawFrame
from device.sampling.impactor.sampler import Impactor, ImpactorSample
from tests.controller import Controller
from tests.firmware import Firmware, missing_toolchain
from tests.worlds import small_world

RECONNECT_BAR_S = 5.0
GIVE_UP_S = 30.0
EXPOSURE = Exposure(2000.0, lamp_current_ma=20.0)
FLOW_ML_MIN = 4000.0


@dataclass
class Outcome:
    """What a campaign found."""

    cycles: Counter[str] = field(default_factory=Counter)
    """By controller."""
    faults: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    """Samples that a fault cost; an error each, no frame."""
    accepted: int = 0
    """Frames that were accepted."""
    dark: int = 0
    """Of those, frames whose lamp was not on all the time, or was not acknowledged."""
    left_on: int = 0
    """Cycles after which lamp or pump were truly on."""
    resets: int = 0
    """Controller resets that the driver saw."""
    reconnect_s: list[tuple[float, str]] = field(default_factory=list)
    """From the line's being whole to the next sample, after which fault on which controller."""

    def __str__(self) -> str:
        on = ", ".join(f"{n} on the {name}" for name, n in sorted(self.cycles.items()))
        faults = ", ".join(f"{n} {kind}" for kind, n in sorted(self.faults.items()))
        slowest_s, after = max(self.reconnect_s)
        return (
            f"{self.cycles.total()} faults ({on}: {faults}): {self.accepted} frames accepted, {self.dark} without an acknowledged "
            f"lamp that was on; {self.lost} samples lost with an error, {self.resets} resets seen, {self.left_on} times something "
            f"left on; a sample again after {np.median([s for s, _ in self.reconnect_s]):.2f} s (median), {slowest_s:.2f} s at most ({after})"
        )

    @property
    def sound(self) -> bool:
        return (
            bool(self.accepted and self.lost and not self.dark and not self.left_on)
            and max(self.reconnect_s)[0] <= RECONNECT_BAR_S
        )


class Cable:
    """A controller's cable, pulled and plugged in from two threads."""

    def __init__(self, controller: Controller | Firmware) -> None:
        self._controller = controller
        self._lock = threading.Lock()
        self.is_plugged = True

    def plugged(self) -> None:
        """See that it is plugged in."""
        with self._lock:
            if not self.is_plugged:
                self._controller.plug()
                self.is_plugged = True

    def pull(self) -> None:
        with self._lock:
            if self.is_plugged:
                self._controller.unplug()
                self.is_plugged = False


class WatchedCamera(TwinCamera):
    """The simulated camera under the lamp's true light; something may happen while it exposes."""

    def __init__(self, light: Callable[[], tuple[int, float]]) -> None:
        world = small_world(side_px=32)
        super().__init__(world)
        self.meanwhile: Callable[[], None] | None = None
        self._light, self._seen = light, (0, 0.0)
        world.follow_lamp(lambda: LampState(self._seen[0], self._seen[1], acknowledged=True))

    def capture(self, exposure: Exposure, lamp: LampState) -> RawFrame | None:
        at_start = self._light()
        if self.meanwhile is not None:
            self.meanwhile()
            self.meanwhile = None
        at_end = self._light()
        self._seen = min(at_start, at_end, key=lambda state: state[1])
        return super().capture(exposure, lamp)


class Campaign:
    """One controller, its drivers, and a sampler on them."""

    def __init__(
        self,
        controller: Controller | Firmware,
        seed: int,
        lamp: type[SerialLamp] = SerialLamp,
        timeout_s: float = 0.15,
    ) -> None:
        self.outcome = Outcome()
        self._rng = random.Random(seed)
        self._name = "pseudo-controller" if isinstance(controller, Controller) else "firmware"
        self._controller, self._cable = controller, Cable(controller)
        self._line = SerialLine(controller.names.glob, timeout_s=timeout_s)
        self._lamp, self._pump = lamp(self._line), SerialPump(self._line, full_flow_ml_min=8000.0)
        self._camera = WatchedCamera(controller.light)
        self._camera.start()
        self._sampler = Impactor(
            self._camera, self._lamp, self._pump, SamplingConfig(sample_volume_l=0.01, settle_s=0.0, window_intervals=10_000),
            EXPOSURE, FLOW_ML_MIN, monotonic=time.monotonic, sleep=lambda _: None, advance_window=lambda: None,
        )  # fmt: skip
        self._judged = -1
        self._judge(self._taken())

    def run(self, cycles: int) -> Outcome:
        for _ in range(cycles):
            self._cycle()
        self.outcome.resets = self._line.resets
        return self.outcome

    def close(self) -> None:
        self._lamp.close()
        self._pump.close()
        self._controller.close()

    def _cycle(self) -> None:
        kinds = {
            "resets": self._controller.reset, "noise to the host": self._noise_to_host, "noise to the controller": self._noise_to_controller,
            "pulled cables": self._cable.pull, "renamed ports": self._rename, "power cuts": self._power_cut,
        }  # fmt: skip
        if isinstance(self._controller, Firmware):
            kinds["hangs"] = self._controller.hang
        kind = self._rng.choice(sorted(kinds))
        self.outcome.cycles[self._name] += 1
        self.outcome.faults[kind] += 1
        timer = None
        if self._rng.random() < 0.5:
            self._camera.meanwhile = kinds[kind]
        else:
            timer = threading.Timer(self._rng.uniform(0, 0.012), kinds[kind])
            timer.start()
        try:
            self._judge(self._taken())
        except HardwareError:
            self.outcome.lost += 1
        if timer is not None:
            timer.join()
        self._camera.meanwhile = None
        self._recover(f"{kind}, {self._name}")

    def _recover(self, after: str) -> None:
        if not self._cable.is_plugged:
            time.sleep(self._rng.uniform(0, 0.03))
            self._cable.plugged()
        whole_s = time.monotonic()
        while True:
            try:
                sample = self._taken()
                break
            except HardwareError:
                if time.monotonic() > whole_s + GIVE_UP_S:
                    raise
                time.sleep(0.01)
        self.outcome.reconnect_s.append((time.monotonic() - whole_s, after))
        self._judge(sample)
        self.outcome.left_on += int(self._controller.light()[1] > 0 or self._controller.pump() > 0)

    def _taken(self) -> ImpactorSample:
        sample = self._sampler.take()
        assert sample is not None
        return sample

    def _judge(self, sample: ImpactorSample) -> None:
        for frame in (sample.before, sample.after):
            # The frame before is most often the frame after of the sample before, judged already.
            if frame.index <= self._judged:
                continue
            self._judged = frame.index
            self.outcome.accepted += 1
            lit = float(frame.pixels.mean()) > 150
            self.outcome.dark += int(not (lit and frame.lamp.is_on))

    def _noise_to_host(self) -> None:
        self._controller.to_host(self._rng.randbytes(self._rng.randrange(1, 200)))

    def _noise_to_controller(self) -> None:
        self._controller.to_controller(self._rng.randbytes(self._rng.randrange(1, 200)))

    def _rename(self) -> None:
        self._cable.pull()
        self._cable.plugged()

    def _power_cut(self) -> None:
        """The cable was its supply too."""
        self._cable.pull()
        self._controller.reset()
        self._cable.plugged()


def campaign(shares: dict[type[Controller | Firmware], int], seed: int = 1) -> Outcome:
    """Cycles by controller, one after the other, as one outcome."""
    whole = Outcome()
    for make, cycles in shares.items():
        part = Campaign(make(), seed, timeout_s=0.15 if make is Controller else 0.5)
        try:
            outcome = part.run(cycles)
        finally:
            part.close()
        whole.cycles += outcome.cycles
        whole.faults += outcome.faults
        for count in ("lost", "accepted", "dark", "left_on", "resets"):
            setattr(whole, count, getattr(whole, count) + getattr(outcome, count))
        whole.reconnect_s += outcome.reconnect_s
    return whole


def main() -> int:
    """Run a campaign and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=10_000)
    parser.add_argument("--firmware-cycles", type=int, help="of those, on the real firmware; default: a twentieth")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    on_firmware = args.cycles // 20 if args.firmware_cycles is None else args.firmware_cycles
    if on_firmware and (reason := missing_toolchain()):
        print(f"{reason}; or --firmware-cycles 0")
        return 3
    shares: dict[type[Controller | Firmware], int] = {Firmware: on_firmware, Controller: args.cycles - on_firmware}
    outcome = campaign({make: cycles for make, cycles in shares.items() if cycles > 0}, args.seed)
    print(outcome)
    return 0 if outcome.sound else 1


if __name__ == "__main__":
    sys.exit(main())
