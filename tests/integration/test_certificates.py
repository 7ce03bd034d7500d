"""Certificates replaced under a running link, on a real broker that asks for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from device.config import MqttConfig
from device.errors import InputError
from device.messaging.certificates import Certificates, read_identity
from device.messaging.link import LinkState, MqttLink, parse_url
from device.messaging.probe import broker_check
from device.storage.outbox import Outbox
from tests.authority import Authority, FleetBroker
from tests.integration.test_link import INFO, eventually
from tests.unit.test_outbox import events

Linked = Callable[[], MqttLink]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def fleet(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetBroker]:
    broker = FleetBroker.of(tmp_path_factory.mktemp("fleet") / "broker", authority)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def config(authority: Authority, fleet: FleetBroker, tmp_path: Path) -> MqttConfig:
    """A box's own copies of its certificate and key."""
    copies = (tmp_path / "box.pem", tmp_path / "box.key")
    place(authority.client("box"), copies)
    return authority.shown_by(fleet.port, copies)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "store", "box")
    yield made
    made.close()


@pytest.fixture
def troubles() -> list[str]:
    return []


@pytest.fixture
def linked(config: MqttConfig, outbox: Outbox, troubles: list[str]) -> Iterator[Linked]:
    links: list[MqttLink] = []

    def start() -> MqttLink:
        link = MqttLink(
            config, parse_url(config.url), outbox, INFO, on_warning=lambda code, _: troubles.append(code), jitter=lambda: 0.0
        )
        link.start()
        links.append(link)
        return link

    yield start
    for link in links:
        link.stop(0.5)


def place(pair: tuple[Path, Path], where: tuple[Path, Path]) -> None:
    """As an update does: each file whole, one after the other."""
    for source, target in zip(pair, where, strict=True):
        fresh = target.with_suffix(".next")
        shutil.copy(source, fresh)
        fresh.replace(target)


def files(config: MqttConfig) -> tuple[Path, Path]:
    return Path(config.cert_file), Path(config.key_file)


def delivers(link: MqttLink, outbox: Outbox) -> None:
    outbox.commit(events(3))
    link.notify()
    eventually(lambda: outbox.depth() == 0)


def test_a_new_pair_is_taken_up_without_a_restart(
    authority: Authority, fleet: FleetBroker, config: MqttConfig, outbox: Outbox, linked: Linked, troubles: list[str]
) -> None:
    link = linked()
    delivers(link, outbox)
    connections = fleet.log.count("New client connected")
    place(authority.client("box"), files(config))
    eventually(lambda: fleet.log.count("New client connected") > connections)
    delivers(link, outbox)
    assert troubles == []


def test_a_pair_that_does_not_match_is_told_and_the_earlier_one_goes_on(
    authority: Authority, fleet: FleetBroker, config: MqttConfig, outbox: Outbox, linked: Linked, troubles: list[str]
) -> None:
    link = linked()
    delivers(link, outbox)
    connections = fleet.log.count("New client connected")
    certificate, key = authority.client("box")
    place((certificate, certificate), (files(config)[0], files(config)[0]))  # the certificate alone
    eventually(lambda: troubles == ["certificate_rejected"])
    delivers(link, outbox)
    fleet.stop()
    fleet.start()
    # Even a connection that is made anew shows the earlier pair.
    delivers(link, outbox)
    assert fleet.log.count("New client connected") == connections + 1
    place((certificate, key), files(config))
    eventually(lambda: fleet.log.count("New client connected") == connections + 2)
    delivers(link, outbox)
    assert troubles == ["certificate_rejected", "broker_lost"]


def test_a_service_that_starts_with_a_broken_pair_keeps_its_records_until_it_is_mended(
    authority: Authority, config: MqttConfig, outbox: Outbox, linked: Linked, troubles: list[str]
) -> None:
    sound = files(config)[1].read_bytes()
    files(config)[1].write_bytes(b"")
    link = linked()
    outbox.commit(events(3))
    eventually(lambda: troubles == ["certificate_rejected"])
    assert link.state is LinkState.REFUSED
    files(config)[1].write_bytes(sound)
    eventually(lambda: outbox.depth() == 0)


def test_a_certificate_that_ends_soon_is_told_once(
    authority: Authority, config: MqttConfig, outbox: Outbox, linked: Linked, troubles: list[str]
) -> None:
    place(authority.dated("box", starts_in=-timedelta(days=1), ends_in=timedelta(days=5)), files(config))
    link = linked()
    eventually(lambda: troubles == ["certificate_expiring"])
    delivers(link, outbox)
    assert troubles == ["certificate_expiring"]


def test_the_check_before_the_service_meets_the_same_broker_by_the_same_certificate(
    authority: Authority, config: MqttConfig
) -> None:
    assert broker_check(config, "box", b"{}").status == "ok"
    stranger = broker_check(config, "another")
    assert stranger.status == "failed"
    assert "another device's" in stranger.message
    elsewhere = broker_check(msgspec.structs.replace(config, ca_file=""), "box")
    assert "no safe connection" in elsewhere.message
    plain = broker_check(msgspec.structs.replace(config, url=config.url.replace("mqtts", "mqtt")), "box")
    assert "plain text" in plain.message


def test_a_key_that_others_can_read_is_refused(config: MqttConfig) -> None:
    Path(config.key_file).chmod(0o640)
    with pytest.raises(InputError, match="others can read the device's key"):
        Certificates(config, "box").replaced()


@pytest.mark.parametrize(
    "text", ["", "-----BEGIN CERTIFICATE-----\n", "nothing", "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_is_one_clear_error(config: MqttConfig, text: str) -> None:
    Path(config.cert_file).write_text(text)
    with pytest.raises(InputError, match="certificate can't be read"):
        Certificates(config, "box").replaced()


def test_a_certificate_says_what_openssl_says_of_it(authority: Authority) -> None:
    starts, ends = timedelta(days=-400), timedelta(days=365 * 40)  # past 2049, where the dates are written another way
    certificate, _ = authority.dated("box-far", starts_in=starts, ends_in=ends)
    identity = read_identity(certificate.read_text())
    assert identity.common_name == "box-far"
    assert abs((identity.not_after - identity.not_before) - (ends - starts)) < timedelta(seconds=5)
    assert identity.not_after.year > 2050
