"""The wall clock stamps and nothing more: what it says is told with its quality and corrected once somebody vouches for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from device import clock as clock_module
from device.analysis.report import Losses, SampledVolume
from device.clock import BoxClock, KernelTime, kernel_time
from device.frames import Clock, Hologram
from device.health.clock import clock_check
from device.identifiers import record_ulid
from device.optics.geometry import Geometry
from device.records import Event, FrameCounts, iso_time
from device.sampling.findings import Findings, LookedAt
from device.service.timekeeper import Beginning, Span, Timekeeper
from device.storage.outbox import Outbox

RIGHT = datetime(2026, 11, 26, 12, tzinfo=UTC)
DECADES = timedelta(days=30 * 365)


class Box:
    """A machine whose clocks the test sets."""

    def __init__(self, says: datetime, *, boot: str = "a", synchronised: bool = False) -> None:
        self.elapsed = timedelta(seconds=10)
        self.ahead = says - RIGHT
        self.kernel = KernelTime(synchronised, 0.01)
        self.clock = BoxClock(
            machine_boot=boot,
            elapsed_ns=lambda: round(self.elapsed.total_seconds() * 1e9),
            wall_ns=lambda: round(self.says.timestamp() * 1e9),
            kernel=lambda: self.kernel,
        )

    @property
    def says(self) -> datetime:
        return RIGHT + self.elapsed + self.ahead

    @property
    def right(self) -> datetime:
        """What a right clock would say."""
        return RIGHT + self.elapsed

    def set_rightly(self) -> None:
        self.ahead, self.kernel = timedelta(), KernelTime(synchronised=True, uncertainty_s=0.01)


def hologram(captured_at: datetime) -> Hologram:
    return Hologram(
        np.ones((4, 4), np.float32), Geometry(wavelength_um=0.85, pitch_um=1.12, distance_um=500.0), 0.01, captured_at
    )


def findings(*holograms: Hologram) -> Findings:
    analysis: Any = None
    looks = tuple(LookedAt(one, analysis, ()) for one in holograms)
    return Findings(looks, FrameCounts(), SampledVolume(1.0, 0.1, "m^-3"), Losses(), "1 L")


def commit(outbox: Outbox, moment: datetime, count: int = 1) -> None:
    def build(first: int) -> list[Event]:
        return [
            Event(
                device_id="box", spool_id=outbox.spool_id, seq=seq, id=record_ulid(moment, "box", outbox.spool_id, seq), code="test",
                severity="info", message="m", since=iso_time(moment),
            )
            for seq in range(first, first + count)
        ]  # fmt: skip

    outbox.commit(build)


def since(outbox: Outbox) -> list[datetime]:
    return [datetime.fromisoformat(msgspec.json.decode(row.body)["since"]) for row in outbox.pending(10_000)]


@pytest.mark.parametrize(
    ("says", "kernel", "expected"),
    [
        (RIGHT, KernelTime(synchronised=True, uncertainty_s=0.02), Clock("ntp", synchronised=True, uncertainty_s=0.02)),
        (
            RIGHT,
            KernelTime(synchronised=True, uncertainty_s=1e-3, pulse=True),
            Clock("gnss", synchronised=True, uncertainty_s=1e-3),
        ),
        (RIGHT, KernelTime(synchronised=False, uncertainty_s=0.0), Clock("system", synchronised=False, uncertainty_s=86400.0)),
        (datetime(1970, 1, 1, tzinfo=UTC), KernelTime(synchronised=False, uncertainty_s=0.0), Clock("none", uncertainty_s=1e9)),
        (RIGHT + DECADES, KernelTime(synchronised=False, uncertainty_s=0.0), Clock("none", uncertainty_s=1e9)),
    ],
)
def test_the_quality_of_a_stamp(says: datetime, kernel: KernelTime, expected: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_module, "_FROM_RTC", Path("/nonexistent"))
    box = Box(says)
    box.kernel = kernel
    assert box.clock.quality() == expected


def test_a_clock_kept_by_a_battery_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hctosys").write_text("1\n")
    monkeypatch.setattr(clock_module, "_FROM_RTC", tmp_path / "hctosys")
    assert Box(RIGHT).clock.quality().source == "rtc"


def test_this_machines_kernel_answers() -> None:
    told = kernel_time()
    assert told.uncertainty_s > 0
    assert BoxClock().machine_boot


def test_what_waits_is_back_dated_in_order_and_says_so(tmp_path: Path) -> None:
    box = Box(datetime(1970, 1, 1, tzinfo=UTC))
    outbox = Outbox(tmp_path, "box", clock=box.clock)
    right: list[datetime] = []
    for _ in range(60):
        box.elapsed += timedelta(seconds=1)
        right += [box.right] * 20
        commit(outbox, box.says, 20)
    told: list[tuple[str, float]] = []
    keeper = Timekeeper(outbox, lambda code, _message, value, _unit: told.append((code, value)))
    keeper.poll()
    assert told == []
    assert all(moment.year == 1970 for moment in since(outbox))
    box.elapsed += timedelta(seconds=5)
    box.set_rightly()
    keeper.poll()
    assert since(outbox) == right
    assert [code for code, _ in told] == ["clock_set", "clock_synchronised"]
    assert told[1][1] == 1200.0
    # Once.
    keeper.poll()
    assert len(told) == 2
    assert since(outbox) == right
    commit(outbox, box.says)
    assert since(outbox)[-1] == box.right
    outbox.close()


def test_stamps_of_a_clock_that_was_right_all_along_are_vouched_for_once_somebody_does(tmp_path: Path) -> None:
    box = Box(RIGHT)
    outbox = Outbox(tmp_path, "box", clock=box.clock)
    told: list[tuple[str, float]] = []
    keeper = Timekeeper(outbox, lambda code, _message, value, _unit: told.append((code, value)))
    commit(outbox, box.says)
    stamped = since(outbox)
    keeper.poll()
    assert told == []
    box.set_rightly()
    keeper.poll()
    assert told == [("clock_synchronised", 1.0)]
    assert since(outbox) == stamped
    outbox.close()


def test_a_restarted_service_corrects_what_its_predecessor_stamped_but_nothing_of_another_start_of_the_machine(
    tmp_path: Path,
) -> None:
    earlier = Box(datetime(1970, 1, 1, tzinfo=UTC), boot="a")
    outbox = Outbox(tmp_path, "box", clock=earlier.clock)
    commit(outbox, earlier.says)
    outbox.close()
    box = Box(datetime(1980, 1, 1, tzinfo=UTC), boot="b")
    for _ in range(2):
        outbox = Outbox(tmp_path, "box", clock=box.clock)
        box.elapsed += timedelta(seconds=60)
        commit(outbox, box.says)
        outbox.close()
    box.set_rightly()
    outbox = Outbox(tmp_path, "box", clock=box.clock)
    Timekeeper(outbox, lambda *_: None).poll()
    assert [moment.year for moment in since(outbox)] == [1970, 2026, 2026]
    assert since(outbox)[2] - since(outbox)[1] == timedelta(seconds=60)
    assert outbox.counters.backdated == 2
    outbox.close()


def test_records_with_a_clock_field_name_the_correction_with_its_uncertainty(tmp_path: Path) -> None:
    from device.storage.backdate import shifted

    box = Box(datetime(1970, 1, 1, tzinfo=UTC), synchronised=True)
    made_ns = box.clock.elapsed_ns()
    box.elapsed += timedelta(hours=10)
    body = msgspec.json.encode(
        {"seq": 1, "captured_at": "1970-01-01T00:00:01.000000Z", "clock": {"source": "none"}, "score": 0.25}
    )
    found = msgspec.json.decode(shifted(body, 3_000_000_000, box.clock.backdated(made_ns)))
    assert found == {
        "seq": 1,
        "captured_at": "1970-01-01T00:00:04.000000Z",
        # A hundredth of a second now, and a board's crystal over ten hours.
        "clock": {"source": "backdated", "synchronised": True, "uncertainty_s": 3.61},
        "score": 0.25,
    }


@pytest.mark.parametrize("jump", [DECADES, -DECADES, timedelta(hours=1), timedelta()])
def test_an_interval_in_which_the_clock_is_set_is_stamped_by_the_clock_at_its_end(jump: timedelta) -> None:
    box = Box(RIGHT)
    began = Beginning.at(box.clock)
    box.elapsed += timedelta(seconds=20)
    before = hologram(box.says)
    box.elapsed += timedelta(seconds=20)
    box.ahead += jump
    after = hologram(box.says)
    box.elapsed += timedelta(seconds=20)
    span = Span.since(began, box.clock)
    assert span.ended == box.says
    assert span.started == box.says - timedelta(seconds=60)
    captured = [look.hologram.captured_at for look in span.stamped(findings(before, after)).frames]
    assert captured == [span.started + timedelta(seconds=20), span.started + timedelta(seconds=40)]


def test_a_recorded_frame_keeps_its_files_stamp() -> None:
    box = Box(RIGHT)
    recorded = replace(hologram(RIGHT - DECADES), clock=Clock("file"))
    span = Span.since(Beginning.at(box.clock), box.clock)
    assert span.stamped(findings(recorded)).frames[0].hologram is recorded


def test_on_a_simulated_box_an_unvouched_clock_is_told_and_no_warning_unless_a_schedule_wakes_by_it() -> None:
    clock = Clock(source="system", synchronised=False, uncertainty_s=86_400.0)
    said = {
        (simulated, wakes): clock_check(clock, wakes_by_it=wakes, simulated=simulated)
        for simulated in (False, True)
        for wakes in (False, True)
    }
    assert {case: check.status for case, check in said.items()} == {
        (False, False): "warning", (False, True): "failed", (True, False): "ok", (True, True): "failed",
    }  # fmt: skip
    assert all("not synchronised" in check.message for check in said.values())
