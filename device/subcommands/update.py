"""`holonode update`: signed releases and models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.arguments import whole
from device.strict_json import dumps
from device.text import say

if TYPE_CHECKING:
    from device.config import Config
    from device.updates.apply import ReleaseUpdate
    from device.updates.ask import What
    from device.updates.trials import UpdatePlaces

__all__ = ["add_arguments", "execute"]

_ACTIONS = {
    "check": "what the owner offers that is newer than what is here",
    "fetch": "fetch it, verified; nothing is changed",
    "apply": "fetch, take models into the store, ask for the release: root's unit puts it on trial",
    "daily": "what the timer does once a day where updates.source is named: as updates.automatic says, check, apply or nothing",
    "status": "what runs, what is on trial, how the last updates came out",
    "confirm": "say in the service's place that the release on trial works",
    "trust": "as root: the root metadata of whose updates this box takes",
    "boot": "as root, before the service starts: count the starts of a trial",
    "watch": "as root: wait for the service's word on a trial, or roll back",
    "selftest": "whether this release can work with this box's settings, models and store",
}
_LONGEST_S = 24 * 3600
"""Of looking and fetching: a server can answer slowly in more ways than one can count."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in _ACTIONS.items():
        sub = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name in ("check", "fetch", "apply"):
            sub.add_argument(
                "--source", metavar="PLACE", help="https://... or a folder, e.g. of a stick (default: updates.source)"
            )
        if name == "apply":
            how = sub.add_mutually_exclusive_group()
            how.add_argument("--pending", action="store_true", help="as root: what the service asks for, verified again")
            how.add_argument("--unsigned", type=Path, metavar="FILE", help="as root: this bundle, whoever made it")
        if name == "trust":
            sub.add_argument("file", type=Path, metavar="FILE", help="N.root.json of the owner")
        if name == "watch":
            sub.add_argument(
                "--within-s",
                type=whole(1, 86_400),
                metavar="S",
                help="how long the service has to show that it works (default: 1800)",
            )
        if name == "confirm":
            sub.add_argument("--by", required=True, metavar="NAME", help="who saw it work")
        sub.add_argument("--json", action="store_true", help="machine-readable output")
        # These belong to the command; here they may also follow the action.
        sub.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help="configuration")
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")


def execute(args: argparse.Namespace) -> int:
    """0; errors as of every command."""
    if args.action in ("boot", "watch") or (args.action == "apply" and (args.pending or args.unsigned)):
        _say(args, {"said": _as_root(args)})
    elif args.action == "trust":
        _say(args, {"said": _trusted(args.file)})
    elif args.action == "selftest":
        _say(args, {"said": _selftest(args)})
    elif args.action == "status":
        _status(args)
    elif args.action == "confirm":
        _say(args, {"said": _confirmed(args)})
    else:
        _ask(args)
    return 0


def _say(args: argparse.Namespace, answer: dict[str, Any]) -> None:
    if args.json:
        print(dumps(answer), flush=True)
    elif answer["said"]:
        say(answer["said"])


# -- as root --------------------------------------------------------------------------------------------------------------


def _as_root(args: argparse.Namespace) -> str:
    from device.errors import InputError

    update = _release_update()
    if args.action == "watch" and args.within_s:
        update.confirm_within_s = float(args.within_s)
    if args.action == "boot":
        return update.at_boot()
    if args.action == "watch":
        return update.watch()
    if args.pending:
        return update.apply_pending()
    if not args.unsigned.is_file():
        raise InputError("there is no such bundle", got=args.unsigned)
    return update.apply_unsigned(args.unsigned.absolute())


def _release_update() -> ReleaseUpdate:
    from device.releases import Layout
    from device.updates.apply import ReleaseUpdate
    from device.updates.control import ReleaseTestRun, Systemd

    layout = Layout()
    return ReleaseUpdate(layout, Systemd(), ReleaseTestRun(layout))


def _trusted(file: Path) -> str:
    """Somebody is at the box: who may write there decides."""
    import hashlib

    from device.errors import InputError
    from device.releases import Layout
    from device.updates.files import write_whole
    from device.updates.trials import UpdatePlaces
    from device.updates.trust import key_ids

    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError("the file can't be read", where=file, got=error.strerror) from error
    keys = key_ids(content)
    pinned = UpdatePlaces(Layout()).pinned
    pinned.parent.mkdir(parents=True, exist_ok=True)
    write_whole(pinned, content)
    return f"trusted: {', '.join(keys)}. SHA-256 of the file, to compare with the owner: {hashlib.sha256(content).hexdigest()}"


# -- as the service's user ------------------------------------------------------------------------------------------------


def _places(config: Config) -> UpdatePlaces:
    from device.releases import Layout
    from device.updates.trials import UpdatePlaces

    return UpdatePlaces(Layout(), Path(config.updates.folder).expanduser())


def _status(args: argparse.Namespace) -> None:
    import msgspec

    from device import __version__
    from device.config import load_config
    from device.releases import Layout, current, previous
    from device.updates.trials import TrialBook

    book, layout = TrialBook(_places(load_config(args.config))), Layout()
    running, before = current(layout), previous(layout)
    trial, outcomes = book.trial(), book.outcomes()
    if args.json:
        told = {
            "version": __version__, "current": running and running.name, "previous": before and before.name,
            "trial": msgspec.to_builtins(trial), "outcomes": msgspec.to_builtins(outcomes),
        }  # fmt: skip
        print(dumps(told), flush=True)
        return
    say(f"Holonode {__version__}; installed: {running.name if running else 'not by a release'}")
    if trial is not None:
        say(f"on trial: {trial.release}, starts of the machine since: {trial.boots}; before it: {trial.before}")
    for outcome in reversed(outcomes):
        say(f"{outcome.at}  {outcome.release}: {outcome.result}" + (f", {outcome.reason}" if outcome.reason else ""))


def _confirmed(args: argparse.Namespace) -> str:
    from device.config import load_config
    from device.errors import InputError
    from device.updates.confirmation import PARTS, TrialConfirmation
    from device.updates.trials import TrialBook

    places = _places(load_config(args.config))
    trial = TrialBook(places).trial()
    confirmation = None if trial is None else TrialConfirmation.of(places, trial.release)
    if trial is None or confirmation is None:
        raise InputError("no release is on trial", remedy="`holonode update status` tells more.")
    for part in PARTS:
        confirmation.see(part, f"seen by {args.by}")
    confirmation.give()
    return f"{trial.release} is confirmed by {args.by}"


def _selftest(args: argparse.Namespace) -> str:
    """What the service would need first of all; a camera may be busy and a broker away."""
    from device import __version__
    from device.config import load_config
    from device.inference.tasks.kinds import task_kinds
    from device.instrument import load_instrument
    from device.rig.models import model_store
    from device.service import Service  # noqa: F401  # pyright: ignore[reportUnusedImport]  all that it imports is there

    config = load_config(args.config)
    load_instrument(config.device.instrument)
    store = model_store(config)
    tested = [store.open(name)[0].model.stem for kind in task_kinds().values() if (name := kind.chosen(config.analysis))]
    return f"Holonode {__version__} works with these settings; models: {', '.join(tested) or 'none'}"


def _ask(args: argparse.Namespace) -> None:
    import signal

    import msgspec

    from device.config import load_config
    from device.instrument import load_instrument
    from device.rig.models import model_store
    from device.rig.records import calibrations
    from device.updates.ask import UpdateAsk

    config = load_config(args.config)
    what: What = args.action
    if args.action == "daily":
        if config.updates.automatic == "off" or not config.updates.source:
            return
        what = config.updates.automatic
    ask = UpdateAsk.of(config, getattr(args, "source", None) or "")
    signal.alarm(_LONGEST_S)
    geometry = calibrations(config, load_instrument(config.device.instrument)).instrument.geometry
    answer = ask.carry_out(what, model_store(config), geometry)
    if args.json:
        print(dumps(msgspec.to_builtins(answer)), flush=True)
        return
    for name in filter(None, (answer.release, *answer.models)):
        say(name + (", fetched" if what == "fetch" else ""))
    if answer.passed_over:
        say(f"passed over: {answer.passed_over}")
    for line in answer.done:
        say(line)
    if answer.done and answer.models:
        say("Models: from the next start of the service on.")
    if not (answer.release or answer.models or answer.passed_over):
        say("Nothing newer is offered.")
