"""`holonode-fleet`: records of many boxes into PostgreSQL."""

from __future__ import annotations

import argparse
import getpass
import itertools
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from device import __version__
from device.arguments import Parser
from device.edge import at_the_edge, parsed
from device.errors import InputError
from device.installation import how_to_install

if TYPE_CHECKING:
    from deploy.fleet.status import SpoolStatus

__all__ = ["main"]

_SPOOLS_SHOWN = 5
"""Of each device, the newest: however many it opens, the other devices are seen."""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="holonode-fleet", description="Records of many boxes, from a broker into PostgreSQL.")
    parser.add_argument("--version", action="version", version=f"holonode {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in {
        "collect": "take records from the broker into the database; run as many as it takes",
        "migrate": "make or update the tables, as the owner of the database",
        "status": "devices, their last records, what is missing",
        "watch": "tell by e-mail, webhook or MQTT what is wrong with a box, and when it is over",
        "alarms": "list what is wrong, take charge of it, tell nobody for a while",
        "dashboard": "the boxes' pages from far away: all of them, alarms, the history of each",
        "prune": "drop months of records that are older than they are kept, as the owner of the database; sums stay",
        "enrol": "certificates for boxes: one-time codes, renewals, revocations; no database",
    }.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument(
            "--database", metavar="ADDRESS", default=os.environ.get("HOLONODE_FLEET_DATABASE", ""),
            help="postgresql://user@host/name, without a password (default: HOLONODE_FLEET_DATABASE)",
        )  # fmt: skip
        sub.add_argument("--json", action="store_true", help="print as JSON")
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        if name in _OPTIONS:
            _OPTIONS[name](sub)
    return parser


def _add_broker(sub: argparse.ArgumentParser) -> None:
    environment = os.environ.get
    sub.add_argument(
        "--mqtt", metavar="URL", default=environment("HOLONODE_FLEET_MQTT", ""),
        help="mqtt://host:port or mqtts://host:port; collect: of a cluster several, with commas (default: HOLONODE_FLEET_MQTT)",
    )  # fmt: skip
    for option, metavar, text in (
        ("username", "NAME", "at the broker"),
        ("password-file", "FILE", "that holds the password at the broker"),
        ("ca-file", "FILE", "authority of the broker's certificate (mqtts); the system's where none is named"),
    ):
        name = f"HOLONODE_FLEET_{option.replace('-', '_').upper()}"
        sub.add_argument(f"--{option}", metavar=metavar, default=environment(name, ""), help=f"{text} (default: {name})")


def _add_watch(sub: argparse.ArgumentParser) -> None:
    _add_broker(sub)
    sub.add_argument(
        "--config", metavar="FILE", default="", help="TOML: rules, and who is told (default: rules as they are, nobody)"
    )


def _add_alarms(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--all", action="store_true", help="those that are over too")
    sub.add_argument("--acknowledge", type=int, metavar="ID", help="you see to this one: nobody else is told")
    sub.add_argument("--silence", type=float, metavar="HOURS", help="tell nobody for so long; --device, --rule narrow it")
    sub.add_argument("--device", metavar="ID", help="of this box alone")
    sub.add_argument("--rule", choices=("silent", "offline", "health", "outbox", "level"), help="of this rule alone")
    sub.add_argument("--reason", default="", help="of the silence")
    sub.add_argument("--by", default=getpass.getuser(), metavar="NAME", help="who (default: your login)")


def _add_dashboard(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--folder", default="~/.local/state/holonode-fleet", metavar="DIR", help="of passwords, sessions, certificate"
    )
    sub.add_argument(
        "--address", default="127.0.0.1", metavar="ADDRESS", help="default 127.0.0.1; another one: TLS and a password"
    )
    sub.add_argument("--port", type=int, default=8090, metavar="N", help="the next free one where it is taken (default 8090)")
    sub.add_argument(
        "--host", action="append", default=[], metavar="NAME", help="further name that it is asked by; may be repeated"
    )
    sub.add_argument(
        "--trusted-proxy", action="append", default=[], metavar="ADDRESS", help="whose forwarded headers count; may be repeated"
    )
    sub.add_argument("--cert-file", default="", metavar="FILE", help="certificate; left out beyond loopback: one of its own")
    sub.add_argument("--key-file", default="", metavar="FILE", help="its private key")
    sub.add_argument("--code", action="store_true", help="print a code that sets the passwords once, and end")


def _add_prune(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--kind", choices=("detections", "intervals", "events"), default="detections", help="default: detections")
    sub.add_argument("--older-than-days", type=int, metavar="N", help="of a month, since its end")
    sub.add_argument(
        "--payloads",
        action="store_true",
        help="of detections, only the records as they came: what is asked for stays, in columns",
    )
    sub.add_argument(
        "--keep", metavar="WHAT=DAYS,...", default=os.environ.get("HOLONODE_FLEET_KEEP", ""),
        help="instead: how long each of payloads, detections, intervals, events is kept; for ever what isn't named (default: HOLONODE_FLEET_KEEP)",
    )  # fmt: skip


def _add_enrol(sub: argparse.ArgumentParser) -> None:
    from deploy.fleet.enrolment.command import add_enrol

    add_enrol(sub)


def _add_collect(sub: argparse.ArgumentParser) -> None:
    _add_broker(sub)
    host = socket.gethostname()
    environment = os.environ.get
    sub.add_argument(
        "--protocol", choices=("5", "3.1.1"), default=environment("HOLONODE_FLEET_PROTOCOL", "5"),
        help="of MQTT; with 3.1.1 collectors don't share, each takes every record (default 5, or HOLONODE_FLEET_PROTOCOL)",
    )  # fmt: skip
    sub.add_argument("--name", default=host, help=f"of this collector, kept through restarts, unique (default {host})")
    sub.add_argument(
        "--leave", action="store_true", help="take what waits for this collector, give up its place at the broker, and end"
    )
    sub.add_argument("--batch", type=int, default=500, metavar="N", help="most messages in one commit (default 500)")


_OPTIONS = {
    "collect": _add_collect,
    "watch": _add_watch,
    "alarms": _add_alarms,
    "dashboard": _add_dashboard,
    "prune": _add_prune,
    "enrol": _add_enrol,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status: 2 bad input, 4 a failed check."""
    args = parsed(_parser(), arguments)
    commands = {
        "collect": _collect, "migrate": _migrate, "status": _status, "watch": _watch, "alarms": _alarms, "dashboard": _dashboard, "prune": _prune,
        "enrol": _enrol,
    }  # fmt: skip

    def run() -> int:
        if args.command != "enrol" and not getattr(args, "code", False):
            _need_database(args)
        return commands[args.command](args)

    return at_the_edge(f"holonode-fleet {args.command}", run, debug=args.debug)


def _need_database(args: argparse.Namespace) -> None:
    if not args.database:
        raise InputError(
            "no database named", where="--database", expected="postgresql://user@host/name",
            remedy="Name it there or in HOLONODE_FLEET_DATABASE.",
        )  # fmt: skip
    try:
        import psycopg  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise InputError("psycopg is not installed", got=str(error), remedy=how_to_install("fleet")) from error


def _collect(args: argparse.Namespace) -> int:
    import msgspec

    from deploy.fleet.collector import Collector, Settings
    from deploy.fleet.store import Store

    if not args.mqtt:
        raise InputError("no broker named", where="--mqtt", expected="mqtt://host:port or mqtts://host:port")
    if not 1 <= args.batch <= 10_000:
        raise InputError("a batch of this size can't be", where="--batch", expected="1 to 10000", got=args.batch)
    settings = Settings(
        urls=tuple(args.mqtt.split(",")), protocol=args.protocol, name=args.name, username=args.username, password_file=args.password_file, ca_file=args.ca_file,
        batch=args.batch, leave=args.leave,
    )  # fmt: skip
    collector = Collector(settings, Store(args.database), report=lambda text: print(text, file=sys.stderr, flush=True))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: collector.stop())
    collector.run()
    totals = collector.totals
    if args.json:
        print(msgspec.json.encode(totals).decode())
    else:
        print(
            f"{totals.records} records, {totals.again} that had come before, {totals.conflicts} under a number that was taken, "
            f"{totals.rejected} rejected, {totals.batches} batches"
        )
    return 0


def _watch(args: argparse.Namespace) -> int:
    from pathlib import Path

    from deploy.fleet.alarms.settings import WatchSettings, checked
    from deploy.fleet.alarms.watcher import AlarmWatcher, Broker
    from device.tomlfile import load_toml

    if not args.mqtt:
        raise InputError("no broker named", where="--mqtt", expected="mqtt://host:port or mqtts://host:port")
    settings = checked(load_toml(Path(args.config), WatchSettings) if args.config else WatchSettings())
    broker = Broker(url=args.mqtt, username=args.username, password_file=args.password_file, ca_file=args.ca_file)
    watcher = AlarmWatcher(settings, broker, args.database, report=lambda text: print(text, file=sys.stderr, flush=True))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: watcher.stop())
    watcher.run()
    return 0


def _alarms(args: argparse.Namespace) -> int:
    import msgspec

    from deploy.fleet.alarms.book import acknowledge, alarms, silence
    from deploy.fleet.database import connect
    from deploy.fleet.schema import check
    from device.text import say

    with connect(args.database) as connection:
        check(connection)
        if args.acknowledge is not None:
            acknowledge(connection, args.acknowledge, args.by)
        if args.silence is not None:
            if not 0 < args.silence <= 8784:
                raise InputError("not a time to be silent", where="--silence", expected="hours, up to a year", got=args.silence)
            silence(
                connection, device_id=args.device, rule=args.rule, until_s=3600 * args.silence, by=args.by, reason=args.reason
            )
        found = alarms(connection, standing=not args.all)
    if args.json:
        print(msgspec.json.encode(found).decode())
        return 0
    for one in found:
        taken = f"; {one.acknowledged_by} sees to it" if one.acknowledged_by else ""
        over = f"; over since {one.cleared_at:%Y-%m-%d %H:%M}Z" if one.cleared_at else ""
        say(f"{one.id}  {one.severity}  {one.device_id}  since {one.begun_at:%Y-%m-%d %H:%M}Z  {one.message}{taken}{over}")
    if not found:
        say("No alarm stands.")
    return 0


def _dashboard(args: argparse.Namespace) -> int:
    import threading
    from pathlib import Path

    from device.web.security.access_store import AccessStore

    folder = Path(args.folder).expanduser()
    if args.code:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        access = AccessStore(folder)
        print(access.new_code())
        access.close()
        return 0
    from deploy.fleet.dashboard.app import FleetDashboard, Served
    from deploy.fleet.database import connect
    from deploy.fleet.schema import check

    with connect(args.database) as connection:
        check(connection)
    served = Served(
        folder=folder, address=args.address, port=args.port, hosts=tuple(args.host), trusted_proxies=tuple(args.trusted_proxy),
        cert_file=args.cert_file, key_file=args.key_file,
    )  # fmt: skip
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: ended.set())
    dashboard = FleetDashboard.of(args.database, served)
    dashboard.start()
    first = "" if dashboard.access.is_set_up else " (no password yet: the first visit on this machine sets it)"
    print(f"dashboard {dashboard.server.url}{first}", file=sys.stderr, flush=True)
    ended.wait()
    dashboard.stop()
    return 0


def _prune(args: argparse.Namespace) -> int:
    import msgspec

    from deploy.fleet.database import connect
    from deploy.fleet.prune import Kind, Payloads, prune, prune_payloads, retention
    from deploy.fleet.schema import check

    if args.payloads and args.kind != "detections":
        raise InputError(
            "only of detections are there columns enough", where="--payloads", expected="--kind detections", got=args.kind
        )
    days: dict[Kind | Payloads, int] = (
        retention(args.keep)
        if args.older_than_days is None
        else {"payloads" if args.payloads else args.kind: args.older_than_days}
    )
    with connect(args.database) as connection:
        check(connection)
        for what, older_than_days in days.items():
            if what == "payloads":
                done, kind, word = prune_payloads(connection, older_than_days), "detections", "given_up"
            else:
                done, kind, word = prune(connection, what, older_than_days), what, "deleted"
            print(msgspec.json.encode({word: done}).decode() if args.json else f"{done} {kind} {word.replace('_', ' ')}")
    return 0


def _enrol(args: argparse.Namespace) -> int:
    from deploy.fleet.enrolment.command import execute_enrol

    return execute_enrol(args)


def _migrate(args: argparse.Namespace) -> int:
    import msgspec

    from deploy.fleet.database import connect
    from deploy.fleet.schema import migrate

    with connect(args.database) as connection:
        applied = [step.name for step in migrate(connection)]
    if args.json:
        print(msgspec.json.encode({"applied": applied}).decode())
    else:
        print("\n".join(applied) if applied else "The tables are up to date.")
    return 0


def _status(args: argparse.Namespace) -> int:
    import msgspec

    from deploy.fleet.database import connect
    from deploy.fleet.schema import check
    from deploy.fleet.status import look
    from device.text import say

    with connect(args.database) as connection:
        check(connection)
        fleet = look(connection)
    if args.json:
        print(msgspec.json.encode(fleet).decode())
        return 0
    for device_id, spools in itertools.groupby(fleet.spools, lambda spool: spool.device_id):
        of_device = list(spools)
        if older := of_device[:-_SPOOLS_SHOWN]:
            missing, conflicts = sum(spool.missing for spool in older), sum(spool.conflicts for spool in older)
            say(
                f"{device_id}  {len(older)} older spools, {missing} missing, {conflicts} times two contents under one key; --json has them"
            )
        for spool in of_device[-_SPOOLS_SHOWN:]:
            say(_line(spool))
    for one in fleet.unknown_schemas:
        say(f"{one.device_id}  {one.records} records of {one.schema}, which this version does not know; they are kept")
    for one in fleet.refused:
        unkept = f", {one.not_kept} beyond its quota not kept" if one.not_kept else ""
        say(
            f"{one.device_id or 'no device'}  {one.messages} messages rejected{unkept}; last {one.last_at}: {one.last_reason or 'not told'}"
        )
    say(f"{len({spool.device_id for spool in fleet.spools})} devices, {fleet.rejected} messages rejected")
    return 0


def _line(spool: SpoolStatus) -> str:
    gaps = ", ".join(f"{gap.first}-{gap.last}" for gap in spool.gaps)
    missing = f"{spool.missing} missing ({gaps})" if spool.missing else "whole"
    twice = (
        f"; {spool.conflicts} times two contents under one key: restored store or two boxes of one id"
        if spool.conflicts
        else ""
    )
    return (
        f"{spool.device_id}  {spool.spool_id}  to {spool.committed_to} of {spool.highest}, {missing}{twice}; "
        f"last record {spool.last_at}, came {spool.silent_s:.0f} s ago"
    )


if __name__ == "__main__":
    sys.exit(main())
