"""What a collector says of a batch, told without a database."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from deploy.fleet.intake import Arrival, Key, read
from deploy.fleet.store import Mark, _better_of_each, _beyond
from tests.unit.test_fleet_intake import TOPIC, event


def arrival(**changes: object) -> Arrival:
    found = read(TOPIC, event(**changes))
    assert isinstance(found, Arrival)
    return found


def keys(*seqs: int, spool_id: str = "s") -> list[Key]:
    return [Key(device_id="box", spool_id=spool_id, seq=seq) for seq in seqs]


def test_a_mark_never_covers_a_number_that_did_not_come() -> None:
    whole = [Mark("box", "s", 3)]
    assert _beyond(whole, keys(2, 3)) == []
    assert _beyond(whole, keys(9, 6, 7, 5)) == [Mark("box", "s", 7, first=5), Mark("box", "s", 9, first=9)]
    other = [Mark("box", "s", 3), Mark("box", "t", 0)]
    runs = _beyond(other, keys(5) + keys(6, spool_id="t"))
    assert runs == [Mark("box", "s", 5, first=5), Mark("box", "t", 6, first=6)]


def test_of_one_key_in_a_batch_the_record_with_the_synchronised_stamp_is_kept() -> None:
    early, late = replace(arrival(), body="early"), replace(arrival(), body="late", synchronised=True)
    for batch in ([early, late], [late, early], [late, replace(late, body="later")]):
        assert [kept.body for kept in _better_of_each(batch)] == ["late"]


def test_a_stamp_counts_as_synchronised_only_where_the_record_says_so() -> None:
    clock = {"source": "ntp", "synchronised": True, "uncertainty_s": 0.01}
    newer = {"schema": "holonode.event/3"}
    assert arrival(**newer, clock=clock).synchronised
    assert not arrival(**newer, clock=clock | {"synchronised": False}).synchronised
    assert not arrival(**newer, clock=clock | {"synchronised": "yes"}).synchronised
    assert not arrival().synchronised
    assert msgspec.json.decode(arrival(**newer, clock=clock).body)["clock"] == clock
