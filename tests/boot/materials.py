"""What is on an image against its bill of materials: `python -m tests.boot.materials IMAGE`.

The bill is beside the image. The installed set is read from the image by other ways than the bill was made: of the release what
its packages say of themselves and the digest of every file; of the system the folder that each Debian package has for its licence.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path

from tests.boot.disks import dump

__all__ = ["faults"]

_NAMES = re.compile("[-_.]+")


def faults(image: Path) -> tuple[int, list[str]]:
    """Components of the bill, and what is wrong: listed and not there, there and not listed, or not what its record says."""
    bill = json.loads(image.with_suffix(".cdx.json").read_bytes())["components"]
    python = {(part["name"], part["version"]) for part in bill if part["purl"].startswith("pkg:pypi/")}
    debian = {part["name"] for part in bill if part["purl"].startswith("pkg:deb/")}
    with tempfile.TemporaryDirectory() as scratch:
        (release,) = dump(image, "/opt/holonode/releases", Path(scratch)).iterdir()
        (site,) = release.glob("venv/lib/python3*/site-packages")
        installed = {_said(path) for path in site.glob("*.dist-info/METADATA")}
        changed = sorted(_changed(site))
    with tempfile.TemporaryDirectory() as scratch:
        # A package's own folder, or its link to that of another one from the same source.
        folders = list(dump(image, "/usr/share/doc", Path(scratch)).iterdir())
        licences = {path.name for path in folders if path.is_symlink() or os.path.lexists(path / "copyright")}
        # A link may be a second name of a package's folder.
        licences -= {path.name for path in folders if path.is_symlink()} - debian
    wrong = [f"in one of bill and release: {name} {version}" for name, version in sorted(python ^ installed)]
    wrong += [f"in one of bill and system: {name}" for name in sorted(debian ^ licences)]
    return len(bill), wrong + [f"not what its record says: {name}" for name in changed]


def _said(metadata: Path) -> tuple[str, str]:
    said = HeaderParser().parsestr(metadata.read_text(encoding="utf-8"))
    return _NAMES.sub("-", said["Name"]).lower(), said["Version"]


def _changed(site: Path) -> Iterator[str]:
    """Files of the packages that are missing, changed, or of no package; byte code apart."""
    recorded: set[Path] = set()
    for record in site.glob("*.dist-info/RECORD"):
        with record.open(encoding="utf-8", newline="") as file:
            for name, digest, _ in csv.reader(file):
                path = (site / name).resolve()
                recorded.add(path)
                if digest and (not path.is_file() or _digest(path) != digest):
                    yield name
    for path in site.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.resolve() not in recorded and path.suffix != ".pth":
            yield f"{path.relative_to(site)} (of no package)"


def _digest(path: Path) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()


def main() -> int:
    """0 where the bill holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.boot.materials", description=__doc__)
    parser.add_argument("image", type=Path, help="of `make image`")
    components, wrong = faults(parser.parse_args().image)
    print("\n".join([*wrong, f"bill of materials: {components} components, {len(wrong)} faults"]))
    return 1 if wrong or not components else 0


if __name__ == "__main__":
    sys.exit(main())
