"""Small bundles of a small program, whole and damaged, and roots to install them in."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from device.releases import Layout, Machine

__all__ = ["MACHINE", "MEMORY", "bare_root", "bundle_files", "packed", "program_wheel", "small_bundle"]

MACHINE = Machine(
    arch="x86_64", python=f"{sys.version_info.major}.{sys.version_info.minor}", interpreter="/usr/bin/python3", glibc=(2, 36)
)
"""What the small bundles are for."""

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A folder in memory, where a synchronisation waits for nobody else's files."""

_UNIT = "[Service]\nExecStart=/opt/holonode/current/venv/bin/holonode run\n[Install]\nWantedBy=multi-user.target\n"


def bare_root(folder: Path) -> Layout:
    """A root that has the system's libraries and nothing else."""
    libraries = folder / "usr/lib/x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    for name in ("libstdc++.so.6", "libgcc_s.so.1"):
        (libraries / name).touch()
    return Layout(folder)


def program_wheel(version: str, *, extra: Mapping[str, bytes] | None = None) -> bytes:
    """A wheel with one package, one program and data that goes elsewhere."""
    info = f"holonode-{version}.dist-info"
    files = {
        "small/__init__.py": f'VERSION = "{version}"\n\n\ndef main() -> int:\n    print(VERSION)\n    return 0\n'.encode(),
        f"holonode-{version}.data/scripts/small-script": b"#!python\nimport small\n",
        f"holonode-{version}.data/data/share/small.txt": b"data\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: holonode\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": b"[console_scripts]\nholonode = small:main\n",
    } | dict(extra or {})
    rows = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def bundle_files(version: str = "1.0", *, machine: Machine = MACHINE) -> dict[str, bytes]:
    """The files of a bundle, its manifest last."""
    files = {
        f"wheels/holonode-{version}-py3-none-any.whl": program_wheel(version),
        "install.sh": b"#!/bin/sh\n",
        "units/holonode.service": _UNIT.encode(),
        "units/holonode.toml": b'[device]\nid = "@ID@"\n',
        "units/journald-holonode.conf": b"[Journal]\n",
        "udev/60-holonode.rules": b"\n",
        "requirements/box.lock": b"\n",
    }
    manifest = {
        "format": 1, "version": version, "arch": machine.arch, "python": machine.python, "glibc": "2.27", "built_from": "0" * 40,
        "store_schema": 3, "unpacked_bytes": 10_000,
        "files": {name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} for name, content in files.items()},
    }  # fmt: skip
    return files | {"bundle.json": (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()}


def packed(files: Mapping[str, bytes], path: Path) -> Path:
    """Files in an archive."""
    with tarfile.open(path, "w:") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def small_bundle(path: Path, version: str = "1.0") -> Path:
    """A whole one."""
    return packed(bundle_files(version), path)
