"""Every claim of the installer on clean systems: `python -m tests.install` (as root).

Without any network: what a bundle lacks, a box lacks; with --online from a checkout, which fetches its wheels. The release before is the same program under another digest unless --before
names a bundle of an earlier tag.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from deploy.deb import build as build_package
from tests.bundles import packed
from tests.install.roots import PYTHON_OF, CleanRoot, unavailable

_ROOT = Path(__file__).resolve().parents[2]
_INSTALL = "tar -xOf {0} install.sh | sh -s -- {0}"
_RUN = "holonode run --config /etc/holonode/holonode.toml --intervals 1"
_BOX = ("opt", "etc", "usr/local", "var/lib/holonode")


class Campaign:
    """Claims on one system, each told as it is found."""

    def __init__(self, root: CleanRoot, suite: str) -> None:
        self.suite, self.root, self.faults = suite, root, 0

    @classmethod
    def offline(cls, suite: str, bundle: Path, before: Path, other: Path, work: Path) -> Campaign:
        """With bundles and no network."""
        campaign = cls(CleanRoot(suite, work / suite, cache=_ROOT / "build/roots"), suite)
        for name, file in (("new.tar", bundle), ("before.tar", before), ("other.tar", other)):
            campaign._put(name, file)
        return campaign

    @classmethod
    def online(cls, suite: str, work: Path) -> Campaign:
        """With a checkout, and this machine's network."""
        root = CleanRoot(suite, work / suite, cache=_ROOT / "build/roots", more="python3-venv,git,ca-certificates")
        root.let_out()
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(_ROOT), str(root.path / "srv/holonode")], check=True)
        return cls(root, suite)

    def _put(self, name: str, bundle: Path) -> None:
        shutil.copyfile(bundle, self.root.path / "root" / name)

    def claim(self, what: str, holds: bool, said: str = "") -> None:
        """Tell whether a claim holds; what was said, where it doesn't."""
        self.faults += not holds
        print(f"{self.suite:9} {'ok    ' if holds else 'FAILED'} {what}" + ("" if holds else f"\n{said}"), flush=True)

    def _records(self) -> int:
        with closing(sqlite3.connect(self.root.path / "var/lib/holonode/store/history/history.sqlite")) as database:
            return int(database.execute("SELECT count(*) FROM intervals").fetchone()[0])

    def _run(self, what: str) -> str:
        done = self.root.shell(f"cd; {_RUN}", user="holonode")
        self.claim(
            f"{what}: run by hand to the next interval",
            done.status == 0 and "stopped after 1 intervals" in done.text,
            done.text,
        )
        return done.text

    def _installed(self, name: str, what: str) -> None:
        begun = time.monotonic()
        done = self.root.shell(_INSTALL.format(f"/root/{name}"))
        well = done.status == 0 and done.last_line.startswith("Installed ") and "failed" not in done.text
        self.claim(
            f"{what}: exit status 0, the last line agrees, doctor finds nothing wrong ({time.monotonic() - begun:.0f} s)",
            well,
            done.text,
        )

    def refused(self, what: str, message: str, line: str, *, user: str = "root") -> None:
        """Claim that a command ends with one error and the box as it was."""
        was = self.root.fingerprint(*_BOX)
        done = self.root.shell(line, user=user)
        told = (
            done.status != 0
            and message in done.text
            and "Traceback" not in done.text
            and not done.last_line.startswith("Installed")
        )
        self.claim(f"{what}: refused, status {done.status}", told, done.text)
        self.claim(f"{what}: the box as it was", self.root.fingerprint(*_BOX) == was)

    def from_checkout(self) -> None:
        """The wheels are fetched by their hashes; without a network nothing is changed."""
        line = "sh /srv/holonode/deploy/install.sh"
        self.refused("a checkout without a network", "the wheels of the lock can't be had", line)
        begun = time.monotonic()
        done = self.root.shell(line, network=True)
        self.claim(
            f"on-line from a checkout: exit status 0, the last line agrees ({time.monotonic() - begun:.0f} s)",
            done.status == 0 and done.last_line.startswith("Installed ") and "failed" not in done.text,
            done.text,
        )
        self._run("on-line from a checkout")

    def fresh(self) -> None:
        """What a system refuses before anything was installed."""
        libraries = self.root.path / "usr/lib/x86_64-linux-gnu"
        library = libraries / "libstdc++.so.6"
        library.rename(library.with_name("away"))
        self.refused("no libstdc++6", "apt-get install libstdc++6", _INSTALL.format("/root/before.tar"))
        library.with_name("away").rename(library)
        unit = self.root.path / "etc/systemd/system/holonode.service"
        unit.parent.mkdir(parents=True, exist_ok=True)
        unit.write_text("[Service]\nExecStart=/srv/holonode run\n")
        self.refused("a second installation", "another Holonode is installed", _INSTALL.format("/root/before.tar"))
        unit.unlink()
        little = "mount -t tmpfs -o size=100M tmpfs /opt; " + _INSTALL.format("/root/before.tar")
        self.refused("no space", "no room for the release", little)
        self.refused("no Python that fits", "and there is none here", "mkdir /tmp/p; for f in sh tar sed id uname mktemp rm mkdir cat dirname; do "
                     "ln -s $(command -v $f) /tmp/p/$f; done; export PATH=/tmp/p; " + _INSTALL.format("/root/before.tar"))  # fmt: skip

    def life(self) -> None:
        """Install, run, install again, update, uninstall, install again."""
        self._installed("before.tar", "installed")
        self._run("installed")
        settings = self.root.path / "etc/holonode/holonode.toml"
        settings.write_text(settings.read_text() + "\n[sampling]\nsample_volume_l = 2.0\n")
        calibration = self.root.path / "var/lib/holonode/calibration"
        calibration.mkdir()
        (calibration / "kept.txt").write_text("kept\n")
        own = self.root.fingerprint("etc/holonode", "var/lib/holonode/calibration")
        links, intervals = self._links(), self._records()
        self._installed("before.tar", "installed twice")
        self.claim(
            "installed twice: one release, the same links", len(links[0]) == 1 and self._links() == links, str(self._links())
        )
        self._installed("new.tar", "updated")
        self.claim(
            "updated: the release before stays", len(self._links()[0]) == 2 and self._links()[2] == links[1], str(self._links())
        )
        self.claim(
            "updated: settings and calibration as they were",
            self.root.fingerprint("etc/holonode", "var/lib/holonode/calibration") == own,
        )
        self.claim("updated: every interval still there", self._records() == intervals == 1)
        self._materials()
        text = self._run("updated")
        self.claim("updated: numbers go on", "resuming after record" in text or self._records() == 2, text)

    def _materials(self) -> None:
        release = self.root.path / "opt/holonode/releases" / self._links()[1]
        said = {
            (part["name"], part["version"]) for part in json.loads((release / "manual/sbom.cdx.json").read_text())["components"]
        }
        code = (
            "import re; from importlib.metadata import distributions; "
            "[print(re.sub('[-_.]+', '-', d.name).lower(), d.version) for d in distributions(path=[__import__('sysconfig').get_path('purelib')])]"
        )
        done = self.root.run("/opt/holonode/current/venv/bin/python", "-I", "-c", code)
        found = {tuple(line.split()) for line in done.text.splitlines()}
        self.claim(f"bill of materials: {len(said)} parts, the installed set", said == found, f"{said ^ found}")

    def _links(self) -> tuple[list[str], str, str]:
        tree = self.root.path / "opt/holonode"
        current, previous = (
            (tree / name).readlink().name if (tree / name).is_symlink() else "" for name in ("current", "previous")
        )
        return sorted(path.name for path in (tree / "releases").iterdir()), current, previous

    def damaged(self) -> None:
        """What an installed system refuses."""
        folder = self.root.path / "root"
        whole = (folder / "new.tar").read_bytes()
        bad = folder / "bad.tar"
        line = _INSTALL.format("/root/bad.tar")
        from_new = "tar -xOf /root/new.tar install.sh | sh -s -- /root/bad.tar"
        bad.write_bytes(whole[: len(whole) // 2])
        self.refused("half a bundle", "half of one", from_new)
        bad.write_bytes(whole[:700])
        self.refused("the first bytes of a bundle", "half of one", from_new)
        with tarfile.open(folder / "new.tar") as archive:
            place = max((member for member in archive if member.name.startswith("wheels/")), key=lambda member: member.size)
        at = place.offset_data + place.size // 2
        bad.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        self.refused("one wheel changed", "a file was changed", from_new)
        bad.write_bytes(_resaid(folder / "new.tar", arch="aarch64"))
        self.refused("another processor's bundle", "for another processor", line)
        bad.unlink()
        self.refused("another Python's bundle", "and there is none here", _INSTALL.format("/root/other.tar"))
        self.refused("a bundle that isn't there", "there is no /root/bad.tar", from_new)
        self.refused(
            "not as root", "only root may install", "sh /opt/holonode/current/install.sh /etc/hostname", user="holonode"
        )
        self.refused("a second installer at work", "another installation or update is at work",
                     f"flock /opt/holonode sh -c '{_INSTALL.format('/root/before.tar')}'")  # fmt: skip
        store = self.root.path / "var/lib/holonode/store/outbox.sqlite"
        with store.open("r+b") as file:
            file.seek(60)
            schema = file.read(4)
            file.seek(60)
            file.write((99).to_bytes(4, "big"))
        self.refused("a newer store", "written by a newer Holonode", _INSTALL.format("/root/before.tar"))
        with store.open("r+b") as file:
            file.seek(60)
            file.write(schema)

    def end(self) -> None:
        """Uninstall and install again."""
        kept = self.root.fingerprint("etc/holonode", "var/lib/holonode")
        done = self.root.shell("sh /opt/holonode/current/install.sh --uninstall")
        self.claim(
            "uninstalled: exit status 0, the last line agrees",
            done.status == 0 and done.last_line.startswith("Removed."),
            done.text,
        )
        left = [path for top in ("opt", "etc", "usr/local") for path in (self.root.path / top).rglob("*holonode*")]
        self.claim(
            "uninstalled: nothing but the settings is left outside /var/lib/holonode",
            {path.name for path in left} <= {"holonode", "holonode.toml"},
            str(left),
        )
        self.claim(
            "uninstalled: settings and data as they were", self.root.fingerprint("etc/holonode", "var/lib/holonode") == kept
        )
        self._installed("new.tar", "installed again")
        self._run("installed again")
        self.claim("installed again: every interval is there", self._records() == 3)

    def packaged(self, bundle: Path) -> None:
        """The Debian package of the same bundle: the same tree, and gone again with the data left."""
        tree = self._tree()
        self.root.shell("sh /opt/holonode/current/install.sh --uninstall")
        package = build_package(bundle, self.root.path / "root")
        settings, intervals = self.root.fingerprint("etc/holonode"), self._records()
        done = self.root.shell(f"dpkg --install /root/{package.name}")
        self.claim("package: installed", done.status == 0 and "\nInstalled " in done.text, done.text)
        self.claim("package: the tree is the installer's", self._tree() == tree, str(self._tree() ^ tree))
        # doctor writes files of its own.
        now = self.root.fingerprint("etc/holonode"), self._records()
        self.claim("package: settings and records as they were", now == (settings, intervals), f"{now}")
        self._run("package")
        again = self.root.shell(f"dpkg --install /root/{package.name}")
        self.claim("package: installed twice, the same tree", again.status == 0 and self._tree() == tree, again.text)
        kept = self.root.fingerprint("etc/holonode", "var/lib/holonode")
        done = self.root.shell("dpkg --purge holonode")
        left = [
            path
            for top in ("opt", "etc/systemd", "usr/local", "usr/share")
            for path in (self.root.path / top).rglob("*holonode*")
        ]
        self.claim("package: purged, nothing of the program is left", done.status == 0 and not left, f"{done.text}{left}")
        self.claim(
            "package: purged, settings and data as they were", self.root.fingerprint("etc/holonode", "var/lib/holonode") == kept
        )

    def _tree(self) -> set[str]:
        """Paths, kinds, modes and lengths of the current release and of the links to it; byte code holds times, so not its contents."""
        root = self.root.path
        release = (root / "opt/holonode/current").resolve().name
        paths = [
            *(root / "opt/holonode/releases" / release).rglob("*"),
            *(root / "etc/systemd").rglob("holonode*"),
            root / "usr/local/bin/holonode",
        ]
        return {f"{path.relative_to(root)} {path.lstat().st_mode:o} {path.lstat().st_size}" for path in paths}


def _resaid(bundle: Path, **said: str) -> bytes:
    """A bundle with another manifest."""
    with tarfile.open(bundle) as archive, tempfile.TemporaryDirectory() as folder:
        files = {member.name: archive.extractfile(member).read() for member in archive}
        manifest = json.loads(files["bundle.json"]) | said
        files["bundle.json"] = (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()
        return packed(files, Path(folder) / "bundle.tar").read_bytes()


def _bundle(python: str) -> Path:
    command = [sys.executable, "-m", "deploy.bundle", "--arch", "x86_64", "--python", python]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0])


def main() -> int:
    """0 where every claim holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.install", description=__doc__.splitlines()[0])
    parser.add_argument("--suites", nargs="+", choices=PYTHON_OF, default=list(PYTHON_OF))
    parser.add_argument("--before", type=Path, help="folder with the bundles of an earlier tag")
    parser.add_argument("--online", action="store_true", help="from a checkout with this machine's network, and nothing else")
    parser.add_argument("--work", type=Path, help="folder for the systems (default: a temporary one)")
    args = parser.parse_args()
    if why := unavailable():
        print(f"not tested: {why}")
        return 3
    faults = sum(_online(suite, args.work) for suite in args.suites) if args.online else _offline(args)
    print(f"{faults} claims failed" if faults else "every claim holds")
    return 1 if faults else 0


def _online(suite: str, work: Path | None) -> int:
    """Claims that failed."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        campaign = Campaign.online(suite, Path(folder))
        campaign.from_checkout()
        return campaign.faults


def _offline(args: argparse.Namespace) -> int:
    """Claims that failed."""
    bundles = {suite: _bundle(python) for suite, python in PYTHON_OF.items()}
    faults = 0
    for suite in args.suites:
        other = next(bundle for name, bundle in bundles.items() if name != suite)
        with tempfile.TemporaryDirectory(dir=args.work) as folder:
            before = Path(folder) / "before.tar"
            if args.before is None:
                before.write_bytes(_resaid(bundles[suite], built_from="the release before"))
            else:
                shutil.copyfile(next(args.before.glob(f"*-x86_64-cp{PYTHON_OF[suite].replace('.', '')}.tar")), before)
            campaign = Campaign.offline(suite, bundles[suite], before, other, Path(folder))
            packaged = functools.partial(campaign.packaged, bundles[suite])
            steps: tuple[Callable[[], None], ...] = (campaign.fresh, campaign.life, campaign.damaged, campaign.end, packaged)
            for step in steps:
                step()
            faults += campaign.faults
    return faults


if __name__ == "__main__":
    sys.exit(main())
