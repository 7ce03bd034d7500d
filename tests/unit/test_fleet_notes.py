"""Lines of a collector's log: the first of a kind at once, no flood of them."""

from __future__ import annotations

from deploy.fleet.notes import Note, Notes


def test_the_first_is_told_at_once_and_the_rest_once_a_minute() -> None:
    told: list[str] = []
    now = [0.0]
    notes = Notes(told.append, lambda: now[0])
    for second in range(130):
        now[0] = float(second)
        notes.add([Note("loud", "rejected", f"number {second}")] * 10)
    notes.add([Note("loud", "conflict", "another cause"), Note("quiet", "rejected", "another device")])
    assert told == [
        "loud: number 0",
        "loud: number 60 (599 more since the line before)",
        "loud: number 120 (599 more since the line before)",
        "loud: another cause",
        "quiet: another device",
    ]


def test_no_number_of_devices_fills_log_or_memory() -> None:
    told: list[str] = []
    notes = Notes(told.append, lambda: 0.0)
    notes.add(Note(f"box-{k}", "rejected", "x") for k in range(5000))
    assert len(told) == 1001
    assert told[-1] == "other devices: x"


def test_what_a_box_writes_does_not_steer_a_terminal() -> None:
    told: list[str] = []
    Notes(told.append).add([Note("a\nb", "rejected", "\x1b[2J" + "y" * 5000)])
    assert told[0].startswith("a b: yyy")
    assert len(told[0]) < 600
