"""What a release must fit: processor, Python, C library and the system libraries that wheels leave to the system."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from device.errors import InputError

__all__ = ["PYTHONS", "Machine", "check_interpreter", "check_libraries", "this_machine"]

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""The Pythons that every wheel of the lock exists for."""

_LIBRARIES = {"libstdc++.so.6": "libstdc++6", "libgcc_s.so.1": "libgcc-s1"}
"""What the wheels' binaries ask of the system besides the C library, and Debian's package of it."""

_LIBRARY_FOLDERS = ("usr/lib/*", "usr/lib64", "usr/lib", "usr/local/lib", "lib/*", "lib64", "lib")


@dataclass(frozen=True)
class Machine:
    """Where a release is going to run."""

    arch: str
    """As the kernel names it: x86_64, aarch64."""
    python: str
    """Major and minor version, "3.13"."""
    interpreter: str
    """Absolute path of that Python on the machine itself, whatever the root."""
    glibc: tuple[int, int] | None = None
    """Version of its C library; None: not known, as of an image."""


def this_machine() -> Machine:
    """The one that runs this."""
    library, version = platform.libc_ver()
    found = re.match(r"(\d+)\.(\d+)", version) if library == "glibc" else None
    return Machine(
        arch=platform.machine(),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        interpreter=os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
        glibc=(int(found[1]), int(found[2])) if found else None,
    )


def check_interpreter(machine: Machine) -> None:
    """InputError where the service's own user could not run that Python."""
    if machine.python not in PYTHONS:
        raise InputError(
            "this Python is none that the wheels exist for", where=machine.interpreter, expected=f"Python {' to '.join((PYTHONS[0], PYTHONS[-1]))}",
            got=machine.python, remedy="Install one beside the system's and name it: PYTHON=/usr/local/bin/python3.11; or run Holonode in a container.",
        )  # fmt: skip
    if machine.interpreter.startswith(("/root/", "/home/", "/tmp/")):  # noqa: S108  it is refused
        raise InputError(
            "this Python lies where the service may not look", where=machine.interpreter, expected="one below /usr or /opt",
            remedy="Name another: PYTHON=/usr/bin/python3.",
        )  # fmt: skip


def check_libraries(root: Path) -> None:
    """InputError where a library that the wheels leave to the system isn't there."""
    missing = {name: package for name, package in _LIBRARIES.items() if not _has_library(root, name)}
    if missing:
        raise InputError(
            "the system lacks a library that NumPy and the models' runtime need", expected=", ".join(missing),
            remedy=f"Install it: apt-get install {' '.join(missing.values())}",
        )  # fmt: skip


def _has_library(root: Path, name: str) -> bool:
    return any((folder / name).is_file() for pattern in _LIBRARY_FOLDERS for folder in root.glob(pattern))
