"""A release in one archive, for boxes that reach no index: `make bundle`.

    python -m deploy.bundle [--arch aarch64] [--python 3.13] [--out build/bundles]

The wheels of `requirements/box.lock` by their hashes, this program's own, units, device names, the installer, the manual. Nothing
is run for the other processor. The same commit and lock give the same bytes. Standard library and pip.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from deploy.sbom import sbom_of
from device import __version__
from device.edge import at_the_edge
from device.errors import InputError
from device.releases.bundle import FORMAT, MANIFEST
from device.releases.machine import PYTHONS, this_machine
from device.storage.migrations import SCHEMA_VERSION

__all__ = ["ARCHES", "build"]

ARCHES = ("x86_64", "aarch64")
_ROOT = Path(__file__).resolve().parents[1]
_LOCK = _ROOT / "requirements/box.lock"
_GLIBC_MINORS = range(5, 37)
"""C libraries that wheels may ask for: up to Debian 12's 2.36. Every one is named, for pip takes a wheel's tag literally: the models'
runtime for aarch64 is tagged manylinux_2_27 and nothing else."""
_BUILDING_ONLY = ("setuptools", "wheel")
"""In the lock for those who build this program; a box doesn't."""
_TREE = {"udev": "deploy/udev", "units": "deploy/systemd"}
_DATE = (1980, 1, 1, 0, 0, 0)
_SINGLE = {"install.sh": "deploy/install.sh", "requirements/box.lock": "requirements/box.lock"}
_MANUAL = (
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "SECURITY.md",
    "deploy/firmware/PROTOCOL.md",
    "deploy/hardware/*.md",
    "deploy/security/*.md",
)
"""Below manual/ as in the repository, so that they find each other."""


def build(arch: str, python: str, folder: Path, *, cache: Path) -> Path:
    """The archive for one processor and one Python, in `folder`.

    arch: as the kernel names it. cache: folder that keeps downloaded wheels. InputError where pip finds no wheel or another one.
    """
    if arch not in ARCHES or python not in PYTHONS:
        raise InputError(
            "there are no wheels for that",
            expected=f"{' or '.join(ARCHES)}; Python {', '.join(PYTHONS)}",
            got=f"{arch}, Python {python}",
        )
    downloaded = _downloaded(arch, python, cache / f"{arch}-cp{python.replace('.', '')}")
    commit, epoch_s = _commit()
    with tempfile.TemporaryDirectory() as name:
        own = _own_wheel(downloaded, Path(name), epoch_s)
        wheels = [wheel for wheel in downloaded.glob("*.whl") if _project(wheel) not in _BUILDING_ONLY]
        parts = Path(name) / "sbom.cdx.json"
        parts.write_bytes(sbom_of((*wheels, own)))
        files = {f"wheels/{wheel.name}": wheel for wheel in (*wheels, own)} | _others() | {f"manual/{parts.name}": parts}
        manifest = _manifest(files, arch=arch, python=python, commit=commit)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"holonode-{__version__}-{arch}-cp{python.replace('.', '')}.tar"
        _write(target, manifest, files)
    return target


def _others() -> dict[str, Path]:
    files = {
        f"{name}/{path.name}": path for name, place in _TREE.items() for path in (_ROOT / place).glob("*") if path.is_file()
    }
    manual = {f"manual/{path.relative_to(_ROOT)}": path for pattern in _MANUAL for path in _ROOT.glob(pattern)}
    return files | manual | {name: _ROOT / place for name, place in _SINGLE.items()}


def _project(wheel: Path) -> str:
    return re.sub(r"[-_.]+", "-", wheel.name.partition("-")[0]).lower()


def _downloaded(arch: str, python: str, folder: Path) -> Path:
    """Every wheel of the lock for one machine, each by its hash; kept from one bundle to the next."""
    digest = hashlib.sha256(_LOCK.read_bytes()).hexdigest()
    mark = folder / "lock.sha256"
    if mark.is_file() and mark.read_text(encoding="utf-8").strip() == digest:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tags = [f"manylinux_2_{minor}_{arch}" for minor in _GLIBC_MINORS] + [
        f"manylinux2014_{arch}",
        f"manylinux2010_{arch}",
        f"manylinux1_{arch}",
    ]
    short = f"cp{python.replace('.', '')}"
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes", "--requirement", str(_LOCK),
        "--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", python, "--dest", str(folder),
        *(word for abi in (short, "abi3", "none") for word in ("--abi", abi)),
        *(word for tag in tags for word in ("--platform", tag)),
    ]  # fmt: skip
    _pip(
        command,
        "the wheels of the lock can't be had",
        remedy="Try again where the package index can be reached; the lock names what is wanted.",
    )
    mark.write_text(digest + "\n", encoding="utf-8")
    return folder


def _pip(
    command: list[str], what: str, *, remedy: str, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> None:
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (
            [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines() or ["nothing"]
        )
        raise InputError(what, where=_LOCK.name, got=" ".join(said[-2:]), remedy=remedy)


def _commit() -> tuple[str, int]:
    """What is built from, and when that was committed (seconds since 1970)."""
    said = _git("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*").strip()
    return said, int(_git("show", "--no-patch", "--format=%ct", "HEAD"))


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", *words], cwd=_ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(
            "a bundle is made from a checkout", where=_ROOT, expected="git and its repository", got=str(error)
        ) from error


def _own_wheel(downloaded: Path, scratch: Path, epoch_s: int) -> Path:
    """This program's wheel, of the files that git knows or would add, built by the lock's own setuptools."""
    sources = scratch / "sources"
    for name in _git("ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0"):
        if name and name.partition("/")[0] != "tests" and (_ROOT / name).is_file():
            target = sources / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_ROOT / name, target)
    command = [
        sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-index", "--find-links", str(downloaded),
        "--no-deps", "--wheel-dir", str(scratch), str(sources),
    ]  # fmt: skip
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch_s)}
    _pip(command, "this program's own wheel can't be built", remedy="Run `make lint`.", environment=environment)
    (wheel,) = scratch.glob("*.whl")
    return _same_every_time(wheel)


def _same_every_time(wheel: Path) -> Path:
    """The wheel with its files in order and without times and modes of this machine."""
    content = io.BytesIO()
    with zipfile.ZipFile(wheel) as read, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as written:
        for name in sorted(read.namelist(), key=lambda name: (".dist-info/" in name, name)):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            written.writestr(entry, read.read(name))
    wheel.write_bytes(content.getvalue())
    return wheel


def _manifest(files: dict[str, Path], *, arch: str, python: str, commit: str) -> bytes:
    wheels = [path for name, path in files.items() if name.startswith("wheels/")]
    said = {
        "format": FORMAT, "version": __version__, "arch": arch, "python": python, "built_from": commit, "store_schema": SCHEMA_VERSION,
        "glibc": f"2.{max(_glibc_minor(wheel) for wheel in wheels)}", "unpacked_bytes": sum(map(_unpacked_bytes, wheels)),
        "files": {name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size} for name, path in files.items()},
    }  # fmt: skip
    return (json.dumps(said, indent=1, sort_keys=True) + "\n").encode()


def _glibc_minor(wheel: Path) -> int:
    """The oldest C library 2.x that a wheel runs with."""
    old = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}
    tags = wheel.stem.rpartition("-")[2]
    minors = [int(minor) for minor in re.findall(r"manylinux_2_(\d+)_", tags)] + [
        old[name] for name in re.findall(r"manylinux\d+", tags) if name in old
    ]
    return min(minors, default=0)


def _unpacked_bytes(wheel: Path) -> int:
    with zipfile.ZipFile(wheel) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def _write(target: Path, manifest: bytes, files: dict[str, Path]) -> None:
    """The archive, the manifest first; whole, or not there."""
    fresh = target.with_suffix(f".{os.getpid()}.part")
    with tarfile.open(fresh, "w:", format=tarfile.GNU_FORMAT) as archive:
        _add(archive, MANIFEST, manifest)
        for name in sorted(files):
            _add(archive, name, files[name].read_bytes())
    fresh.replace(target)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o755 if name.endswith(".sh") else 0o644
    archive.addfile(member, io.BytesIO(content))


def main() -> int:
    """Build what is asked for; one line each."""
    here = this_machine()
    parser = argparse.ArgumentParser(prog="python -m deploy.bundle", description="A release in one archive.")
    parser.add_argument("--arch", nargs="+", choices=ARCHES, default=[here.arch], help="processors (default: this machine's)")
    parser.add_argument("--python", nargs="+", choices=PYTHONS, default=[here.python], help="Pythons (default: this one)")
    parser.add_argument(
        "--out", type=Path, default=_ROOT / "build/bundles", help="folder for the archives (default: build/bundles)"
    )
    parser.add_argument(
        "--cache", type=Path, default=_ROOT / "build/wheels", help="folder that keeps wheels (default: build/wheels)"
    )
    args = parser.parse_args()

    def all_of_them() -> int:
        for arch in args.arch:
            for python in args.python:
                archive = build(arch, python, args.out, cache=args.cache)
                print(
                    f"{archive}  {archive.stat().st_size / 1e6:.0f} MB  sha256 {hashlib.sha256(archive.read_bytes()).hexdigest()}"
                )
        return 0

    return at_the_edge("python -m deploy.bundle", all_of_them, debug=False)


if __name__ == "__main__":
    sys.exit(main())
