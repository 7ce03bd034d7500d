"""Golden self-tests, each in a process of its own, and the memory of those that passed.

Slow is not broken: what limits a test is the processor time that it took, and the wall clock ends only one that gets on no more.
A test that passed is remembered by all that its outcome depends on (model, manifest, sample, runtime, machine), so that a start
after a power cut tests nothing twice; whoever opens a model still compares its digest.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from device.errors import CheckError
from device.inference.interpreter import runtime_name
from device.processes import processor_time_s
from device.stopping import PROGRAM

__all__ = ["PASSED_FILE", "machine", "require_pass"]

log = logging.getLogger("holonode.models")

PASSED_FILE = "selftests.json"
"""In the folder of installed bundles."""

_PROCESSOR_LIMIT_S = 300.0
"""A test takes 0.4 s on a desktop core; an emulated board took a hundred times that."""
_STILL_LIMIT_S = 300.0
"""Without any processor time: it hangs, or the whole machine does."""
_TRIES = 2
_AGAIN_S = 2.0
_LOOK_S = 0.2
_MOST_KEPT = 64
_HARDWARE_CAPABILITIES = (16, 26)
"""AT_HWCAP and AT_HWCAP2 of getauxval(3): what the kernel says that this processor can do."""
_ROOT = Path(__file__).resolve().parents[2]

_passed: set[str] = set()
"""Fingerprints that passed in this process."""


class _Passed(Struct, frozen=True, forbid_unknown_fields=True):
    """Tests that passed under one runtime on one machine."""

    runtime: str
    machine: str
    fingerprints: tuple[str, ...]
    """The newest last."""


def require_pass(model: Path, fingerprint: str, folder: Path | None = None) -> None:
    """Test a model unless that was done; CheckError where it doesn't pass, StoppedError where somebody asks this process to stop.

    `fingerprint` stands for the files' content; `folder` keeps what passed for other processes, where it can be written to.
    """
    if fingerprint in _passed:
        return
    if folder is None or fingerprint not in _kept(folder):
        _test(model)
        if folder is not None:
            _keep(folder, fingerprint)
    _passed.add(fingerprint)


def machine() -> str:
    """Digest of what this machine computes with, and of which one it is: a card may move to another board."""
    said = [platform.machine()]
    with contextlib.suppress(AttributeError, OSError):
        said += [str(ctypes.CDLL(None).getauxval(kind)) for kind in _HARDWARE_CAPABILITIES]
    for path in (Path("/proc/cpuinfo"), Path("/etc/machine-id")):
        with contextlib.suppress(OSError):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            # Clock rates change from look to look.
            said += sorted({line for line in lines if not line.startswith(("cpu MHz", "BogoMIPS", "bogomips"))})
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _kept(folder: Path) -> tuple[str, ...]:
    """What passed here before; nothing where that was under another runtime or on another machine, or can't be read."""
    try:
        passed = msgspec.json.decode((folder / PASSED_FILE).read_bytes(), type=_Passed)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return ()
    return passed.fingerprints if (passed.runtime, passed.machine) == (runtime_name(), machine()) else ()


def _keep(folder: Path, fingerprint: str) -> None:
    """Goes without where there is no folder or no room: the next start tests once more."""
    passed = _Passed(runtime_name(), machine(), (*_kept(folder), fingerprint)[-_MOST_KEPT:])
    partial = folder / f"{PASSED_FILE}.partial"
    try:
        partial.write_bytes(msgspec.json.encode(passed))
        partial.replace(folder / PASSED_FILE)
    except OSError as error:
        log.info("that a self-test passed can't be kept: %s", error)


def _test(model: Path) -> None:
    """CheckError where the model gives another answer, takes its process down or comes to no end."""
    status, said = _tested(model)
    if status == CheckError.exit_status:
        raise CheckError(said.strip())
    if status != 0:
        raise CheckError("the model takes its process down", where=model, got=f"exit status {status}", remedy="It is not used.")


def _tested(model: Path) -> tuple[int, str]:
    """(exit status, stderr) of a self-test; one that hangs, or that something outside ended, is begun again."""
    command = [sys.executable, "-m", "device.inference.selftest", str(model)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])))
    how = ""
    for attempt in range(1, _TRIES + 1):
        # A session of its own: who stops this process from a terminal doesn't fail the model.
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment,
            start_new_session=True,
        )  # fmt: skip
        status, said = _awaited(child)
        if status is None and said:
            raise CheckError("the model doesn't finish its self-test", where=model, got=said, remedy="It is not used.")
        if status is not None and -status not in (signal.SIGKILL, signal.SIGTERM, signal.SIGALRM):
            return status, said
        how = f"stood still for {_STILL_LIMIT_S:g} s" if status is None else f"ended by {signal.Signals(-status).name}"
        if attempt < _TRIES:
            log.warning("the self-test of %s: %s; it is begun again", model.name, how)
            PROGRAM.wait(_AGAIN_S)
    raise CheckError(
        "the model doesn't finish its self-test", where=model, got=f"{how}, {_TRIES} times",
        remedy="It is not used. Look whether the box is short of memory.",
    )  # fmt: skip


def _awaited(child: subprocess.Popen[str]) -> tuple[int | None, str]:
    """(exit status, stderr); (None, why) of one that takes too much, (None, "") of one that stands still.

    StoppedError where somebody asks this process to stop.
    """
    taken_s, moved_s = 0.0, time.monotonic()
    with child:
        try:
            while time.monotonic() - moved_s < _STILL_LIMIT_S:
                PROGRAM.check()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    _, said = child.communicate(timeout=_LOOK_S)
                    return child.returncode, said
                now_s = processor_time_s(child.pid)
                if now_s > taken_s:
                    taken_s, moved_s = now_s, time.monotonic()
                if taken_s > _PROCESSOR_LIMIT_S:
                    return None, f"{taken_s:.0f} s of processor time and no answer"
            return None, ""
        finally:
            if child.returncode is None:
                child.kill()
