"""A bundle as another version of the program would be, that works or doesn't: the same wheels, a few lines changed in Holonode's own."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from device import __version__
from tests.bundles import packed

__all__ = ["BEHAVIOURS", "other_release"]

BEHAVIOURS: Mapping[str, tuple[str, str, str]] = {
    "good": ("", "", ""),
    # Can't do what its self-test tries.
    "failing": ("device/rig/models.py", "def model_store(", "raise ImportError('a part is missing')\n\n\ndef model_store("),
    # Passes its self-test, and ends as soon as it is run.
    "ending": ("device/subcommands/run.py", "    give_back_soon()\n", "    return 1\n"),
    # Samples, and never says that it works.
    "silent": ("device/updates/confirmation.py", "        if self.missing:\n", "        if True:\n"),
}
"""File, and the text in it that becomes another."""


def other_release(bundle: Path, version: str, behaviour: str, folder: Path) -> Path:
    """The bundle's program as `version`; returns the archive, in `folder`."""
    with tarfile.open(bundle) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    (own,) = [name for name in files if name.startswith(f"wheels/holonode-{__version__}-")]
    content = _wheel(files.pop(own), version, behaviour)
    manifest = json.loads(files.pop("bundle.json"))
    del manifest["files"][own]
    own = own.replace(f"-{__version__}-", f"-{version}-")
    manifest["files"][own] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest["version"] = version
    # The manifest comes first in an archive.
    said = {"bundle.json": (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()}
    folder.mkdir(parents=True, exist_ok=True)
    return packed(said | files | {own: content}, folder / bundle.name.replace(f"-{__version__}-", f"-{version}-"))


def _wheel(content: bytes, version: str, behaviour: str) -> bytes:
    old, new = f"holonode-{__version__}.dist-info", f"holonode-{version}.dist-info"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name.replace(old, new): archive.read(name) for name in archive.namelist()}
    _replace(files, "device/__init__.py", f'__version__ = "{__version__}"', f'__version__ = "{version}"')
    _replace(files, f"{new}/METADATA", f"Version: {__version__}", f"Version: {version}")
    if (changed := BEHAVIOURS[behaviour])[0]:
        _replace(files, *changed)
    del files[f"{new}/RECORD"]
    rows = [f"{name},sha256={_digest(body)},{len(body)}" for name, body in files.items()]
    files[f"{new}/RECORD"] = "\n".join([*rows, f"{new}/RECORD,,", ""]).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(zipfile.ZipInfo(name), body)
    return out.getvalue()


def _replace(files: dict[str, bytes], name: str, text: str, by: str) -> None:
    said = files[name].decode()
    assert text in said, f"{name} has no {text!r} any more"
    files[name] = said.replace(text, by, 1).encode()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
