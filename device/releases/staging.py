"""A bundle made into a release beside the others: the tree holds all of it or nothing."""

from __future__ import annotations

import compileall
import ctypes
import errno
import os
import shutil
import sys
from pathlib import Path

from device.errors import InputError
from device.releases.bundle import MANIFEST, Bundle, check_fits, copied
from device.releases.layout import Layout, Release, sync_folder
from device.releases.machine import Machine, check_interpreter, check_libraries, this_machine
from device.releases.wheels import environment, lay_out_wheel, site_packages

__all__ = ["STAGING", "check_room", "stage"]

STAGING = ".staging-"
"""What the folder of a release is called while it is made."""

_COPIED = ("install.sh", "manual", "requirements", "udev", "units")
_CAMERA_PACKAGES = (
    "picamera2", "libcamera", "pykms", "pidng", "piexif", "PIL", "av", "simplejpeg", "videodev2", "v4l2.py", "prctl.py", "libarchive",
    "jsonschema", "jsonschema_specifications", "referencing", "attr", "attrs", "rpds",
)  # fmt: skip
"""The system's Python packages of the camera: libcamera exists only there, and what its picamera2 imports besides NumPy."""
_SYSTEM_PACKAGES = "/usr/lib/python3/dist-packages"
_COMPILED_SHARE = 1.35
"""Of what wheels unpack to: with byte code and a file system's blocks."""


def stage(bundle: Bundle, layout: Layout, machine: Machine | None = None) -> Release:
    """The release of a bundle, laid out and safe from a power cut but not yet current; one that is there already is left alone.

    machine: what the root belongs to; None: the one that runs this. InputError and CheckError before anything is touched:
    a bundle for another machine, a library that the system lacks, no room. An error or a power cut later leaves nothing but a
    folder that the next call removes.
    """
    machine = machine or this_machine()
    check_fits(bundle, machine)
    check_interpreter(machine)
    check_libraries(layout.root)
    release = layout.release(bundle.release_name)
    if release.path.is_dir():
        return release
    check_room(bundle, layout)
    with layout.locked():
        if not release.path.is_dir():
            _staged(bundle, layout, release, machine)
    return release


def check_room(bundle: Bundle, layout: Layout) -> None:
    """InputError where a release won't fit."""
    there = layout.releases
    while not there.exists():
        there = there.parent
    free_bytes, needed_bytes = shutil.disk_usage(there).free, int(bundle.unpacked_bytes * _COMPILED_SHARE)
    if free_bytes < needed_bytes:
        raise InputError(
            "there is no room for the release", where=layout.releases, expected=f"{needed_bytes / 1e6:.0f} MB",
            got=f"{free_bytes / 1e6:.0f} MB free", remedy="Remove what isn't needed; an older release: python -m device.releases drop --keep 2.",
        )  # fmt: skip


def _staged(bundle: Bundle, layout: Layout, release: Release, machine: Machine) -> None:
    staging = layout.releases / f"{STAGING}{release.name}"
    layout.clear()
    umask = os.umask(0o022)
    try:
        staging.mkdir()
        descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _lay_out(bundle, staging, machine, runs_at=f"/{release.path.relative_to(layout.root)}/venv")
            _sync(descriptor)
        finally:
            os.close(descriptor)
        staging.rename(release.path)
        sync_folder(layout.releases)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                "there is no room for the release", where=layout.releases, remedy="Remove what isn't needed, then try again."
            ) from error
        raise
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    finally:
        os.umask(umask)


def _lay_out(bundle: Bundle, staging: Path, machine: Machine, *, runs_at: str) -> None:
    venv = staging / "venv"
    environment(venv, python=machine.python, interpreter=machine.interpreter)
    with bundle.opened() as source:
        for name in bundle.under("wheels"):
            wheel = staging / Path(name).name
            copied(bundle, source, name, wheel)
            lay_out_wheel(wheel, venv, python=machine.python, runs_at=runs_at)
            wheel.unlink()
        for name in bundle.files:
            if name.partition("/")[0] in _COPIED:
                copied(bundle, source, name, staging / name)
        with source.open(MANIFEST) as file:
            (staging / MANIFEST).write_bytes(file.read())
    (staging / "install.sh").chmod(0o755)
    _let_camera_in(venv, machine)
    if machine.python == f"{sys.version_info.major}.{sys.version_info.minor}":
        # Nobody may write byte code there later.
        compileall.compile_dir(
            str(venv / "lib"), quiet=2, stripdir=str(venv), prependdir=runs_at, maxlevels=30, workers=1
        )  # a file that won't compile is one that nobody imports


def _let_camera_in(venv: Path, machine: Machine) -> None:
    """Let the environment see the system's camera packages and no others; links of what isn't there lead nowhere and harm nothing."""
    folder = venv / "camera"
    folder.mkdir()
    compiled = f"_prctl.cpython-{machine.python.replace('.', '')}-{machine.arch}-linux-gnu.so"
    for name in (*_CAMERA_PACKAGES, compiled):
        (folder / name).symlink_to(f"{_SYSTEM_PACKAGES}/{name}")
    (site_packages(venv, machine.python) / "holonode-camera.pth").write_text("../../../camera\n", encoding="utf-8")


def _sync(descriptor: int) -> None:
    """Have a whole file system written out; OSError where something of it could not be."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "the new release")
