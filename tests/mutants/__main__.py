"""Every mutant must be killed by the tests that it names: `python -m tests.mutants --jobs 2`, some minutes on two cores.

Ends with 0 where all were, with 4 where one survived or could not be tried, or where the tests fail without any.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path

from tests.mutants.catalogue import Mutant, faults, listed
from tests.mutants.trial import Copy, Verdict


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names or files, e.g. 'device/optics/*'")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    parser.add_argument("--list", action="store_true", help="names and what they break; nothing is tried")
    args = parser.parse_args()
    every = listed()
    if wrong := list(faults(every)):
        print(*wrong, sep="\n")
        return 4
    chosen = [m for m in every if fnmatchcase(m.name, args.only) or fnmatchcase(m.file, args.only)]
    if not chosen:
        print(f"no mutant is called, or of a file, like {args.only!r}")
        return 4
    if args.list:
        print(*(f"{m.name}  {m.file}: {m.breaks}" for m in chosen), sep="\n")
        return 0
    return _campaign(chosen, max(args.jobs, 1))


@contextlib.contextmanager
def _taken(copies: queue.SimpleQueue[Copy]) -> Generator[Copy]:
    copy = copies.get()
    try:
        yield copy
    finally:
        copies.put(copy)


def _campaign(mutants: list[Mutant], jobs: int) -> int:
    started_s = time.monotonic()
    with contextlib.ExitStack() as ending:
        folder = ending.enter_context(tempfile.TemporaryDirectory(prefix="holonode-mutants-"))
        copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for k in range(jobs):
            copies.put(ending.enter_context(contextlib.closing(Copy(Path(folder) / str(k)))))
        tests = sorted({test for mutant in mutants for test in mutant.tests})

        def unchanged(part: int) -> str | None:
            with _taken(copies) as copy:
                return copy.unchanged(tests[part::jobs])

        def tried(mutant: Mutant) -> Verdict:
            with _taken(copies) as copy:
                return copy.tried(mutant)

        outcomes: Counter[str] = Counter()
        with ThreadPoolExecutor(jobs) as pool:
            if troubles := [trouble for trouble in pool.map(unchanged, range(min(jobs, len(tests)))) if trouble]:
                print(*troubles, "The tests fail without any mutant: mend them first.", sep="\n")
                return 4
            for mutant, verdict in zip(mutants, pool.map(tried, mutants), strict=True):
                outcomes[verdict.outcome] += 1
                print(f"{verdict.outcome:9}  {mutant.name}  {verdict.told}", flush=True)
    print(
        f"{len(mutants)} mutants, {outcomes['killed']} killed, {outcomes['survived']} survived, {outcomes['not tried']} not tried, "
        f"in {time.monotonic() - started_s:.0f} s"
    )
    return 0 if outcomes["killed"] == len(mutants) else 4


if __name__ == "__main__":
    sys.exit(main())
