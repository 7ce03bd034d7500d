"""`holonode-fleet enrol`."""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from device.errors import InputError
from device.text import say

if TYPE_CHECKING:
    from deploy.fleet.enrolment.rules import EnrolmentRules

__all__ = ["add_enrol", "execute_enrol"]

_ACTIONS = {
    "code": "a one-time code for one box; what the box had before is revoked once it is used",
    "serve": "give certificates over HTTPS, to boxes with a code or a certificate",
    "sign": "sign a request that was brought on a stick",
    "revoke": "take a box's certificates back; the broker obeys once it has the new list and was started again",
    "list": "boxes and their certificates",
}


def add_enrol(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in _ACTIONS.items():
        sub = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument(
            "--authority", type=Path, required=True, metavar="DIR", help="of authority.crt and authority.key, not on the broker"
        )
        if name in ("code", "revoke", "sign"):
            sub.add_argument("device", metavar="DEVICE", help="device.id of the box")
        if name == "code":
            sub.add_argument("--host", required=True, help="name or address by which boxes reach `enrol serve`")
            sub.add_argument("--hours", type=float, default=24.0, help="that it can be used (default 24)")
        elif name == "serve":
            sub.add_argument("--address", default="0.0.0.0", help="where it listens (default: everywhere)")  # noqa: S104  boxes are elsewhere
            sub.add_argument("--port", type=int, default=8885, help="default 8885")
        elif name == "sign":
            sub.add_argument("request", type=Path, metavar="FILE", help="what `holonode identity request` wrote")
            sub.add_argument("--out", type=Path, required=True, metavar="FILE", help="for the certificate")


def execute_enrol(args: argparse.Namespace) -> int:
    """0; errors as of every command."""
    from deploy.fleet.enrolment.rules import EnrolmentRules

    rules = EnrolmentRules(args.authority)
    if args.action == "code":
        if not 0 < args.hours <= 720:
            raise InputError("a code of this time can't be", where="--hours", expected="up to 720", got=args.hours)
        code = rules.new_code(args.device, args.host, timedelta(hours=args.hours))
        say(f"On the box: holonode identity enrol https://{args.host}:8885 {code}")
    elif args.action == "serve":
        _serve(args, rules)
    elif args.action == "sign":
        args.out.write_text(rules.sign_file(args.device, args.request.read_text(encoding="ascii")), encoding="ascii")
        say(f"{args.out}: take it to the box with {args.authority / 'authority.crt'}; holonode identity install")
    elif args.action == "revoke":
        count = rules.revoke(args.device)
        say(f"{count} certificates of {args.device} revoked; copy {rules.signer.revoked_file} to the broker and start it again")
    else:
        for one in rules.register.certificates():
            state = f"revoked {one.revoked_at:%Y-%m-%d %H:%M}Z" if one.revoked_at else f"until {one.not_after:%Y-%m-%d %H:%M}Z"
            say(f"{one.device_id}  {state}  {one.serial:x}")
    return 0


def _serve(args: argparse.Namespace, rules: EnrolmentRules) -> None:
    from deploy.fleet.enrolment.server import EnrolmentServer

    server = EnrolmentServer(rules, args.address, args.port, report=lambda line: print(line, file=sys.stderr, flush=True))
    server.start()
    print(f"enrolment on {args.address}:{server.port}", file=sys.stderr, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    server.close()
