"""A wheel laid out in an environment: what an installer does, without a compiler, a network or another processor's Python.

Source: the binary distribution format of the Python Packaging User Guide (PEP 427), RECORD (PEP 376), entry points.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from configparser import ConfigParser
from pathlib import Path, PurePosixPath

from device.errors import CheckError

__all__ = ["environment", "lay_out_wheel", "site_packages"]

_SCHEMES = {"purelib": "site", "platlib": "site", "scripts": "bin", "data": "", "headers": "include/site"}
_PROGRAM = """#!{python}
import sys
from {module} import {start}
sys.exit({function}())
"""


def site_packages(folder: Path, python: str) -> Path:
    """Where an environment keeps its packages."""
    return folder / f"lib/python{python}/site-packages"


def environment(folder: Path, *, python: str, interpreter: str) -> None:
    """An environment without anything in it, as `python -m venv --without-pip` makes one, for a Python that need not run here."""
    site_packages(folder, python).mkdir(parents=True)
    programs = folder / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(interpreter)
    for name in ("python", f"python{python}"):
        (programs / name).symlink_to("python3")
    home = PurePosixPath(interpreter).parent
    text = f"home = {home}\ninclude-system-site-packages = false\nversion = {python}\nexecutable = {interpreter}\n"
    (folder / "pyvenv.cfg").write_text(text, encoding="utf-8")


def lay_out_wheel(wheel: Path, folder: Path, *, python: str, runs_at: str) -> None:
    """Lay the files of a wheel out in an environment; CheckError where the wheel's own record doesn't hold.

    runs_at: the environment's absolute path on the machine where its programs will be run.
    """
    site = site_packages(folder, python)
    with zipfile.ZipFile(wheel) as archive:
        info = _info_folder(archive, wheel)
        rows: list[tuple[str, str, int]] = []
        for name, digest in _record(archive, info).items():
            content = archive.read(name)
            if digest and digest != _digest(content):
                raise CheckError(
                    "a file isn't what its wheel's record says", where=f"{wheel.name}: {name}", remedy="Make the bundle again."
                )
            target = _target(name, folder, site)
            if not target.resolve().is_relative_to(folder.resolve()):
                raise CheckError("a wheel wants to write outside its environment", where=f"{wheel.name}: {name}")
            is_program = target.parent == folder / "bin"
            if is_program and content.startswith(b"#!python"):
                content = f"#!{runs_at}/bin/python".encode() + content[content.index(b"\n") :]
            rows.append(
                _written(
                    target, content, site, executable=is_program or bool(archive.getinfo(name).external_attr >> 16 & 0o100)
                )
            )
        for name, text in _programs(archive, info, f"{runs_at}/bin/python").items():
            rows.append(_written(folder / "bin" / name, text.encode(), site, executable=True))
    rows.append(_written(site / info / "INSTALLER", b"holonode\n", site))
    _write_record(site / info / "RECORD", rows)


def _info_folder(archive: zipfile.ZipFile, wheel: Path) -> str:
    found = {name.partition("/")[0] for name in archive.namelist() if name.partition("/")[0].endswith(".dist-info")}
    if len(found) != 1:
        raise CheckError(
            "this is no wheel", where=wheel.name, expected="one .dist-info folder", got=", ".join(sorted(found)) or "none"
        )
    return found.pop()


def _record(archive: zipfile.ZipFile, info: str) -> dict[str, str]:
    """Every file of a wheel but its record, with the digest that the record holds."""
    rows = csv.reader(io.StringIO(archive.read(f"{info}/RECORD").decode("utf-8")))
    said = {row[0]: row[1] for row in rows if row}
    own = {f"{info}/RECORD", f"{info}/RECORD.jws", f"{info}/RECORD.p7s"}
    files = [name for name in archive.namelist() if not name.endswith("/") and name not in own]
    if unknown := [name for name in files if not said.get(name)]:
        raise CheckError("a wheel holds a file that its record doesn't", where=unknown[0])
    return {name: said[name] for name in files}


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _target(name: str, folder: Path, site: Path) -> Path:
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return site / name
    scheme, _, inner = rest.partition("/")
    place = _SCHEMES.get(scheme)
    if place is None:
        raise CheckError("a wheel holds what has no place", where=name, expected=", ".join(_SCHEMES))
    return site / inner if place == "site" else folder / place / inner


def _written(target: Path, content: bytes, site: Path, *, executable: bool = False) -> tuple[str, str, int]:
    """Write a file; its row of the record."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    target.chmod(0o755 if executable else 0o644)
    inside = target.is_relative_to(site)
    up = "../" * 3
    name = str(target.relative_to(site)) if inside else up + str(target.relative_to(site.parents[2]))
    return name, _digest(content), len(content)


class _EntryPoints(ConfigParser):
    def optionxform(self, optionstr: str) -> str:
        """Names of programs keep their case."""
        return optionstr


def _programs(archive: zipfile.ZipFile, info: str, python: str) -> dict[str, str]:
    """The programs that a wheel's entry points ask for."""
    if f"{info}/entry_points.txt" not in archive.namelist():
        return {}
    parser = _EntryPoints(delimiters=("=",), interpolation=None)
    parser.read_string(archive.read(f"{info}/entry_points.txt").decode("utf-8"))
    if not parser.has_section("console_scripts"):
        return {}
    programs: dict[str, str] = {}
    for name, place in parser.items("console_scripts"):
        module, _, function = place.partition("[")[0].strip().partition(":")
        start = function.partition(".")[0]
        programs[name] = _PROGRAM.format(python=python, module=module, start=start, function=function)
    return programs


def _write_record(path: Path, rows: list[tuple[str, str, int]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows(sorted(rows))
        writer.writerow((str(path.relative_to(path.parents[1])), "", ""))
