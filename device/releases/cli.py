"""`python -m device.releases`: what a bare box runs from the wheel as it lies in a bundle."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from device.edge import at_the_edge
from device.errors import HolonodeError
from device.releases.installing import erase, install, look_over, remove, runs_systemd, start
from device.releases.layout import Layout
from device.releases.links import current, drop, previous, releases, roll_back

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Do what is asked; the exit status says what the last line says."""
    args = _parser().parse_args(arguments)
    layout = Layout(args.root)
    actions = {"install": _install, "uninstall": _uninstall, "status": _status, "swap": _swap, "drop": _drop}
    return at_the_edge("holonode installer", lambda: actions[args.action](args, layout), debug=args.debug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m device.releases", description="Releases of Holonode on this machine.")
    parser.add_argument("--root", type=Path, default=Path("/"), help="what stands for / (default: /)")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    actions = parser.add_subparsers(dest="action", required=True)
    installing = actions.add_parser("install", help="install a bundle, or update to it")
    installing.add_argument("bundle", type=Path, help="the archive, or the folder it unpacked to")
    installing.add_argument("--no-start", action="store_true", help="leave the service stopped until the next boot")
    removing = actions.add_parser("uninstall", help="take it away; settings and data stay")
    removing.add_argument("--erase", action="store_true", help="settings and data, too: keys, passwords, records, calibration")
    actions.add_parser("status", help="which releases there are")
    actions.add_parser("swap", help="run the release before this one again")
    dropping = actions.add_parser("drop", help="remove old releases")
    dropping.add_argument("--keep", type=int, default=2, metavar="N", help="how many stay at least (default: 2)")
    return parser


def _install(args: argparse.Namespace, layout: Layout) -> int:
    running = current(layout)
    try:
        release = install(args.bundle, layout)
    except BaseException:
        if current(layout) == running:
            was = "nothing is installed" if running is None else f"{running.name} is current, as before"
            print(f"Not installed: {was}. The reason:", flush=True)
        raise
    if layout.root != Path("/"):
        print(f"Installed {release.name} in {layout.root}")
        return 0
    well = look_over()
    if runs_systemd(layout) and not args.no_start:
        print("Starting the service; it says when it is ready", flush=True)
        try:
            start()
        except HolonodeError as error:
            print(error)
            print(f"Installed {release.name}, but the service did not start")
            return error.exit_status
    by_hand = "" if runs_systemd(layout) else "; systemd doesn't run here: holonode run --config /etc/holonode/holonode.toml"
    print(
        f"Installed {release.name}{by_hand}" if well else f"Installed {release.name}, but doctor found what failed: see above"
    )
    return 0 if well else 4


def _uninstall(args: argparse.Namespace, layout: Layout) -> int:
    remove(layout)
    if args.erase:
        erase(layout)
        print(f"Removed, and erased: nothing is left in {layout.settings} and {layout.data}")
    else:
        print(f"Removed. Settings stay in {layout.settings}, data in {layout.data}")
    return 0


def _status(args: argparse.Namespace, layout: Layout) -> int:
    del args
    marks = {
        release: mark for mark, release in (("previous", previous(layout)), ("current", current(layout))) if release is not None
    }
    for release in releases(layout):
        print(f"{release.name}  {marks.get(release, '')}".rstrip())
    if not marks:
        print("nothing is installed")
    return 0 if marks else 4


def _swap(args: argparse.Namespace, layout: Layout) -> int:
    del args
    print(f"{roll_back(layout).name} runs from the next start on: systemctl restart holonode")
    return 0


def _drop(args: argparse.Namespace, layout: Layout) -> int:
    for release in drop(layout, max(args.keep, 1)):
        print(f"removed {release.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
