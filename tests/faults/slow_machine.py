"""First start on a machine ten times slower: `python -m tests.faults.slow_machine --share 0.1` (as root).

`holonode run` and all that it starts get a share of one processor from the kernel's group scheduler. It must become ready at its first
start and publish; the second start, after a kill, must test no model again. The manager restarts nothing here: what ends is a fault.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from device.health.watchdog import WATCHDOG_S
from device.inference.selftest_runs import PASSED_FILE
from tests.brokers import broker
from tests.managers import Manager
from tests.services import Service

_PERIOD_US = 100_000
_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


@dataclass
class SlowStart:
    """What a manager heard of one start."""

    ready_s: float = 0.0
    statuses: list[str] = field(default_factory=list)
    longest_silence_s: float = 0.0
    extended: int = 0

    def __str__(self) -> str:
        seen = [status.partition(";")[0] for status in self.statuses]
        return (
            f"ready after {self.ready_s:.0f} s, {self.extended} times asked for more, at most {self.longest_silence_s:.1f} s silent "
            f"of {WATCHDOG_S} s; {' -> '.join(dict.fromkeys(seen))}"
        )


@contextmanager
def slowed(share: float) -> Generator[Path]:
    """The file that takes the ids of processes which get so much of one processor; OSError where this user may not."""
    group = (_V1 if _V1.is_dir() else _V2) / f"holonode-slow-{os.getpid()}"
    group.mkdir()
    try:
        quota_us = round(share * _PERIOD_US)
        if group.parent == _V1:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota_us))
        else:
            (group / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
        yield group / "cgroup.procs"
    finally:
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.1)


def start(service: Service, group: Path, folder: Path, timeout_s: float) -> SlowStart:
    """Until it is ready; AssertionError where it ends, hangs by its own word, or is silent for too long."""
    manager, came = Manager(str(folder / f"notify-{time.monotonic_ns()}")), SlowStart()
    began_s = heard_s = time.monotonic()
    # A shell that joins the group becomes the service: all of its start is slow.
    service.start(
        ("-c", f"import os,sys; open({str(group)!r},'w').write(str(os.getpid())); os.execv(sys.executable, [sys.executable, '-m', 'device', *sys.argv[1:]])"),
        NOTIFY_SOCKET=manager.address, WATCHDOG_USEC=str(WATCHDOG_S * 1_000_000),
    )  # fmt: skip
    try:
        while time.monotonic() - began_s < timeout_s:
            said = manager.listen(0.5)
            assert service.is_running, service.said
            now_s = time.monotonic()
            if came.extended or said is not None:
                came.longest_silence_s = max(came.longest_silence_s, now_s - heard_s)
                assert now_s - heard_s < WATCHDOG_S, f"silent: {came}"
            if said is None:
                continue
            heard_s = now_s
            came.statuses.append(said.get("STATUS", ""))
            came.extended += "EXTEND_TIMEOUT_USEC" in said
            assert not said.get("STATUS", "").startswith("hangs"), said
            if said.get("READY") == "1":
                came.ready_s = now_s - began_s
                return came
        raise AssertionError(f"not ready within {timeout_s} s: {service.said}")
    finally:
        manager.close()


def campaign(share: float, folder: Path, timeout_s: float) -> tuple[SlowStart, SlowStart]:
    """(first start, second start)."""
    with broker(folder / "broker") as running, slowed(share) as group:
        service = Service.configured(folder / "box", running.url, reconstruction="hidef")
        text = service.config.read_text()
        service.config.write_text(re.sub(r'classifier_model = ""\n', "", text))
        try:
            first = start(service, group, folder, timeout_s)
            service.until_said("particles (", timeout_s)
            service.kill()
            kept = (folder / "box" / "store" / "models" / PASSED_FILE).read_bytes()
            second = start(service, group, folder, timeout_s)
            service.kill()
            assert (folder / "box" / "store" / "models" / PASSED_FILE).read_bytes() == kept, "a model was tested again"
        finally:
            service.stop()
    return first, second


def main() -> int:
    """Print both starts; AssertionError where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.1, help="of one processor")
    parser.add_argument("--timeout-s", type=float, default=1800.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first, second = campaign(args.share, Path(folder), args.timeout_s)
    print(f"first start at {args.share:.0%} of a processor: {first}")
    print(f"second start: {second}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
