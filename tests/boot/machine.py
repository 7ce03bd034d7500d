"""An emulated box: 64-bit ARM, one core, the image as its disk, the host's loopback as its network."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.boot.disks import after_cut, copy_disk, logged, promised, take_boot

__all__ = ["HOST", "Machine", "end_in_order"]

HOST = "10.0.2.2"
"""What the guest calls the machine that emulates it."""

_COMMAND_LINE = (
    "root=LABEL=holonode ro console=ttyAMA0 systemd.show_status=no systemd.journald.forward_to_console=1 "
    "systemd.journald.max_level_console=info mitigations=off kpti=off"
)
"""An emulated processor has nothing to leak, and pays for page tables that are kept apart."""
_MOST_LOOKS, _BETWEEN_LOOKS_S = 1500, 0.02
"""For a moment at which the disk holds writes that no flush made sure of: they are milliseconds apart where a box commits."""
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-B0-9]|\r")


def end_in_order() -> None:
    """Let a request to end unwind the program, so that no machine goes on alone."""

    def end(_number: int, _frame: object) -> None:
        sys.exit(143)

    signal.signal(signal.SIGTERM, end)


@dataclass
class Machine:
    """Start it, read its console, cut its supply; what its disk holds goes on."""

    disk: Path
    """As it is while the machine is off."""
    folder: Path
    """For its console and what a run needs."""
    memory_mb: int = 1024
    """Of the guest."""
    starts: int = 0
    """How often it was started."""
    _process: subprocess.Popen[bytes] | None = None
    _began_s: float = field(default=0.0)

    def start(self, command_line: str = "", *, clock: str = "utc") -> None:
        """Supply on; more words for the kernel, and what its clock says (`utc`, or a date)."""
        assert self._process is None
        self.folder.mkdir(parents=True, exist_ok=True)
        self.starts += 1
        for name in ("vmlinuz", "initramfs"):
            (self.folder / name).write_bytes(take_boot(self.disk, name))
        copy_disk(self.disk, self._running)
        self._log.unlink(missing_ok=True)
        self._log.touch()
        drive = f"driver=blklogwrites,node-name=disk,file.driver=file,file.filename={self._running},log.driver=file,log.filename={self._log}"
        command = [
            "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-smp", "1", "-m", str(self.memory_mb),
            "-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{self.console}", "-rtc", f"base={clock}",
            "-kernel", str(self.folder / "vmlinuz"), "-initrd", str(self.folder / "initramfs"),
            "-append", f"{_COMMAND_LINE} {command_line}",
            "-blockdev", drive, "-device", "virtio-blk-pci,drive=disk,write-cache=on,discard=off,write-zeroes=off",
            "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci",
        ]  # fmt: skip
        self._began_s = time.monotonic()
        with (self.folder / "emulator.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    @property
    def console(self) -> Path:
        """Of the present start."""
        return self.folder / f"console-{self.starts}.txt"

    @property
    def on_s(self) -> float:
        """Since the supply is on."""
        return time.monotonic() - self._began_s

    @property
    def said(self) -> str:
        """What it has printed since its supply is on."""
        return _COLOURS.sub("", self.console.read_text(errors="replace")) if self.console.exists() else ""

    @property
    def is_running(self) -> bool:
        """Whether it is on."""
        return self._process is not None and self._process.poll() is None

    def until_said(self, pattern: str, timeout_s: float = 1200) -> float:
        """Seconds from its start until a line matched; the limit is for what never comes."""
        until = time.monotonic() + timeout_s
        while not re.search(pattern, self.said):
            assert self.is_running, self._tail()
            assert time.monotonic() < until, f"no {pattern!r} within {timeout_s} s; {self._tail()}"
            time.sleep(0.5)
        return self.on_s

    def cut(self, rng: random.Random) -> tuple[int, int]:
        """Supply off, at the next moment at which the disk holds writes that no flush made sure of.

        Returns how many these were, and how many of them are lost; 0 of a machine that wrote nothing for a long time.
        """
        self._stop_amid_writes(rng)
        self._end()
        found = after_cut(self.disk, self._log, rng)
        self._running.unlink()
        return found

    def _stop_amid_writes(self, rng: random.Random) -> None:
        """Stopped, it can't go on while somebody looks at what it has written."""
        assert self._process is not None
        looked_at, entries, unsure = 0, 0, False
        for look in range(1, _MOST_LOOKS + 1):
            self._process.send_signal(signal.SIGSTOP)
            os.waitpid(self._process.pid, os.WUNTRACED)
            for write in logged(self._log, looked_at):
                looked_at, unsure = write.end, not write.flush
                entries += 1
            # An entry still to be written may lie before a flush that is.
            if entries >= promised(self._log) and (unsure or look == _MOST_LOOKS):
                return
            self._process.send_signal(signal.SIGCONT)
            time.sleep(rng.uniform(0.0, 2 * _BETWEEN_LOOKS_S))

    def close(self) -> None:
        """Off, for good."""
        if self._process is not None:
            self._end()

    def _end(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(60)
        self._process = None

    def _tail(self) -> str:
        return "\n".join(["the console's end:", *self.said.splitlines()[-60:]])

    @property
    def _running(self) -> Path:
        return self.folder / "running.img"

    @property
    def _log(self) -> Path:
        return self.folder / "writes"
