"""The dashboard under load, and what the sampler notices of it: `python -m tests.faults.web_load`.

One service in real time, its commits timed; spans without and with load take turns in one run. Load is, in turn: one watcher; twenty
watchers and an export; 200 half-open connections and some that never read; as many requests a second as it takes. Told are
intervals against those of the spans without, the 99th percentile of commits, the server thread's share of a core, and memory.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import calibration
from tests.brokers import broker
from tests.dashboards import Browser
from tests.services import Service

HALF_OPEN = 200
WATCHERS = 20
MOST_GROWTH_MB = 40.0
"""Of the process, in a flood: buffers of 256 connections at most."""

_INSTRUMENT = Path(calibration.__file__).parent / "instruments" / "bioaerosol-imx219-850nm.toml"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass
class Span:
    """What was seen in one span of time."""

    seconds: float = 0.0
    commits_s: list[float] = field(default_factory=list)
    web_s: float = 0.0
    """Processor time of the server's thread."""
    process_s: float = 0.0
    most_mb: float = 0.0
    """Resident, of the whole process."""
    intervals: int = 0

    @property
    def intervals_per_s(self) -> float:
        return self.intervals / self.seconds

    def p_ms(self, percent: int) -> float:
        """A percentile of how long commits took."""
        return 1e3 * statistics.quantiles(self.commits_s, n=100)[percent - 1] if len(self.commits_s) > 1 else float("nan")

    def __add__(self, other: Span) -> Span:
        return Span(
            self.seconds + other.seconds, self.commits_s + other.commits_s, self.web_s + other.web_s,
            self.process_s + other.process_s, max(self.most_mb, other.most_mb), self.intervals + other.intervals,
        )  # fmt: skip


class Watched:
    """A running service, looked at from outside."""

    def __init__(self, service: Service, commits: Path) -> None:
        self._service, self._commits = service, commits

    def span(self, seconds: float) -> Span:
        """Look for so long."""
        found, began_s = Span(), time.monotonic()
        web_s, process_s, intervals = self._web_s(), self._cpu_s(self._stat()), self._intervals()
        while (gone_s := time.monotonic() - began_s) < seconds:
            found.most_mb = max(found.most_mb, self.resident_mb())
            time.sleep(min(0.1, seconds - gone_s))
        found.seconds = time.monotonic() - began_s
        found.web_s, found.process_s = self._web_s() - web_s, self._cpu_s(self._stat()) - process_s
        found.intervals = self._intervals() - intervals
        lines = (line.split() for line in self._commits.read_text().splitlines())
        found.commits_s = [float(took) for at, took in lines if began_s <= float(at) <= began_s + found.seconds]
        return found

    def resident_mb(self) -> float:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self._service.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0

    def _intervals(self) -> int:
        return self._service.said.count(" L of air")

    def _stat(self) -> Path:
        return Path(f"/proc/{self._service.pid}/stat")

    def _web_s(self) -> float:
        threads = self._commits.with_suffix(".threads")
        names = dict(line.rsplit(" ", 1) for line in threads.read_text().splitlines()) if threads.exists() else {}
        return self._cpu_s(Path(f"/proc/{self._service.pid}/task/{names['web']}/stat")) if "web" in names else 0.0

    @staticmethod
    def _cpu_s(stat: Path) -> float:
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S


# -- loads -----------------------------------------------------------------------------------------------------------------


@contextmanager
def clients(kind: str, port: int, count: int, cookie: str, totals: list[int]) -> Generator[None]:
    """So many of `tests.faults.web_clients`; sent, answered, refused and events are added to `totals`."""
    command = [sys.executable, "-m", "tests.faults.web_clients", kind, str(port), str(count), cookie]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            process.terminate()
            totals[:] = [a + int(b) for a, b in zip(totals, process.stdout.readline().split(), strict=True)]


@contextmanager
def exporting(browser: Browser, made: list[str]) -> Generator[None]:
    """One export after the other."""
    stop = threading.Event()

    def export() -> None:
        while not stop.is_set():
            reply = browser.ask("POST", "/api/exports", {"format": "csv"})
            if reply.status == 200:
                path = f"/api/exports/{reply.json['id']}"
                while not stop.is_set() and (one := browser.ask("GET", path).json)["status"] == "running":
                    stop.wait(0.2)
                if one["status"] != "running":
                    made.append(one["status"])
            stop.wait(0.5)

    thread = threading.Thread(target=export)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


# -- the campaign ----------------------------------------------------------------------------------------------------------


@dataclass
class Load:
    """What the spans with a load came to, beside those without."""

    name: str
    none: Span = field(default_factory=Span)
    under: Span = field(default_factory=Span)

    @property
    def frames_ratio(self) -> float:
        return self.under.intervals_per_s / self.none.intervals_per_s if self.none.intervals else float("nan")

    @property
    def commits_ratio(self) -> float:
        return self.under.p_ms(99) / self.none.p_ms(99)

    def __str__(self) -> str:
        none, under = self.none, self.under
        return (
            f"{self.name:34} intervals {under.intervals_per_s:.3f}/s, {self.frames_ratio:.3f} of none (n {under.intervals}/{none.intervals}); "
            f"commits p50 {under.p_ms(50):.1f} ms of {none.p_ms(50):.1f}, p99 {under.p_ms(99):.1f} ms, {self.commits_ratio:.2f} times none "
            f"(n {len(under.commits_s)}/{len(none.commits_s)}); "
            f"server {100 * under.web_s / under.seconds:.1f} % of a core ({100 * none.web_s / none.seconds:.1f} % without); "
            f"whole process {100 * under.process_s / under.seconds:.0f} % ({100 * none.process_s / none.seconds:.0f} %); "
            f"{under.most_mb:.0f} MB at most ({none.most_mb:.0f} MB without)"
        )


@contextmanager
def _running(folder: Path, url: str, web: str) -> Generator[tuple[Service, Watched]]:
    """A service whose intervals are short, in real time, its commits timed."""
    service = Service.configured(folder, url, web=web, device_id=folder.name)
    instrument = folder / "instrument.toml"
    instrument.write_text(re.sub(r"(width|height)_px = \d+", r"\1_px = 384", _INSTRUMENT.read_text()))
    text = service.config.read_text().replace("realtime = false", "realtime = true")
    text = text.replace("[device]\n", f'[device]\ninstrument = "{instrument}"\n').replace(
        "pause_s = 0.0", "pause_s = 0.2\nsettle_s = 0.1"
    )
    service.config.write_text(text.replace("sample_volume_l = 2.0", "sample_volume_l = 0.02"))
    commits = folder / "commits"
    commits.touch()
    service.start(("-m", "tests.faults.timed_service", str(commits)))
    try:
        service.until_said(" L of air")
        yield service, Watched(service, commits)
    finally:
        service.stop()


def memory_mb(folder: Path, url: str, intervals: int) -> dict[str, float]:
    """Resident after so many intervals: without a dashboard, with one that nobody watches, with one that somebody watches."""
    found: dict[str, float] = {}
    for name, web in (("without", "enabled = false"), ("with", "port = 0"), ("watched", "port = 0")):
        with _running(folder / f"box-{name}", url, web) as (service, watched), ExitStack() as stack:
            if name == "watched":
                stack.enter_context(clients("watch", _port(service), 1, "", [0] * 4))
            while service.said.count(" L of air") < intervals:
                time.sleep(0.2)
            found[name] = watched.resident_mb()
    return found


def _port(service: Service) -> int:
    found = re.search(r"dashboard http://127\.0\.0\.1:(\d+)", service.said)
    assert found, service.said
    return int(found[1])


def campaign(folder: Path, seconds: float, rounds: int, only: str = "") -> tuple[list[Load], list[str]]:
    """Every load in turn whose name has `only` in it; what broke a bar."""
    with broker(folder / "broker") as running:
        memory = memory_mb(folder, running.url, 30)
        more = {name: memory[name] - memory["without"] for name in ("with", "watched")}
        print(
            f"memory: {memory['without']:.0f} MB without a dashboard, {more['with']:+.1f} MB with one, {more['watched']:+.1f} MB with one watcher"
        )
        with _running(folder / "box", running.url, "port = 0") as (service, watched):
            browser = Browser(_port(service)).set_up()
            cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
            watched.span(10.0)
            made, watched_by, opened, flooded = list[str](), [0] * 4, [0] * 4, [0] * 4
            loads: dict[str, Callable[[ExitStack], object]] = {
                "one watcher": lambda stack: stack.enter_context(clients("watch", browser.port, 1, cookie, watched_by)),
                f"{WATCHERS} watchers and an export": lambda stack: [
                    stack.enter_context(one)
                    for one in (clients("watch", browser.port, WATCHERS, cookie, watched_by), exporting(browser, made))
                ],
                f"{HALF_OPEN} half open, 8 that never read": lambda stack: stack.enter_context(
                    clients("half-open", browser.port, HALF_OPEN, cookie, opened)
                ),
                "as many requests as it takes": lambda stack: stack.enter_context(
                    clients("flood", browser.port, 32, cookie, flooded)
                ),
            }
            outcome = [_measured(name, begin, watched, seconds, rounds) for name, begin in loads.items() if only in name]
            faults = [] if browser.ask("GET", "/api/session").status in (200, 429) else ["no answer after the loads"]
    print(
        f"exports made: {len(made)} {sorted(set(made))}; watchers heard {watched_by[3]} events; {opened[0]} half-open connections opened; flood: {flooded[0]} requests sent, "
        f"{flooded[1]} answered, {flooded[2]} of them 429, in {rounds * seconds:g} s"
    )
    return outcome, faults + _broken(outcome, made)


def _measured(name: str, begin: Callable[[ExitStack], object], watched: Watched, seconds: float, rounds: int) -> Load:
    load = Load(name)
    for _ in range(rounds):
        load.none += watched.span(seconds)
        with ExitStack() as stack:
            begin(stack)
            time.sleep(1.0)
            load.under += watched.span(seconds)
    print(load, flush=True)
    return load


def _broken(loads: list[Load], made: list[str]) -> list[str]:
    faults = [
        f"{load.name}: memory grew by more than {MOST_GROWTH_MB:g} MB"
        for load in loads
        if load.under.most_mb > load.none.most_mb + MOST_GROWTH_MB
    ]
    faults += [f"{load.name}: no intervals" for load in loads if not load.under.intervals]
    faults += [
        f"{load.name}: the server took more than its share" for load in loads if load.under.web_s > 0.35 * load.under.seconds
    ]
    faults += ["an export failed"] if set(made) - {"done"} else []
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each span (default 20)")
    parser.add_argument("--rounds", type=int, default=2, help="of each load: one span without and one with it (default 2)")
    parser.add_argument("--only", default="", help="loads with this in their name")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _, faults = campaign(Path(folder), args.seconds, args.rounds, args.only)
    for fault in faults:
        print(f"FAULT {fault}")
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
