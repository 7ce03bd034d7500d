"""`make test-updates`: releases signed by an owner, from a stick, onto a box with a real systemd (as root).

The shipped installer, units and service in a container of Debian 13: a release that fails its self-test is refused; one that ends
at once, or samples and never confirms within the stated time or over power cuts, is rolled back; a good one is cut off while it
is laid out and on trial and becomes good all the same. The real wheels each time; versions differ in a few lines of the program.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deploy.signing.described import describe
from device.releases import Layout, current, previous
from device.updates.apply import MOST_BOOTS
from device.updates.trials import TrialBook, UpdateOutcome, UpdatePlaces
from tests.boot.boots import say
from tests.boot.container import Container, unavailable
from tests.boot.machine import end_in_order
from tests.boot.other_release import other_release
from tests.install.roots import PYTHON_OF
from tests.owners import owner

_ROOT = Path(__file__).resolve().parents[2]
_SERVICE = "holonode.service"
_WITHIN_S = 90
"""Stated in place of half an hour for releases that are never going to confirm; the others have the half hour."""
_TRIAL = f"""[Service]
ExecStart=
ExecStart=/opt/holonode/previous/venv/bin/holonode update watch --within-s {_WITHIN_S}
"""
_SETTINGS = "\n[sampling]\nsample_volume_l = 2.0\n"


class Campaign:
    """One box and its owner, and each claim told as it is found."""

    def __init__(self, folder: Path, bundle: Path, rng: random.Random) -> None:
        self.bundle, self.folder, self.rng, self.faults = bundle, folder, rng, 0
        self.owner = owner(folder / "owner")
        self.box = Container.unpacked(folder / "box", self.owner.folder, cache=_ROOT / "build/roots")
        self.layout = Layout(self.box.root)
        self.book = TrialBook(UpdatePlaces(self.layout))

    def claim(self, what: str, holds: bool, said: object = "") -> None:
        """Tell whether a claim holds; what was said, where it doesn't."""
        self.faults += not holds
        say(("ok     " if holds else "FAILED ") + what + ("" if holds else f"\n{said}"))

    # -- the box ----------------------------------------------------------------------------------------------------------

    def install(self) -> None:
        """By its one command, and trust in the owner."""
        shutil.copyfile(self.bundle, self.box.root / "root/bundle.tar")
        self.box.start()
        began_s = time.monotonic()
        done = self.box.run("sh", "-c", "tar -xOf /root/bundle.tar install.sh | sh -s -- /root/bundle.tar")
        (self.box.root / "root/bundle.tar").unlink()
        self.claim(
            f"installed, service ready ({time.monotonic() - began_s:.0f} s)",
            done.status == 0 and done.last_line.startswith("Installed ") and self._active(),
            done.text,
        )
        for unit in ("holonode-update.path", "holonode-renew.timer"):
            state = self.box.shown(unit, "ActiveState")
            self.claim(f"{unit} is active", state == "active", state)
        settings = self.layout.settings / "holonode.toml"
        settings.write_text(settings.read_text() + _SETTINGS)
        shutil.copy(self.owner.folder / "metadata/1.root.json", self.box.root / "root/root.json")
        trusted = self.box.run("holonode", "update", "trust", "/root/root.json")
        self.claim("the owner is trusted", trusted.status == 0, trusted.text)
        self.box.run("systemctl", "restart", _SERVICE)

    def _active(self) -> bool:
        return self.box.shown(_SERVICE, "ActiveState") == "active"

    def _runs(self) -> str:
        """Version of the release whose process the service is; empty where it isn't ready."""
        if not self._active():
            return ""
        pid = self.box.shown(_SERVICE, "MainPID")
        program = self.box.run("cat", f"/proc/{pid}/cmdline").text.split("\0")[0]
        found = self.box.run("readlink", "-f", str(Path(program).parents[1])).text.strip()
        return Path(found).parent.name.rpartition("-")[0]

    # -- updates ----------------------------------------------------------------------------------------------------------

    def offer(self, version: str, behaviour: str) -> None:
        """Sign it, put it on the stick, have the box ask root for it."""
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            self.owner.add(describe(other_release(self.bundle, version, behaviour, Path(scratch))))
        self.box.until(self._active)
        asked = self.box.run(
            "holonode",
            "update",
            "apply",
            "--source",
            "/media/stick",
            "--config",
            "/etc/holonode/holonode.toml",
            user="holonode",
        )
        self.claim(f"{version} ({behaviour}): asked for", asked.status == 0 and "is asked for" in asked.text, asked.text)

    def _outcome(self, version: str) -> UpdateOutcome | None:
        outcomes = self.book.outcomes()
        return outcomes[-1] if outcomes and f"{version}-" in outcomes[-1].release else None

    def _on_trial(self, version: str) -> bool:
        trial = self.book.trial()
        return trial is not None and trial.release.startswith(f"{version}-")

    def came_out(self, version: str, result: str, runs: str) -> None:
        """Wait for an outcome, and for the service to be ready as the release that should run."""
        self.box.until(lambda: self._outcome(version) is not None)
        outcome, told_s = self._outcome(version), time.monotonic()
        self.claim(f"{version}: {result}" + (f" ({outcome.reason})" if outcome and outcome.reason else ""),
                   outcome is not None and outcome.result == result, outcome)  # fmt: skip
        self.box.until(lambda: self._runs() == runs)
        self.claim(
            f"{version}: {runs} is ready {time.monotonic() - told_s:.0f} s later", self._links_to(runs), self.book.outcomes()
        )

    def _links_to(self, version: str) -> bool:
        running = current(self.layout)
        return running is not None and running.version == version and self.book.trial() is None

    def cut(self, what: str) -> None:
        """Supply off and on."""
        self.box.cut()
        say(f"       cut {what}")
        self.box.start()

    def refused(self, version: str, runs: str) -> None:
        """A release that fails its self-test: the one that runs isn't even stopped."""
        before = self.box.shown(_SERVICE, "MainPID")
        self.offer(version, "failing")
        self.came_out(version, "refused", runs)
        self.claim(f"{version}: the service went on", self.box.shown(_SERVICE, "MainPID") == before)
        self.claim(f"{version}: nothing of it is left", not list(self.layout.releases.glob(f"*{version}-*")))

    def ends(self, version: str, runs: str) -> None:
        """A service that ends at once isn't waited for half an hour."""
        self.offer(version, "ending")
        self.box.until(lambda: self._on_trial(version))
        began_s = time.monotonic()
        self.came_out(version, "rolled back", runs)
        say(f"       {time.monotonic() - began_s:.0f} s after it was put on trial")

    def rolled_back(self, version: str, behaviour: str, runs: str) -> None:
        """Within the time that is stated."""
        drop_in = self.layout.units / "holonode-trial.service.d/within.conf"
        drop_in.parent.mkdir()
        drop_in.write_text(_TRIAL)
        self.box.run("systemctl", "daemon-reload")
        self.offer(version, behaviour)
        self.box.until(lambda: self._on_trial(version))
        began_s = time.monotonic()
        self.came_out(version, "rolled back", runs)
        took_s = time.monotonic() - began_s
        shutil.rmtree(drop_in.parent)
        self.box.run("systemctl", "daemon-reload")
        self.claim(f"{version}: {took_s:.0f} s after it was put on trial (stated: {_WITHIN_S} s)", took_s < _WITHIN_S + 60)

    def rolled_back_over_cuts(self, version: str, behaviour: str, runs: str) -> None:
        """Cut off whenever it runs: the next start of the machine ends it."""
        self.offer(version, behaviour)
        self.box.until(lambda: self._on_trial(version))
        for number in range(1, MOST_BOOTS + 2):
            self.box.until(lambda: self._runs() == version)
            time.sleep(self.rng.uniform(0.0, 10.0))
            self.cut(f"in mid-trial, the {number}. time")
            if not self._on_trial(version):
                break
        self.came_out(version, "rolled back", runs)

    def good_over_cuts(self, version: str) -> None:
        """Cut off while it is laid out, and again on trial."""
        before = current(self.layout)
        self.offer(version, "good")
        self.box.until(lambda: bool(list(self.layout.releases.glob(f".staging-{version}-*"))))
        time.sleep(self.rng.uniform(0.0, 3.0))
        self.cut("while it is laid out")
        self.box.until(lambda: self._on_trial(version) or self._outcome(version) is not None)
        time.sleep(self.rng.uniform(0.0, 3.0))
        self.cut("in mid-trial")
        self.came_out(version, "good", version)
        self.claim(f"{version}: the one before is kept", previous(self.layout) == before, previous(self.layout))

    def good(self, version: str) -> None:
        """Without a cut."""
        self.offer(version, "good")
        self.box.until(lambda: self._on_trial(version))
        began_s = time.monotonic()
        self.came_out(version, "good", version)
        say(f"       good {time.monotonic() - began_s:.0f} s after it was put on trial")

    def whole(self) -> None:
        """All of it on one box."""
        with contextlib.closing(self.box):
            self.install()
            now = "0.1.0"
            self.refused("0.1.1", now)
            self.ends("0.1.2", now)
            self.rolled_back("0.1.3", "silent", now)
            self.rolled_back_over_cuts("0.1.4", "silent", now)
            self.good_over_cuts("0.1.5")
            self.good("0.1.6")


def _bundle() -> Path:
    command = [sys.executable, "-m", "deploy.bundle", "--arch", os.uname().machine, "--python", PYTHON_OF["trixie"]]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0])


def main() -> int:
    """0 where every claim holds; 3 where nothing could be tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.boot.updates", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--work", type=Path, help="folder that keeps the box")
    args = parser.parse_args()
    if why := unavailable():
        say(f"not tested: {why}")
        return 3
    end_in_order()
    say(f"seed {args.seed}")
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Campaign(args.work or Path(scratch), _bundle(), random.Random(args.seed))
        campaign.whole()
    say(f"{campaign.faults} claims failed" if campaign.faults else "every claim holds")
    return 1 if campaign.faults else 0


if __name__ == "__main__":
    sys.exit(main())
