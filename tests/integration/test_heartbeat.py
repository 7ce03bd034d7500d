"""The heartbeat, as a service manager hears it on a real socket."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.config import Config
from device.health.installed import unit_check
from device.health.watchdog import WATCHDOG_S, allowances_of
from device.processes import thread_activity
from device.service.heartbeat import Heartbeat, Notifier, Steps, Stillness
from tests.brokers import free_port
from tests.faults.hanging_service import ALLOWED_S
from tests.faults.heartbeat import campaign
from tests.managers import Manager
from tests.services import Service

SILENT_WITHIN_S = 10.0


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    listening = Manager(
        str(tmp_path / "notify") if request.param == "a path" else f"@holonode-test-{os.getpid()}-{free_port()}"
    )
    yield listening
    listening.close()


def test_a_manager_hears_that_it_starts_is_ready_works_and_stops(tmp_path: Path, manager: Manager) -> None:
    service = Service.configured(tmp_path, "")
    service.start(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="4000000")
    try:
        starting = manager.until(lambda said: "WATCHDOG" in said)
        assert int(starting["EXTEND_TIMEOUT_USEC"]) >= 10_000_000
        manager.until(lambda said: said.get("READY") == "1")
        assert (tmp_path / "store" / "outbox.sqlite").exists()
        working = manager.until(lambda said: said.get("WATCHDOG") == "1")
        assert working["STATUS"]
        service.send(signal.SIGTERM)
        manager.until(lambda said: said.get("STOPPING") == "1")
        status, said = service.finish(None, 200)
        assert status == 0, said
    finally:
        service.stop()


@pytest.mark.parametrize("stage", ["camera", "analysis", "store", "link"])
def test_a_stage_that_hangs_starves_the_watchdog_within_ten_seconds_and_only_then(tmp_path: Path, stage: str) -> None:
    manager, trigger = Manager(str(tmp_path / "notify")), tmp_path / "hang"
    service = Service.configured(tmp_path, f"mqtt://127.0.0.1:{free_port()}")
    service.start(("-m", "tests.faults.hanging_service", stage, str(trigger)), NOTIFY_SOCKET=manager.address)
    try:
        manager.until(lambda said: said.get("READY") == "1")
        for _ in range(3):
            manager.until(lambda said: said.get("WATCHDOG") == "1")
        trigger.touch()
        # A last one may be on its way; after that the manager is asked for a new start, and nothing feeds it.
        hung_s = time.monotonic()
        told = manager.until(lambda said: said.get("STATUS", "").startswith("hangs"), SILENT_WITHIN_S + ALLOWED_S)
        assert told["WATCHDOG"] == "trigger"
        assert time.monotonic() - hung_s > ALLOWED_S / 2
        for _ in range(2):
            said = manager.listen(1.5)
            assert said is None or "WATCHDOG" not in said
        trigger.unlink()
        manager.until(lambda said: said.get("WATCHDOG") == "1")
        status, output = service.finish(timeout_s=200)
        assert status == 0, output
        assert "the service hangs" in output
    finally:
        service.stop()
        manager.close()


def test_a_healthy_service_is_never_told_to_hang(tmp_path: Path) -> None:
    outcome = campaign(6, tmp_path)
    assert outcome.intervals == 6
    assert outcome.beats
    assert not outcome.faults, outcome


def test_waiting_for_a_wake_and_a_long_pause_count_as_moving() -> None:
    now_s = [0.0]
    steps = Steps("the loop", 10.0, lambda: now_s[0])
    with steps.step("waiting", 3600.0):
        now_s[0] = 3599.0
        assert steps.late() is None
        now_s[0] = 3601.0
        assert steps.late() == "waiting takes more than 3600 s"
    assert steps.late() is None
    now_s[0] += 11
    assert steps.late() is not None
    steps.beat()
    assert steps.late() is None


def test_only_the_innermost_step_counts_and_the_outer_one_begins_anew() -> None:
    now_s = [0.0]
    steps = Steps("the loop", 10.0, lambda: now_s[0])
    with steps.step("sampling", 5.0):
        with steps.step("analysis", 100.0):
            now_s[0] = 90.0
            assert (steps.now_at, steps.late()) == ("analysis", None)
        assert (steps.now_at, steps.late()) == ("sampling", None)
        now_s[0] += 6.0
        assert steps.late() == "sampling takes more than 5 s"


def test_a_step_that_computes_hangs_once_it_gets_no_more_of_the_processor() -> None:
    now_s, took_s, on_disk = [0.0], [0.0], [False]
    steps = Steps(
        "the loop", 10.0, lambda: now_s[0],
        lambda thread: Stillness(thread, lambda: now_s[0], lambda _thread: took_s[0], lambda: on_disk[0]),
    )  # fmt: skip

    def looks(count: int, works_s: float = 0.0) -> str | None:
        late = None
        for _ in range(count):
            now_s[0] += 2.0
            took_s[0] += works_s
            late = steps.late()
        return late

    with steps.step("analysis", 1000.0, 10.0):
        assert looks(100, works_s=0.06) is None, "slow is not broken"
        on_disk[0] = True
        assert looks(20) is None, "a disk is waited for"
        on_disk[0] = False
        assert looks(5) is None
        assert looks(1) == "analysis got on no more for 10 s"
        now_s[0] += 60.0  # this process stood still as a whole: its heartbeat, too
        assert looks(1, works_s=0.06) is None
    with steps.step("waiting", 1000.0):
        assert looks(100) is None, "who waits needs no processor"


def test_this_threads_work_is_seen_by_its_number() -> None:
    before = thread_activity(threading.get_native_id())
    while (seen := thread_activity(threading.get_native_id())) - before < 0.05:
        sum(range(10_000))
    assert seen > before
    assert thread_activity(2**22 + 1) == 0.0


def test_ready_is_said_once_and_not_once_it_stops(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    heart = Heartbeat(Notifier(manager.address))
    heart.ready()
    heart.ready()
    heart.stopping()
    heart.ready()
    heart.stop()
    said = [manager.listen(1), manager.listen(1), manager.listen(0.1)]
    assert [None if one is None else next(iter(one)) for one in said] == ["READY", "STOPPING", None]
    manager.close()


def test_a_heartbeat_feeds_only_while_nobody_is_late(tmp_path: Path) -> None:
    manager, late = Manager(str(tmp_path / "notify")), list[str]()
    heart = Heartbeat(Notifier(manager.address))
    heart.watch(lambda: late[0] if late else None)
    heart.poll()
    assert manager.listen(1) == {"WATCHDOG": "1", "EXTEND_TIMEOUT_USEC": "30000000", "STATUS": ""}
    late.append("the camera takes more than 3 s")
    heart.poll()
    assert manager.listen(1) == {"STATUS": "hangs: the camera takes more than 3 s", "WATCHDOG": "trigger"}
    heart.poll()
    assert manager.listen(0.1) is None
    late.clear()
    heart.poll()
    assert (manager.listen(1) or {})["WATCHDOG"] == "1"
    heart.stop()
    manager.close()


def test_nobody_who_listens_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Notifier().send(READY=1)
    nobody = Notifier(str(tmp_path / "gone"))
    nobody.send(READY=1)
    nobody.close()
    nobody.send(READY=1)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    told = Notifier.from_environment()
    assert told.heard
    assert told.feed_every_s == 0.5
    told.close()
    assert "NOTIFY_SOCKET" not in os.environ, "a broker that is started must not speak for the service"


def test_allowances_grow_with_what_is_configured() -> None:
    import msgspec

    few = Config()
    long = msgspec.structs.replace(few, camera=msgspec.structs.replace(few.camera, driver="v4l2", exposure_us=1e7))
    dense = msgspec.structs.replace(few, analysis=msgspec.structs.replace(few.analysis, refine_most_particles=3000))
    assert allowances_of(long).camera_s > 200
    assert allowances_of(dense).analysis_s > 5 * allowances_of(few).analysis_s


UNIT = {"LoadState": "loaded", "UnitFileState": "enabled", "Type": "notify"}


@pytest.mark.parametrize(
    ("properties", "status", "advice"),
    [
        ({"WatchdogUSec": "30s"}, "ok", ""),
        ({"WatchdogUSec": "1min 30s"}, "ok", ""),
        ({"WatchdogUSec": "0"}, "warning", f"WatchdogSec={WATCHDOG_S}"),
        ({"WatchdogUSec": "infinity", "Type": "simple"}, "warning", "Type=notify"),
        ({"WatchdogUSec": "500ms"}, "warning", f"WatchdogSec={WATCHDOG_S}"),
        ({"WatchdogUSec": "30s", "NotifyAccess": "none", "Type": "simple"}, "failed", "NotifyAccess=main"),
    ],
)
def test_advice_is_what_this_version_does(properties: dict[str, str], status: str, advice: str) -> None:
    check = unit_check(UNIT | properties)
    assert check.status == status
    assert advice in check.remedy
