"""What the sampler takes of the memory: `python -m tests.benchmarks.memory`.

`holonode run` as a process of its own, with the models that ship, once over the simulated instrument and once over frames that it
drew before: what the second takes less is the twin's own part, which no box has. A real camera's buffers come on top. Its broker
is a process of its own and is told apart.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.services import ROOT

BAR_MB = 250.0

_CONFIG = """
[device]
id = "test-box"
[camera]
exposure_us = 2000.0
{camera}
[lamp]
driver = "twin"
[pump]
driver = "twin"
[environment]
driver = "twin"
[twin]
seed = 1
realtime = false
[twin.concentration_per_m3]
birch = 6000
grass = 4000
ragweed = 5000
alternaria = 8000
cladosporium = 24000
penicillium = 8000
dust = 12000
[sampling]
window_change = "{window}"
sample_volume_l = 2.0
pause_s = 0.0
settle_s = 0.0
max_intervals = {intervals}
[storage]
folder = "{folder}/store"
min_free_mb = 0
[web]
enabled = {web}
"""


@dataclass
class Memory:
    """Of one process, in megabytes (2**20)."""

    resident: float = 0.0
    """The most that was seen."""
    anonymous: float = 0.0
    """Of that, what is its own: heap, arrays, stacks."""
    files: float = 0.0
    """Of that, pages of libraries and files, which the system takes back where memory is short."""
    peak: float = 0.0
    """The kernel's high-water mark of the resident memory."""

    def look(self, pid: int) -> None:
        """Keep what is there where it is the most so far."""
        try:
            told = dict(re.findall(r"^(\w+):\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))
        except OSError:
            return
        resident, anonymous, files, peak = (int(told.get(key, 0)) / 1024 for key in ("VmRSS", "RssAnon", "RssFile", "VmHWM"))
        if resident > self.resident:
            self.resident, self.anonymous, self.files = resident, anonymous, files
        self.peak = max(self.peak, peak)

    def __str__(self) -> str:
        return f"{self.peak:5.0f} MB at most ({self.anonymous:.0f} MB its own, {self.files:.0f} MB files, as seen at {self.resident:.0f} MB)"


def _configured(folder: Path, intervals: int, frames: Path | None, *, web: bool) -> Path:
    folder.mkdir()
    camera = "" if frames is None else f'driver = "replay"\nreplay_inputs = ["{frames}/*.png"]'
    path = folder / "box.toml"
    window = "automatic" if frames is None else "person"
    path.write_text(_CONFIG.format(camera=camera, intervals=intervals, folder=folder, window=window, web=str(web).lower()))
    return path


def _children(pid: int) -> list[int]:
    """Brokers among them: self-tests of models come and go before the first frame."""
    try:
        found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [child for child in found if b"selftest" not in Path(f"/proc/{child}/cmdline").read_bytes()]
    except OSError:
        return []


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "device", *arguments]


def measured(config: Path) -> tuple[Memory, Memory, str]:
    """(the sampler, its broker, what it said last) over its intervals."""
    sampler, broker = Memory(), Memory()
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    said = config.with_name("said")
    with said.open("wb") as out:
        process = subprocess.Popen(_command("run", "--config", str(config)), stdout=out, stderr=out, env=environment, cwd=ROOT)
        while process.poll() is None:
            sampler.look(process.pid)
            for child in _children(process.pid):
                broker.look(child)
            time.sleep(0.1)
    return sampler, broker, said.read_text().strip().splitlines()[-1]


def main() -> int:
    """Print both; 1 where the sampler over recorded frames takes more than the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--intervals", type=int, default=6)
    parser.add_argument("--web", action="store_true", help="serve the dashboard, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawing = _configured(folder / "drawing", args.intervals, None, web=False)
        frames = folder / "frames"
        subprocess.run(
            _command("twin", "--config", str(drawing), "--out", str(frames), "--truth", str(folder / "truth.jsonl"), "--frames", str(args.intervals + 1)),
            check=True, cwd=ROOT, env=dict(os.environ, PYTHONPATH=str(ROOT)), stdout=subprocess.DEVNULL,
        )  # fmt: skip
        recorded, broker, said = measured(_configured(folder / "recorded", args.intervals, frames, web=args.web))
        print(f"sampler over recorded frames  {recorded}; {said}")
        twin, _, said = measured(_configured(folder / "twin", args.intervals, None, web=args.web))
        print(f"sampler with the twin         {twin}; {said}")
        print(f"the twin's own part           {twin.peak - recorded.peak:5.0f} MB")
        print(f"its broker                    {broker.peak:5.0f} MB")
    return 0 if recorded.peak <= BAR_MB else 1


if __name__ == "__main__":
    sys.exit(main())
