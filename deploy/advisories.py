"""Known weaknesses of every locked package, asked of pip-audit: `python -m deploy.advisories [LOCK...]`.

pip-audit ends well where it could look nothing up; here such a package is *not checked*, and so is the whole. Exit status 0: all
were looked up and none is known to be weak; 1: some are; 4: some were not checked. pip-audit is no part of the locks, so that it
can be the newest: it goes into an environment of its own, and PIP_AUDIT names it where it isn't on the path.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device.edge import at_the_edge
from device.errors import HardwareError, HolonodeError, InputError

__all__ = ["Advisories", "look_up", "main"]

_LOCKS = Path(__file__).resolve().parents[1] / "requirements"
_LONGEST_S = 1800


@dataclass(frozen=True)
class Advisories:
    """Of one lock."""

    checked: tuple[str, ...]
    """Packages that were looked up."""
    not_checked: tuple[str, ...]
    """Packages that were not."""
    weak: tuple[str, ...]
    """Package, version and advisory of each known weakness."""


def look_up(lock: Path) -> Advisories:
    """Every package of a lock; HardwareError where pip-audit is missing or ends without an answer."""
    program = os.environ.get("PIP_AUDIT", "pip-audit")
    command = [program, "--format", "json", "--progress-spinner", "off", "--disable-pip", "--requirement", str(lock)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LONGEST_S)
    except FileNotFoundError as error:
        raise HardwareError(
            "pip-audit is missing", got=program,
            remedy="python -m pip install pip-audit, in an environment of its own; or name it: PIP_AUDIT=/path",
        ) from error  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise HardwareError("pip-audit doesn't end", where=lock, got=f"nothing within {_LONGEST_S} s") from error
    try:
        answer = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise HardwareError(
            "pip-audit gave no answer", where=lock, got=said[-1], remedy="Try again where a network can be reached."
        ) from error
    return _judged(lock, answer["dependencies"])


def _judged(lock: Path, told: list[dict[str, Any]]) -> Advisories:
    looked_up = {one["name"]: one for one in told if "skip_reason" not in one}
    wanted = [line.partition("==")[0] for line in lock.read_text("utf-8").splitlines() if "==" in line and line[0].isalnum()]
    weak = [
        f"{one['name']} {one['version']}: {weakness['id']}, mended in {', '.join(weakness['fix_versions']) or 'no version'}"
        for one in looked_up.values()
        for weakness in one["vulns"]
    ]
    missing = [name for name in wanted if name not in looked_up]
    return Advisories(tuple(name for name in wanted if name in looked_up), tuple(missing), tuple(weak))


def main(locks: Iterable[Path] | None = None) -> int:
    """Look at these, or at every lock, and say what came of it."""
    found = sorted(_LOCKS.glob("*.lock")) if locks is None else list(locks)
    if not found:
        raise InputError("there is no lock", where=_LOCKS)
    worst = 0
    for lock in found:
        try:
            told = look_up(lock)
        except HolonodeError as error:
            print(f"{lock.name}: not checked: {error}")
            worst = 4
            continue
        count = len(told.checked) + len(told.not_checked)
        weak = f", {len(told.weak)} known weaknesses" if told.checked else ""
        print(f"{lock.name}: {len(told.checked)} of {count} packages checked{weak}")
        for line in told.weak:
            print(f"  {line}")
        if told.not_checked:
            print(f"  not checked: {', '.join(told.not_checked)}")
        worst = 1 if told.weak or worst == 1 else 4 if told.not_checked else worst
    return worst


if __name__ == "__main__":
    sys.exit(
        at_the_edge("python -m deploy.advisories", lambda: main([Path(word) for word in sys.argv[1:]] or None), debug=False)
    )
