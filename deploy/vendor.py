"""The libraries of the dashboard's pages, fetched from npm: `make vendor`.

What is fetched must be what was looked at: version and digest of each package stand here. A page has no build step and its
content security policy no import map, so a bare import is written as a path, and what is only offered as a script is exported.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from device.errors import CheckError

__all__ = ["FOLDER", "LIBRARIES", "Library"]

FOLDER = Path(__file__).resolve().parents[1] / "device" / "web" / "pages" / "vendor"
_SOURCE_MAPS = (b"//# sourceMappingURL=preact.mjs.map", b"//# sourceMappingURL=hooks.mjs.map")


@dataclass(frozen=True)
class Library:
    """One package."""

    name: str
    """At npm."""
    version: str
    """Major.minor.patch."""
    licence: str
    """SPDX identifier."""
    sha256: str
    """Of the package as npm gives it, 64 hex digits."""
    files: Mapping[str, str]
    """By name here, path within the package; the licence among them."""


LIBRARIES = (
    Library("preact", "11.2.0", "MIT", "3c4456766bd32b6b534d52bf4e9c2a29b33e7eedf6e96ed479300ba1a7888ebf", {
        "preact.js": "dist/preact.mjs", "hooks.js": "hooks/dist/hooks.mjs", "preact.LICENSE": "LICENSE",
    }),
    Library("htm", "3.1.1", "Apache-2.0", "2425b9bee11409177bcabc7f32e319926fc6690c1701c0b257c88bdff2d5ba90", {"htm.js": "dist/htm.mjs", "htm.LICENSE": "LICENSE"}),
    Library("uplot", "1.6.32", "MIT", "4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d", {
        "uplot.js": "dist/uPlot.iife.min.js", "uplot.css": "dist/uPlot.min.css", "uplot.LICENSE": "LICENSE",
    }),
    Library("@picocss/pico", "2.1.1", "MIT", "4affbb56f49df6d5325610b06762156f1dcdbc6ef57cea5c136d7e8a00a8cd24", {"pico.css": "css/pico.min.css", "pico.LICENSE": "LICENSE.md"}),
    # Its data are Natural Earth's, in the public domain.
    Library("world-atlas", "2.0.2", "ISC", "032e7765f2ce00edaeafec23ff22bc3b77e42987c257da944cc585b452c05b97", {"land-110m.json": "land-110m.json", "world-atlas.LICENSE": "LICENSE"}),
)  # fmt: skip


def _as_served(name: str, content: bytes) -> bytes:
    """A file as the pages need it."""
    for line in _SOURCE_MAPS:
        content = content.replace(line, b"")
    if name == "hooks.js":
        content = content.replace(b'from"preact"', b'from"./preact.js"')
    if name == "uplot.js":
        content += b"\nexport default uPlot;\n"
    return content


def _fetched(library: Library, folder: Path) -> Path:
    """The package of a library; CheckError where it isn't the one that was looked at."""
    command = ["npm", "pack", "--silent", f"{library.name}@{library.version}", "--pack-destination", str(folder)]
    file = folder / subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != library.sha256:
        raise CheckError(
            "the package is another than the one that was looked at", where=f"{library.name} {library.version}",
            expected=library.sha256, got=found, remedy="Look at what changed before the digest here is changed.",
        )  # fmt: skip
    return file


def main() -> int:
    """Write every file and `manifest.json`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    manifest: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for library in LIBRARIES:
            with tarfile.open(_fetched(library, Path(name))) as archive:
                digests: dict[str, str] = {}
                for target, path in library.files.items():
                    member = archive.extractfile(f"package/{path}")
                    if member is None:
                        raise CheckError("there is no such file in the package", where=library.name, expected=path)
                    content = _as_served(target, member.read())
                    (FOLDER / target).write_bytes(content)
                    digests[target] = hashlib.sha256(content).hexdigest()
            manifest.append(asdict(library) | {"files": dict(library.files), "sha256_as_served": digests})
    (FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
