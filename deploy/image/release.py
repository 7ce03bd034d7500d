"""Holonode's release in the root of an image, laid out by the code that lays it out on a box."""

from __future__ import annotations

from pathlib import Path

from deploy.image.disk import run
from device.errors import HolonodeError, InputError
from device.releases import Layout, Machine
from device.releases.installing import install

__all__ = ["lay_out"]

NEW_ID = "holonode-new"
"""Until the first boot gives the box one of its own."""


def lay_out(root: Path, bundle: Path) -> None:
    """Install a bundle in a foreign root; InputError where it is for another machine."""
    machine = _machine(root)
    release = install(bundle, Layout(root), machine, device_id=NEW_ID)
    # Byte code is the same for every processor; on the box nobody may write it.
    compiler = f"python{machine.python}"
    try:
        run(compiler, "--version")
    except HolonodeError:
        print(f"{compiler}, which would compile for the box, isn't here: every start there takes longer")
        return
    for folder in (release.path / "venv/lib", root / f"usr/lib/python{machine.python}"):
        at = f"/{folder.relative_to(root)}"
        run(compiler, "-m", "compileall", "-q", "-q", "-j", "1", "-s", str(folder), "-p", at, str(folder))


def _machine(root: Path) -> Machine:
    """What a root's own Python is for."""
    interpreter = root / "usr/bin/python3"
    if not interpreter.is_symlink():
        raise InputError("the root has no Python", where=interpreter)
    name = interpreter.readlink().name
    return Machine(arch="aarch64", python=name.removeprefix("python"), interpreter=f"/usr/bin/{name}")
