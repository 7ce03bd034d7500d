"""What a release is made of, as a CycloneDX 1.5 document: every wheel with its version, digest and licence; an image's packages.

Source: ECMA-424 (CycloneDX); package URLs by the purl specification. Without times and random numbers: the same wheels give the
same document.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterable
from email.parser import HeaderParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

from device import __version__

__all__ = ["sbom_of", "with_packages"]


def sbom_of(wheels: Iterable[Path]) -> bytes:
    """The document, UTF-8 JSON; its components are in the order of their names."""
    components = sorted((_component(wheel) for wheel in wheels), key=lambda component: component["name"])
    return _written({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "firmware", "name": "holonode", "version": __version__, "bom-ref": "release"}},
        "components": components,
    })  # fmt: skip


def _written(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def with_packages(release: bytes, packages: Iterable[str], suite: str) -> bytes:
    """The document of an image: a release's, and Debian packages by the fields of their control files."""
    document = json.loads(release)
    debian: list[dict[str, Any]] = []
    for fields in map(HeaderParser().parsestr, packages):
        name, version, arch = fields["Package"], fields["Version"], fields["Architecture"]
        purl = f"pkg:deb/debian/{name}@{quote(version, safe='.-~')}?arch={arch}&distro={suite}"
        debian.append({"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl})
    document["metadata"]["component"]["name"] = "holonode-image"
    document["components"] += sorted(debian, key=lambda component: component["name"])
    return _written(document)


def _component(wheel: Path) -> dict[str, Any]:
    said = _metadata(wheel)
    name, version = re.sub(r"[-_.]+", "-", said["Name"]).lower(), said["Version"]
    purl = f"pkg:pypi/{name}@{version}"
    component: dict[str, Any] = {
        "type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl,
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}],
    }  # fmt: skip
    if expression := said.get("License-Expression"):
        component["licenses"] = [{"expression": expression}]
    elif (licence := said.get("License", "").strip()) and "\n" not in licence:
        component["licenses"] = [{"license": {"name": licence}}]
    return component


def _metadata(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        place = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        return dict(HeaderParser().parsestr(archive.read(place).decode("utf-8")).items())
