"""Some of the meetings with wrong parties; `python -m tests.faults.tls_matrix` holds them all."""

from __future__ import annotations

from pathlib import Path

from device.config import MqttConfig
from tests.brokers import broker
from tests.faults.tls_matrix import Tap, Told, boxed, impostors, strangers
from tests.faults.tls_neighbours import neighbours
from tests.integration.test_link import eventually


def test_a_box_tells_an_impostor_nothing(tmp_path: Path) -> None:
    verdicts = list(impostors(tmp_path, ("our broker", "a box's certificate")))
    assert len(verdicts) == 2
    assert all(verdict.sound for verdict in verdicts), [str(verdict) for verdict in verdicts]


def test_the_broker_takes_nothing_from_a_stranger(tmp_path: Path) -> None:
    verdicts = list(strangers(tmp_path, ("our box", "wrong authority", "another box's certificate", "plain text by mistake")))
    assert len(verdicts) == 4
    assert all(verdict.sound for verdict in verdicts), [str(verdict) for verdict in verdicts]


def test_the_tap_sees_what_a_box_publishes_in_plain_text(tmp_path: Path) -> None:
    with broker(tmp_path / "b") as plain:
        tap = Tap(plain.port)
        with boxed(tmp_path, MqttConfig(url=f"mqtt://127.0.0.1:{tap.port}", protocol="5"), Told()) as outbox:
            eventually(lambda: outbox.depth() == 0)
        tap.close()
    assert tap.packets[0] == 1
    assert tap.packets.count(3) >= 7  # five records, `status` and `info`


def test_no_box_writes_or_hears_what_is_another_s(tmp_path: Path) -> None:
    found = neighbours(tmp_path, ("box-a", "box-b"))
    assert found.sound, found
