"""`python -m deploy.signing`: keys and the signed list of updates."""

from __future__ import annotations

import argparse
import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING

from device.arguments import Parser
from device.edge import at_the_edge, parsed
from device.errors import InputError
from device.text import say

if TYPE_CHECKING:
    from deploy.signing.keys import Passphrase
    from deploy.signing.signed_list import SignedList

__all__ = ["main"]

_ACTIONS = {
    "create": "make keys and an empty list; boxes are given the root that it prints",
    "add": "sign release bundles and models into the list",
    "withdraw": "take a file out of the list; boxes that have it keep it",
    "timestamp": "say that the list is still the newest: daily, by the only key that may be on-line",
    "rotate": "a new key for a role; boxes follow by the root that the old key signed",
}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m deploy.signing", description="Signed updates for boxes: the owner's side (TUF).")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in _ACTIONS.items():
        sub = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument("--repository", type=Path, required=True, metavar="DIR", help="what a stick or a web server shows")
        sub.add_argument("--keys", type=Path, required=True, metavar="DIR", help="of the keys; a medium that is put away")
        sub.add_argument(
            "--passphrase-fd", type=int, metavar="N", help="read it from this file descriptor (default: asked on the terminal)"
        )
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        if name == "add":
            sub.add_argument("files", nargs="+", type=Path, metavar="FILE", help="bundle .tar, or NAME-VERSION.tflite")
        elif name == "withdraw":
            sub.add_argument("name", metavar="NAME", help="as in the list")
        elif name == "rotate":
            sub.add_argument("role", choices=("root", "targets", "snapshot", "timestamp"))
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one action; returns its exit status: 2 bad input."""
    args = parsed(_parser(), arguments)

    def run() -> int:
        from deploy.signing.signed_list import SignedList

        _act(args, SignedList(args.repository, args.keys, _passphrase(args)))
        return 0

    return at_the_edge(f"python -m deploy.signing {args.action}", run, debug=args.debug)


def _act(args: argparse.Namespace, signed: SignedList) -> None:
    if args.action == "create":
        say(f"{signed.create()}: put it on every box with `holonode update trust FILE`.")
        say("Put the keys away but for timestamp.pem: who has the others signs what every box runs.")
    elif args.action == "add":
        from deploy.signing.described import describe

        for name in signed.add(*map(describe, args.files)):
            say(f"{name} signed")
    elif args.action == "withdraw":
        signed.withdraw(args.name)
        say(f"{args.name} withdrawn")
    elif args.action == "timestamp":
        say(f"holds until {signed.renew_timestamp():%Y-%m-%d %H:%M}Z")
    else:
        say(f"{signed.rotate(args.role)}: the new root. Destroy the key that ends in .old once boxes have followed.")


def _passphrase(args: argparse.Namespace) -> Passphrase:
    """From a file descriptor, once for all keys; else from the terminal, twice where one is made."""
    if args.passphrase_fd is not None:
        try:
            with os.fdopen(args.passphrase_fd, "rb") as file:
                given = file.readline(1024).rstrip(b"\r\n")
        except OSError as error:
            raise InputError(
                "no passphrase to be read", where=f"file descriptor {args.passphrase_fd}", got=str(error)
            ) from error
        return lambda _name: given

    def ask(name: str) -> bytes:
        said = getpass.getpass(f"Passphrase of the key {name}: ")
        if (args.action == "create" or name.startswith("new ")) and getpass.getpass("Once more: ") != said:
            raise InputError("the two are not the same", where=f"the key {name}")
        return said.encode()

    return ask
