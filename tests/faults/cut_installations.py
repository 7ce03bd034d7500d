"""A power cut at every file operation of an update: `python -m tests.faults.cut_installations`.

A process stages, activates and links a second release, drops and rolls back, and is ended without a word before its n-th file
operation, for every n. Afterwards a whole release must be current, the old or the new one, and the same update must go through.
What a disk forgets at a power cut is another matter: see `make test-power`.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from device.releases import Layout, activate, current, drop, read_bundle, releases, roll_back, stage
from device.releases.system import link_system
from tests.bundles import MACHINE, MEMORY, bare_root, small_bundle

__all__ = ["main"]

_OPERATIONS = {
    "open",
    "os.rename",
    "os.symlink",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "os.truncate",
    "shutil.rmtree",
}
_CUT, _DONE = 9, 0


def _child(step: Callable[[], None], cut_at: int) -> int:
    """Exit status of a process that takes a step and is ended before its n-th file operation."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def hook(event: str, _: object) -> None:
            nonlocal seen
            if event in _OPERATIONS:
                seen += 1
                if seen == cut_at:
                    os._exit(_CUT)

        sys.addaudithook(hook)
        try:
            step()
        except BaseException as error:  # noqa: BLE001  a process of its own ends here
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(_DONE)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _tree(path: Path) -> dict[str, bytes]:
    """All that a release holds; byte code apart, which holds times."""
    return {
        str(file.relative_to(path)): str(file.readlink()).encode() if file.is_symlink() else file.read_bytes()
        for file in path.rglob("*")
        if (file.is_symlink() or file.is_file()) and file.suffix != ".pyc"
    }


def _every_cut(name: str, start: Path, step: Callable[[Layout], None], folder: Path) -> tuple[int, list[str]]:
    """How many cuts a step has, and what was wrong after one."""
    reference = folder / f"{name}-whole"
    shutil.copytree(start, reference, symlinks=True)
    step(Layout(reference))
    whole = {release.name: _tree(release.path) for root in (start, reference) for release in releases(Layout(root))}
    wanted = current(Layout(reference))
    before = current(Layout(start))
    wrong: list[str] = []
    for cut_at in range(1, 10_000):
        root = folder / f"{name}-{cut_at}"
        shutil.copytree(start, root, symlinks=True)
        layout = Layout(root)
        status = _child(lambda layout=layout: step(layout), cut_at)
        running = current(layout)
        if status not in (_CUT, _DONE):
            wrong.append(f"{name}, cut {cut_at}: status {status}")
        if running is None or running.name not in {before.name if before else "", wanted.name if wanted else ""}:
            wrong.append(f"{name}, cut {cut_at}: {running} is current")
        wrong += [
            f"{name}, cut {cut_at}: {release.name} is not whole"
            for release in releases(layout)
            if _tree(release.path) != whole[release.name]
        ]
        if status == _CUT and name != "roll back":
            step(layout)
            left = sorted(
                path.name for path in (*layout.tree.iterdir(), *layout.releases.iterdir()) if path.name.startswith(".")
            )
            if current(layout).name != wanted.name or left:
                wrong.append(f"{name}, cut {cut_at}: done again, {current(layout)} is current, {left} is left")
        shutil.rmtree(root)
        if status == _DONE:
            return cut_at - 1, wrong
    return 0, [f"{name} never ends"]


def main() -> int:
    """0 where every cut left a release that runs."""
    faults: list[str] = []
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        folder = Path(place)
        start = folder / "start"
        layout = bare_root(start)
        for version in ("0.9", "1.0"):
            activate(layout, stage(read_bundle(small_bundle(folder / f"{version}.tar", version)), layout, MACHINE))
        link_system(layout)
        fresh = read_bundle(small_bundle(folder / "2.0.tar", "2.0"))

        def update(layout: Layout) -> None:
            activate(layout, stage(fresh, layout, MACHINE))
            link_system(layout)
            drop(layout, keep=1)

        for name, step in (("update", update), ("roll back", lambda layout: roll_back(layout) and None)):
            cuts, wrong = _every_cut(name, start, step, folder)
            print(f"{name}: cut at each of {cuts} file operations, {len(wrong)} wrong")
            faults += wrong
    print("\n".join(faults[:20]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
