"""Who gets a certificate, and whom the broker believes: `python -m tests.faults.identity_matrix`.

Enrolment: codes and certificates that are wrong, used, expired, another box's, at a real server, and servers that are another,
whose bytes are counted. Broker: a real mosquitto by deploy/fleet/mosquitto; a box whose certificate was revoked, and one that
renews its own meanwhile and loses nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from deploy.fleet.enrolment.rules import EnrolmentRules
from deploy.fleet.enrolment.server import EnrolmentServer
from device.config import MqttConfig
from device.errors import HolonodeError
from device.identity.enrolment import EnrolmentCode, enrol, renew
from device.identity.own_key import OwnKey
from tests.authority import Authority, FleetBroker
from tests.faults.tls_matrix import Impostor, Told, boxed
from tests.unit.test_outbox import events

BOX, OTHER = "box-a", "box-b"
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class IdentityVerdict:
    """How one case came out."""

    case: str
    right_party: bool
    got_through: int
    """Certificates given, packets taken, bytes read by the other party."""
    told: str

    @property
    def sound(self) -> bool:
        return (self.got_through > 0) == self.right_party and bool(self.told)

    def __str__(self) -> str:
        party = "right" if self.right_party else "wrong"
        return f"{'' if self.sound else 'WRONG '}{self.case} ({party} party): {self.got_through} got through; told: {self.told[:110]}"


@dataclass
class FleetOffice:
    """An authority, its enrolment server, and boxes."""

    folder: Path

    def __enter__(self) -> FleetOffice:
        self.authority = Authority.made(self.folder / "authority")
        self.rules = EnrolmentRules(self.authority.folder)
        self.said: list[str] = []
        self.rules.signer.make_server("localhost")
        self.server = EnrolmentServer(self.rules, "127.0.0.1", 0, self.said.append)
        self.server.start()
        self.url = f"https://localhost:{self.server.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()
        self.rules.register.close()

    def code(self, device_id: str = BOX, lasts: timedelta = _HOUR) -> EnrolmentCode:
        return self.rules.new_code(device_id, "localhost", lasts)

    def key(self, name: str) -> OwnKey:
        return OwnKey(self.folder / name)

    def enrolled(self, name: str, device_id: str = BOX) -> OwnKey:
        key = self.key(name)
        enrol(key, self.url, self.code(device_id), device_id)
        return key


def _tried(case: str, act: Callable[[], object], *, right: bool = False) -> IdentityVerdict:
    try:
        said = act()
    except HolonodeError as error:
        return IdentityVerdict(case, right, 0, str(error))
    return IdentityVerdict(case, right, 1, str(said))


def enrolments(folder: Path) -> Iterator[IdentityVerdict]:
    """At the enrolment server."""
    with FleetOffice(folder) as office:
        code = office.code()
        first = office.key("first")
        request = first.request(BOX)
        yield _tried("the right code", lambda: enrol(first, office.url, code, BOX), right=True)
        once = office.rules.enrol(BOX, code.secret, request)
        same = once.encode() in first.pair.read_bytes()
        yield IdentityVerdict("the same request again: the same certificate", True, int(same), "the answer that was lost")
        yield _tried("a code used twice", lambda: enrol(office.key("second"), office.url, code, BOX))
        yield _tried("an expired code", lambda: enrol(office.key("late"), office.url, office.code(lasts=-_HOUR), BOX))
        yield _tried("another box's code", lambda: enrol(office.key("thief"), office.url, office.code(OTHER), BOX))
        guess = EnrolmentCode("A" * 16, office.code(OTHER).server)
        yield _tried("a guessed code", lambda: enrol(office.key("guess"), office.url, guess, OTHER))
        yield _tried("a code taken back by a newer one", lambda: _outdated(office))
        yield _tried("a renewal", lambda: renew(first, office.url, BOX), right=True)
        other = office.enrolled("other", OTHER)
        yield _tried("a renewal as another box", lambda: renew(other, office.url, BOX))
        yield _tried("a renewal without a certificate", lambda: renew(office.key("none"), office.url, BOX))
        for case, pair in _foreign(office, folder):
            yield _tried(case, lambda pair=pair: renew(_shown(office, folder, pair), office.url, BOX))
        office.rules.revoke(OTHER)
        yield _tried("a renewal of what was revoked", lambda: renew(other, office.url, OTHER))
        again = office.enrolled("again", BOX)
        yield _tried("what the box had before it was enrolled anew", lambda: renew(first, office.url, BOX))
        yield _tried("what it has now", lambda: renew(again, office.url, BOX), right=True)
        yield from _impostors(office, folder)


def _outdated(office: FleetOffice) -> object:
    code = office.code("box-c")
    office.code("box-c")
    return enrol(office.key("outdated"), office.url, code, "box-c")


def _foreign(office: FleetOffice, folder: Path) -> Iterator[tuple[str, tuple[Path, Path]]]:
    day = timedelta(days=1)
    yield "a renewal by another authority's certificate", Authority.made(folder / "theirs").client(BOX)
    yield "a renewal by an expired certificate", office.authority.dated(BOX, starts_in=-2 * day, ends_in=-day)
    yield "a renewal by a certificate that is in no register", office.authority.client(BOX)


def _shown(office: FleetOffice, folder: Path, pair: tuple[Path, Path]) -> OwnKey:
    key = OwnKey(Path(tempfile.mkdtemp(dir=folder)))
    key.authority.write_bytes(office.authority.file.read_bytes())
    key.pair.write_bytes(pair[0].read_bytes() + pair[1].read_bytes())
    return key


def _impostors(office: FleetOffice, folder: Path) -> Iterator[IdentityVerdict]:
    """Servers that are another: what they could read."""
    theirs = Authority.made(folder / "impostors")
    held = office.enrolled("held", "box-d")
    for case, pair in (
        ("another server's certificate", theirs.broker("localhost")),
        ("a box's certificate", office.authority.client("localhost")),
    ):
        for what, act in (
            ("enrolment", lambda url: enrol(office.key("fooled"), url, office.code("box-e"), "box-e")),
            ("renewal", lambda url: renew(held, url, "box-d")),
        ):
            with Impostor(pair) as impostor:
                verdict = _tried(f"{what} at {case}", lambda act=act, port=impostor.port: act(f"https://localhost:{port}"))
                time.sleep(0.3)
            assert impostor.connections, "nobody came: nothing was tried"
            yield IdentityVerdict(verdict.case, False, len(impostor.read), verdict.told)


def _shows(key: OwnKey, port: int) -> MqttConfig:
    pair = str(key.pair)
    return MqttConfig(url=f"mqtts://localhost:{port}", protocol="5", ca_file=str(key.authority), cert_file=pair, key_file=pair)


def _list_to(broker: FleetBroker, office: FleetOffice) -> None:
    """The new list comes to the broker, which is started again."""
    (broker.folder / "etc/certs/authority.crl").write_bytes(office.rules.signer.revoked_file.read_bytes())
    broker.stop()
    broker.start()


def at_the_broker(folder: Path) -> Iterator[IdentityVerdict]:
    """A box that renews loses nothing; one that was revoked gets nothing through."""
    with FleetOffice(folder) as office:
        broker = FleetBroker.of(folder / "broker", office.authority)
        broker.start()
        try:
            right, stolen = office.enrolled("right", BOX), office.enrolled("stolen", OTHER)
            told = Told()
            with boxed(folder / "right-box", _shows(right, broker.port), told) as outbox:
                _until(lambda: outbox.depth() == 0)
                yield IdentityVerdict("an enrolled box", True, broker.log.count("Received PUBLISH"), "delivered")
                before = broker.log.count("New client connected")
                renew(right, office.url, BOX)
                _until(lambda: broker.log.count("New client connected") > before)
                outbox.commit(events(5))
                _until(lambda: outbox.depth() == 0)
                office.rules.revoke(OTHER)
                _list_to(broker, office)
                outbox.commit(events(5))
                _until(lambda: outbox.depth() == 0)
                gap = [code for code in told.codes if code != "broker_lost"]
                came = sum(f"Received PUBLISH from {BOX}" in line and "/events'" in line for line in broker.log.splitlines())
                came = came if came >= 15 and not gap else 0
                yield IdentityVerdict(
                    "it renews, and the broker learns of another's revocation", True, came, f"{came} of 15 records"
                )
            started, thief = len(broker.log), Told()
            with boxed(folder / "stolen-box", _shows(stolen, broker.port), thief):
                _until(lambda: bool(thief.codes))
                time.sleep(0.5)
            took = broker.log[started:]
            leaked = took.count("Received PUBLISH") + took.count("New client connected")
            yield IdentityVerdict("a revoked box at the broker", False, leaked, ", ".join(dict.fromkeys(thief.codes)))
        finally:
            broker.stop()


def _until(true: Callable[[], bool], limit_s: float = 120.0) -> None:
    until_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < until_s, "it never came"
        time.sleep(0.05)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every case; 4 where the wrong party got something, or the right one nothing."""
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    sound, count = True, 0
    with tempfile.TemporaryDirectory() as name:
        for part in (enrolments, at_the_broker):
            place = Path(name) / part.__name__
            place.mkdir()
            for verdict in part(place):
                print(verdict, flush=True)
                sound, count = sound and verdict.sound, count + 1
    print(f"{count} cases")
    return 0 if sound else 4


if __name__ == "__main__":
    sys.exit(main())
