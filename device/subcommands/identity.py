"""`holonode identity`: this box's key and its certificate for the fleet's broker."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from device.text import say

if TYPE_CHECKING:
    from device.config import Config
    from device.identity.own_key import OwnKey

__all__ = ["add_arguments", "execute"]

_ACTIONS = {
    "enrol": "make a key here and get its certificate from the fleet, by a one-time code",
    "renew": "get the next certificate, where the one in use nears its end",
    "request": "write a request for a certificate, for a fleet that can't be reached",
    "install": "use the certificate that was signed for it",
    "status": "who this box is, until when, and what of it would be of use to a thief",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in _ACTIONS.items():
        sub = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == "enrol":
            sub.add_argument("url", metavar="URL", help="https://host:port of `holonode-fleet enrol serve`")
            sub.add_argument(
                "code", nargs="?", metavar="CODE", help="of `holonode-fleet enrol code`; left out: it is asked for"
            )
        elif name == "renew":
            sub.add_argument("--url", metavar="URL", help="left out: where it was enrolled")
            sub.add_argument("--now", action="store_true", help="also where it lasts for long")
        elif name == "request":
            sub.add_argument("file", type=Path, metavar="FILE")
        elif name == "install":
            sub.add_argument("certificate", type=Path, metavar="CERTIFICATE", help="what `holonode-fleet enrol sign` wrote")
            sub.add_argument("authority", type=Path, metavar="AUTHORITY", help="authority.crt of the fleet")
        # These belong to the command; here they may also follow the action.
        sub.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help="configuration")
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")


def execute(args: argparse.Namespace) -> int:
    """0; errors as of every command."""
    from device.config import load_config
    from device.identity.own_key import OwnKey

    config = load_config(args.config)
    key = OwnKey(Path(config.device.identity_folder).expanduser())
    if args.action == "enrol":
        _enrol(args, config, key)
    elif args.action == "renew":
        _renew(args, config, key)
    elif args.action == "request":
        args.file.write_text(key.request(config.device.id), encoding="ascii")
        say(f"{args.file}: have it signed (holonode-fleet enrol sign {config.device.id} FILE); its key stays here")
    elif args.action == "install":
        until = key.install(
            args.certificate.read_text(encoding="ascii"), args.authority.read_text(encoding="ascii"), config.device.id
        )
        _tell_settings(key, f"in use, until {until:%Y-%m-%d}")
    else:
        _status(config, key)
    return 0


def _enrol(args: argparse.Namespace, config: Config, key: OwnKey) -> None:
    import getpass

    from device.identity.enrolment import EnrolmentCode, enrol
    from device.updates.files import write_whole

    code = EnrolmentCode.parsed(args.code or getpass.getpass("Code: "))
    until = enrol(key, args.url, code, config.device.id)
    write_whole(key.folder / "enrolled-at", args.url.encode())
    _tell_settings(key, f"enrolled as {config.device.id}, until {until:%Y-%m-%d}")


def _renew(args: argparse.Namespace, config: Config, key: OwnKey) -> None:
    from device.errors import InputError
    from device.identity.enrolment import renew
    from device.updates.files import read_small

    if not (args.now or key.is_due()):
        return
    url = args.url or (read_small(key.folder / "enrolled-at") or b"").decode()
    if not url:
        raise InputError("where this box was enrolled isn't known", remedy="Name it: --url https://host:port.")
    say(f"renewed, until {renew(key, url, config.device.id):%Y-%m-%d}")


def _tell_settings(key: OwnKey, said: str) -> None:
    say(f"{said}. In the configuration:")
    say("[mqtt]")
    for name, path in (("ca_file", key.authority), ("cert_file", key.pair), ("key_file", key.pair)):
        say(f'{name} = "{path}"')


def _status(config: Config, key: OwnKey) -> None:
    certificate = key.certificate()
    if certificate is None:
        say(f"{config.device.id} has no certificate: holonode identity enrol")
    else:
        due = "; to be renewed" if key.is_due() else ""
        say(f"{config.device.id}, until {certificate.not_valid_after_utc:%Y-%m-%d}{due}, serial {certificate.serial_number:x}")
    say("What a thief of this box holds:")
    if certificate is not None:
        say(
            f"  its own key ({key.pair}): worth nothing once the fleet revokes it (holonode-fleet enrol revoke {config.device.id})"
        )
    if config.mqtt.password_file:
        say(f"  its password at the broker ({config.mqtt.password_file}): change it there")
    say(
        f"  its records, pictures, calibration ({Path(config.storage.folder).expanduser()}); the network's Wi-Fi key, where it has one"
    )
    say(
        "  a digest of the dashboard's password; the public certificates of the fleet and of updates. No key of the fleet or of another box."
    )
