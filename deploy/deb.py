"""A release as a Debian package: `make deb`.

    python -m deploy.deb BUNDLE [--out build/bundles]

The package holds the bundle and its installer, and its scripts run that installer: the tree is the one that `install.sh` makes.
Removing takes the program away; settings and data stay, purged or not.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from device.edge import at_the_edge
from device.errors import InputError
from device.releases import Bundle, read_bundle

__all__ = ["build"]

_ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}
_FOLDER = "usr/share/holonode"
_CONTROL = """Package: holonode
Version: {version}
Architecture: {arch}
Maintainer: the owner of this box <root@localhost>
Section: science
Priority: optional
Installed-Size: {kilobytes}
Depends: python3 (>= {python}~), python3 (<< {next_python}~), libc6 (>= {glibc}), libstdc++6, passwd, util-linux
Recommends: mosquitto, openssl
Description: field firmware of a holographic particle sensor
 Frames to particles to counts with their uncertainty, by MQTT. The program
 lies in /opt/holonode, its settings in /etc/holonode, its data in
 /var/lib/holonode.
"""
_SCRIPTS = {
    # 4: it is installed, and doctor found something that a person should see to, and said what.
    "postinst": f"""if [ "$1" = configure ]; then
    sh /{_FOLDER}/install.sh /{_FOLDER}/bundle.tar || [ $? -eq 4 ]
fi
""",
    "prerm": f"""if [ "$1" = remove ] && [ -e /opt/holonode/current ]; then
    sh /{_FOLDER}/install.sh --uninstall
fi
""",
    "postrm": """if [ "$1" = purge ]; then
    echo "Settings stay in /etc/holonode, data in /var/lib/holonode"
fi
""",
}


def build(bundle: Path, folder: Path) -> Path:
    """The package of a bundle, in `folder`; the same bundle gives the same bytes. InputError where it is no whole bundle."""
    whole = read_bundle(bundle)
    if not bundle.is_file():
        raise InputError("a package is made of the archive", where=bundle, expected="what `make bundle` made")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"holonode_{whole.version}_{_ARCHES[whole.arch]}.deb"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root = Path(scratch, "root")
        (root / _FOLDER).mkdir(parents=True)
        shutil.copyfile(bundle, root / _FOLDER / "bundle.tar")
        with whole.opened() as source, source.open("install.sh") as installer:
            (root / _FOLDER / "install.sh").write_bytes(installer.read())
        _write_control(root / "DEBIAN", whole, bundle.stat().st_size)
        # Wheels are compressed already.
        command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(Path(scratch, "package"))]
        _run(command)
        Path(scratch, "package").replace(target)
    return target


def _write_control(folder: Path, bundle: Bundle, size_bytes: int) -> None:
    major, minor = map(int, bundle.python.split("."))
    folder.mkdir()
    (folder / "control").write_text(
        _CONTROL.format(
            version=bundle.version, arch=_ARCHES[bundle.arch], kilobytes=size_bytes // 1024, python=bundle.python,
            next_python=f"{major}.{minor + 1}", glibc=".".join(map(str, bundle.glibc)),
        ),
        encoding="utf-8",
    )  # fmt: skip
    for name, body in _SCRIPTS.items():
        (folder / name).write_text(f"#!/bin/sh\nset -e\n{body}", encoding="utf-8")
        (folder / name).chmod(0o755)


def _run(command: list[str]) -> None:
    # 1980, the least that every archive can say.
    environment = {"SOURCE_DATE_EPOCH": "315532800", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise InputError("a package is made by dpkg-deb", remedy="Make it on Debian; apt-get install dpkg.") from error
    if done.returncode != 0:
        raise InputError("dpkg-deb made no package", got=done.stderr.strip())


def main() -> int:
    """Make what is asked for; one line each."""
    parser = argparse.ArgumentParser(prog="python -m deploy.deb", description="A release as a Debian package.")
    parser.add_argument("bundle", type=Path, nargs="+", help="of `make bundle`")
    parser.add_argument("--out", type=Path, default=Path("build/bundles"), help="folder (default: %(default)s)")
    args = parser.parse_args()

    def all_of_them() -> int:
        for bundle in args.bundle:
            package = build(bundle, args.out)
            print(f"{package}  {package.stat().st_size / 1e6:.0f} MB")
        return 0

    return at_the_edge("python -m deploy.deb", all_of_them, debug=False)


if __name__ == "__main__":
    sys.exit(main())
