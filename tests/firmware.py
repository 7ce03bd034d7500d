"""The controller's real firmware on a simulated ATmega328P: what its pins do, and what befalls it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
from functools import cache
from pathlib import Path

import pytest

from tests.ports import PortNames

FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "firmware"
FULL_SCALE_MA = 50.0
NEEDED = (Path("/usr/include/simavr/sim_avr.h"), Path("/usr/include/libelf.h"))


def missing_toolchain() -> str | None:
    """What to install before the firmware can be built; None where all is there."""
    missing = [name for name in ("avr-gcc", "cc", "make") if shutil.which(name) is None]
    missing += [str(path) for path in NEEDED if not path.exists()]
    return f"no AVR toolchain ({', '.join(missing)} missing): make firmware" if missing else None


@cache
def build(full_scale_ma: float = FULL_SCALE_MA) -> Path:
    """Make firmware and simulator, for lamp drivers of this current at full duty, and the folder they are in.

    Skips where there is no toolchain, fails where CI=true.
    """
    reason = missing_toolchain()
    if reason is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = FOLDER / "build" if full_scale_ma == FULL_SCALE_MA else FOLDER / "build" / f"{full_scale_ma:g}-ma"
    words = [f"BUILD={folder}", f"LAMP_FULL_SCALE_MICROAMPS={round(full_scale_ma * 1000)}"]
    made = subprocess.run(["make", "-C", str(FOLDER), *words, "all", "simulator"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


class Firmware:
    """One simulated controller; commands are carried out when they return."""

    def __init__(self, boots: int | None = None, full_scale_ma: float = FULL_SCALE_MA) -> None:
        folder = build(full_scale_ma)
        boots = random.randrange(1, 0xFFFF) if boots is None else boots
        self._full_scale_ma = full_scale_ma
        command = [str(folder / "simulator"), str(folder / "controller.elf"), str(boots)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
        )
        self._lock = threading.Lock()
        self.names = PortNames()
        self.strobes_us: list[tuple[float, float]] = []
        """(delay from the trigger, width) of every pulse of light that a frame had."""
        self._outputs = [0] * 5
        while not self.port:
            self._listen()

    @property
    def port(self) -> str:
        return self.names.port

    def _listen(self) -> bool:
        """Take one line; whether it was the end of a command."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().split()
        assert line, f"the simulator ended with {self._process.poll()}"
        if line[0] == "port":
            self.names.plug(line[1])
        elif line[0] == "strobe":
            self.strobes_us.append((float(line[1]), float(line[2])))
        elif line[0] == "outputs":
            self._outputs = [int(word) for word in line[1:]]
        return line[0] == "ok"

    def _do(self, command: str) -> None:
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(command + "\n")
            while not self._listen():
                pass

    def light(self) -> tuple[int, float]:
        """The lamp's true (channel, mA): duty of the current's PWM where the light is enabled."""
        self._do("outputs")
        enabled, *duties, _, _ = self._outputs
        assert 0 in duties, "one channel at a time"
        channel = 1 if duties[1] else 0
        return (channel, duties[channel] * self._full_scale_ma / 255) if enabled else (0, 0.0)

    def pump(self) -> float:
        """The pump's true drive, 0 to 1."""
        self._do("outputs")
        return self._outputs[3] / 255

    def valve(self) -> bool:
        self._do("outputs")
        return bool(self._outputs[4])

    def reset(self) -> None:
        self._do("reset")

    def hang(self) -> None:
        """An endless loop with interrupts off, until the watchdog bites."""
        self._do("hang")

    def advance(self, seconds: float) -> None:
        """Let the controller's time run on at once."""
        self._do(f"advance {seconds}")

    def set_sensors(self, *shares: float, supply_v: float = 5.0) -> None:
        """Voltages at photodiode, thermistor, humidity, pressure, reference, as shares of the supply."""
        self._do(f"supply {round(supply_v * 1000)}")
        for channel, share in enumerate(shares):
            self._do(f"adc {channel} {round(share * supply_v * 1000)}")
        self.advance(0.1)

    def pulse_flow(self, count: int) -> None:
        self._do(f"flow {count}")

    def frame(self, count: int = 1) -> None:
        """Triggers of the sensor, 40 ms apart."""
        self._do(f"frames {count}")

    def to_host(self, data: bytes) -> None:
        self._do(f"to-host {data.hex()}")

    def to_controller(self, data: bytes) -> None:
        self._do(f"to-controller {data.hex()}")

    def plug(self) -> None:
        """The port is there again, under another name; the controller ran on."""
        self._do("plug")

    def unplug(self) -> None:
        self.names.unplug()
        self._do("unplug")

    def close(self) -> None:
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()
