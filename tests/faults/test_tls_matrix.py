"""Some of the meetings with wrong parties; `python -m tests.faults.tls_matrix` holds them all."""

from __future__ import annotations

from pathlib import Path

from tests.faults.tls_matrix import impostors, strangers
from tests.faults.tls_neighbours import neighbours


def test_a_box_tells_an_impostor_nothing(tmp_path: Path) -> None:
    verdicts = list(impostors(tmp_path, ("our broker", "wrong name", "a box's certificate")))
    assert len(verdicts) == 3
    assert all(verdict.sound for verdict in verdicts), [str(verdict) for verdict in verdicts]


def test_the_broker_takes_nothing_from_a_stranger(tmp_path: Path) -> None:
    verdicts = list(strangers(tmp_path, ("our box", "wrong authority", "another box's certificate", "plain text by mistake")))
    assert len(verdicts) == 4
    assert all(verdict.sound for verdict in verdicts), [str(verdict) for verdict in verdicts]


def test_no_box_writes_or_hears_what_is_another_s(tmp_path: Path) -> None:
    found = neighbours(tmp_path, ("box-a", "box-b"))
    assert found.sound, found
