"""Rates, shares of a core, passwords, sessions and codes by a clock that the test holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.cli import main
from device.config import load_config
from device.errors import InputError, TransientError
from device.web.security.access_store import FILE, AccessStore
from device.web.security.own_certificate import fingerprint_of
from device.web.security.passwords import PasswordKeeper
from device.web.security.rate_limits import Allowance, RateLimits, TokenBucket, network_of
from device.web.security.requester import HostPolicy
from device.web.serving.governor import Governor, unhurried
from device.web.serving.server import listening


class Hand:
    """A clock."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def test_an_address_has_its_own_rate_and_all_have_one() -> None:
    clock = Hand()
    limits = RateLimits(Allowance(at_once=3, per_s=1), Allowance(at_once=5, per_s=2), clock)
    assert [limits.refused_s("192.0.2.1") > 0 for _ in range(4)] == [False, False, False, True]
    assert [limits.refused_s(f"192.0.2.{k}") > 0 for k in (2, 3, 4)] == [False, False, True]
    clock.now += 1
    assert [limits.refused_s("192.0.2.1") > 0 for _ in range(2)] == [False, True]


def test_however_many_addresses_come_memory_stays() -> None:
    limits = RateLimits(Allowance(1, 1), Allowance(1e9, 1), Hand())
    for k in range(5000):
        limits.refused_s(f"10.0.{k // 250}.{k % 250}")
    assert len(limits._addresses) <= 1024


def test_a_network_of_ipv6_is_one_address() -> None:
    assert network_of("2001:db8:1:2::7") == network_of("2001:db8:1:2:ffff::1") != network_of("2001:db8:1:3::7")
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"


def test_a_thread_gets_its_share_of_a_core_and_may_save_for_a_burst() -> None:
    clock, used, slept = Hand(), Hand(), list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += seconds

    governor = Governor(0.25, 0.5, used_s=used, clock=clock, sleep=sleep)
    governor._used_at_s = used.now
    used.now += 0.4
    clock.now += 0.4
    governor.check()
    assert not slept, "it was saved"
    start_s, start_used_s = clock.now, used.now
    for _ in range(200):
        used.now += 0.05
        clock.now += 0.05
        governor.check()
    assert (used.now - start_used_s) / (clock.now - start_s) == pytest.approx(0.25, rel=0.05)
    before = len(slept)
    governor.charge(1.0)
    governor.check()
    assert slept[before:] == [pytest.approx(1.0, abs=0.2)], "what others spent for it counts"


def test_a_long_download_is_unhurried() -> None:
    slept = list[float]()

    def busy() -> Iterator[int]:
        for k in range(3):
            sum(range(300_000))
            yield k

    assert list(unhurried(busy(), slept.append)) == [0, 1, 2]
    assert len(slept) == 3
    assert min(slept) > 0


def test_a_session_ends_when_nobody_uses_it_and_at_last_at_all(tmp_path: Path) -> None:
    clock = Hand()
    store = AccessStore(tmp_path, clock)
    token = store.begin("viewer", "192.0.2.1", "a browser")
    for _ in range(6):
        clock.now += 6 * 86_400
        found = store.session(token)
        assert (found is not None) == (clock.now - 1_800_000_000.0 <= 30 * 86_400)
    clock.now = 1_800_000_000.0
    token = store.begin("viewer", "192.0.2.1", "a browser")
    clock.now += 7 * 86_400 + 1
    assert store.session(token) is None
    assert store.session("never given") is None
    store.close()
    assert not AccessStore(tmp_path, clock).sessions()


def test_sessions_are_few_and_the_oldest_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device.web.security.access_store._MOST_SESSIONS", 4)
    clock = Hand()
    store = AccessStore(tmp_path, clock)
    tokens = list[str]()
    for _ in range(6):
        clock.now += 1
        tokens.append(store.begin("viewer", "192.0.2.1", "x" * 10_000))
    assert len(store.sessions()) == 4
    assert store.session(tokens[0]) is None
    assert store.session(tokens[-1])
    assert max(len(one.agent) for one in store.sessions()) <= 200


def test_a_code_holds_a_quarter_of_an_hour_once_and_in_the_other_process(tmp_path: Path) -> None:
    clock = Hand()
    service, command = AccessStore(tmp_path, clock), AccessStore(tmp_path, clock)
    first, second = command.new_code(), command.new_code()
    assert not service.use_code(first), "a newer one took its place"
    assert service.use_code(second.lower())
    assert not service.use_code(second)
    old = command.new_code()
    clock.now += 901
    assert not service.use_code(old)
    clock.now -= 10_000
    assert not service.use_code(old), "made in what is now the future"


def test_a_password_is_kept_as_argon2id_of_19_mib_and_two_passes(tmp_path: Path) -> None:
    keeper = PasswordKeeper()
    kept = keeper.hashed("correct horse battery")
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert keeper.agrees(kept, "correct horse battery")
    assert not keeper.agrees(kept, "correct horse batterz")
    assert not keeper.agrees(None, "nobody's")
    assert not keeper.agrees("no hash", "x")
    for bad in ("", "short", "x" * 257):
        with pytest.raises(InputError, match="10 to 256"):
            keeper.hashed(bad)


def test_a_full_disk_shuts_nobody_out(tmp_path: Path) -> None:
    store = AccessStore(tmp_path)
    store._database.close()
    store._database = sqlite3.connect(
        f"{(tmp_path / FILE).as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    assert store.session(store.begin("operator", "192.0.2.1", ""))


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not SQLite" * 1000)
    with pytest.raises(InputError, match="passwords and sessions can't be read"):
        AccessStore(tmp_path)


@pytest.mark.parametrize(
    ("peer", "headers", "address", "local", "scheme"),
    [
        ("127.0.0.1", {}, "127.0.0.1", True, "http"),
        ("::1", {}, "::1", True, "http"),
        ("::ffff:127.0.0.1", {}, "::ffff:127.0.0.1", True, "http"),
        ("127.0.0.1", {"x-forwarded-for": "203.0.113.9"}, "127.0.0.1", False, "http"),
        ("127.0.0.1", {"via": "1.1 somebody"}, "127.0.0.1", False, "http"),
        ("192.0.2.7", {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "https"}, "192.0.2.7", False, "http"),
        ("10.9.0.1", {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "https"}, "127.0.0.1", False, "https"),
        ("10.9.0.1", {"x-forwarded-for": "6.6.6.6, 203.0.113.9, 10.9.0.2"}, "203.0.113.9", False, "http"),
        ("10.9.0.1", {}, "10.9.0.1", False, "http"),
        ("10.9.0.1", {"x-forwarded-proto": "gopher"}, "10.9.0.1", False, "http"),
    ],
)
def test_forwarded_headers_count_from_named_proxies_alone(
    peer: str, headers: dict[str, str], address: str, local: bool, scheme: str
) -> None:
    found = HostPolicy([], ["10.9.0.0/16"]).requester(peer, "http", headers | {"host": "box"})
    assert (found.address, found.is_local, found.scheme) == (address, local, scheme)


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(InputError, match="trusted_proxies"):
        HostPolicy([], ["everybody"])


def test_the_next_free_port_is_taken_and_an_address_of_another_machine_is_told() -> None:
    with listening("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with listening("127.0.0.1", port) as second:
            assert port < second.getsockname()[1] < port + 20
    with pytest.raises(TransientError, match=r"web\.address"):
        listening("192.0.2.1", 8080)


def test_the_command_prints_the_fingerprint_of_the_certificate_that_it_makes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "box.toml"
    config.write_text('[storage]\nfolder = "store"\n[web]\naddress = "0.0.0.0"\n')
    assert main(["web", "fingerprint", "--config", str(config)]) == 2, "no store yet"
    (tmp_path / "store").mkdir()
    monkeypatch.setenv("PATH", "")
    assert main(["web", "fingerprint", "--config", str(config)]) == 2
    assert "apt-get install openssl" in capsys.readouterr().err
    monkeypatch.undo()
    for _ in range(2):
        assert main(["web", "fingerprint", "--config", str(config)]) == 0
    first, second = capsys.readouterr().out.split()
    assert first == second == fingerprint_of(tmp_path / "store" / "web" / "certificate.pem")
    assert len(first.split(":")) == 32
    config.write_text('[storage]\nfolder = "store"\n')
    assert main(["web", "fingerprint", "--config", str(config)]) == 2


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    config = tmp_path / "box.toml"
    config.write_text('[web]\ncert_file = "a.pem"\n')
    with pytest.raises(InputError, match="both or neither"):
        load_config(config)
    config.write_text('[web]\naddress = "everywhere"\n')
    with pytest.raises(InputError, match=r"web\.address"):
        load_config(config)


def test_a_bucket_says_how_long_to_wait() -> None:
    clock = Hand()
    bucket = TokenBucket(Allowance(at_once=2, per_s=4), clock)
    assert [bucket.take_or_wait_s() for _ in range(3)] == [0.0, 0.0, pytest.approx(0.25)]
    clock.now += 0.25
    assert bucket.take_or_wait_s() == 0.0
