"""The sampler under the shipped unit's sandbox: `python -m tests.faults.sandboxed [UNIT] -- ARGUMENTS...` runs `holonode ARGUMENTS` so
(as root); without arguments, `holonode run` for an interval, its store and outbox included.

Of the unit: its system call filter, by systemd's own sets and built with libseccomp; MemoryDenyWriteExecute by PR_SET_MDWE, where the
kernel knows it; no capability and no new privileges. Name spaces, file rights and the user take a systemd that runs.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.services import ROOT, Service

UNIT = ROOT / "deploy" / "systemd" / "holonode.service"
_NO_NEW_PRIVILEGES, _SET_MDWE, _REFUSE_EXEC_GAIN = 38, 65, 1
_DROP_BOUNDING, _CAPABILITIES, _CAPABILITY_VERSION = 24, 64, 0x20080522
_ALLOW, _ERRNO_EPERM = 0x7FFF0000, 0x00050001


def filtered(unit: str) -> set[str]:
    """Names of the system calls that a unit lets through."""
    allowed: set[str] = set()
    for line in re.findall(r"(?m)^SystemCallFilter=(.*)$", unit):
        names = line.removeprefix("~").split()
        told = {call for name in names for call in (_members(name) if name.startswith("@") else [name])}
        allowed = allowed - told if line.startswith("~") else allowed | told
    # systemd's own, which it always adds.
    return allowed | set(_members("@default")) if allowed else allowed


def _members(name: str) -> list[str]:
    said = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
    found: list[str] = []
    for line in said.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            found += _members(word)
        elif word and not word.startswith("#"):
            found.append(word)
    return found


def enter(unit: Path) -> list[str]:
    """Put this process into the sandbox; what of it could not be had, in words."""
    allowed, missing = filtered(unit.read_text()), list[str]()
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_CAPABILITIES):
        libc.prctl(_DROP_BOUNDING, capability, 0, 0, 0)
    assert libc.capset((ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()) == 0
    assert libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    if libc.prctl(_SET_MDWE, _REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
        missing.append("the kernel knows no PR_SET_MDWE")
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ERRNO_EPERM)))
    for name in sorted(allowed):
        number = library.seccomp_syscall_resolve_name(name.encode())
        # Below 0: of another architecture.
        if number >= 0:
            assert library.seccomp_rule_add(context, ctypes.c_uint32(_ALLOW), number, 0) == 0, name
    assert library.seccomp_load(context) == 0
    return missing


def available() -> str:
    """Why it can't be tried here; empty where it can."""
    if os.geteuid() != 0:
        return "needs root"
    if shutil.which("systemd-analyze") is None:
        return "needs systemd-analyze for the names of system calls"
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return "needs libseccomp"
    return "" if UNIT.is_file() else "there is no unit"


def sampled(folder: Path) -> str:
    """What `holonode run` said of one interval in the sandbox; AssertionError where it failed.

    Without the dashboard, whose store asks for its folder's owner where root runs it: the filter refuses root that, too.
    """
    service = Service.configured(folder / "box", "", intervals=1, reconstruction="hidef")
    service.start(("-m", "tests.faults.sandboxed", "--"), HOME=str(folder / "box"))
    status, said = service.finish(None, 600)
    assert status == 0, said
    assert "stopped after 1 intervals" in said, said
    return said


def main() -> int:
    """Enter and run, or try it all."""
    if "--" not in sys.argv:
        if why_not := available():
            print(f"not checked: {why_not}")
            return 1
        with tempfile.TemporaryDirectory() as folder:
            print(sampled(Path(folder)))
        return 0
    at = sys.argv.index("--")
    unit = Path(sys.argv[1]) if at > 1 else UNIT
    for words in enter(unit):
        print(f"sandbox: {words}", file=sys.stderr)
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(("CapEff", "CapPrm", "Seccomp:", "NoNewPrivs")):
            print(f"sandbox: {' '.join(line.split())}", file=sys.stderr)
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "device", *sys.argv[at + 1 :]])
    return 0


if __name__ == "__main__":
    sys.exit(main())
