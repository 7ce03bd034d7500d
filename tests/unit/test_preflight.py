"""The preflight on the simulated box: sound, and with everything wrong that it is there to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from device.calibration import Calibrations, load_calibrations, write_record
from device.config import Config, load_config
from device.drivers.ports import NoFrameError
from device.errors import HardwareError
from device.frames import Clock, Exposure, LampState, RawFrame
from device.health.endurance import Facts, endurance_checks, lit_s_per_sample
from device.health.preflight import Preflight, preflight
from device.messaging.payloads import Check
from device.plan import plan_of
from device.rig.build import build_rig
from device.rig.models import model_store
from device.rig.rig import Rig
from device.sampling.impactor.window import Window
from device.storage.reading import History
from device.twin.world import SimulatedTime, TwinWorld
from tests.controller import Controller
from tests.unit.test_calibration_records import a_record
from tests.worlds import small_instrument

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
GOOD = Clock("ntp", synchronised=True, uncertainty_s=0.01)
NEVER_SET = Clock("none", synchronised=False, uncertainty_s=1e9)


def a_config(folder: Path, **parts: dict[str, Any]) -> Config:
    """The sampler without networks, in a folder of its own; parts changed by name."""
    plain = load_config(None)
    changes: dict[str, dict[str, Any]] = {
        "analysis": {"reconstruction": "backpropagate", "classifier_model": ""},
        "storage": {"folder": str(folder / "store")},
        "calibration": {"folder": str(folder / "calibration")},
    }
    for name, values in parts.items():
        changes[name] = changes.get(name, {}) | values
    return msgspec.structs.replace(
        plain, **{name: msgspec.structs.replace(getattr(plain, name), **values) for name, values in changes.items()}
    )


def a_world(per_m3: float = 0.0, **changes: Any) -> TwinWorld:
    time = SimulatedTime()
    instrument = changes.pop("instrument", small_instrument())
    return TwinWorld(instrument, {"birch": per_m3}, 1, monotonic=time.monotonic, sleep=time.sleep, **changes)


def looked(
    config: Config,
    world: TwinWorld | None = None,
    *,
    drivers: Rig | None = None,
    sleep: Callable[[float], None] | None = None,
    broker: Callable[[Sequence[Check]], Check] = lambda _: Check(name="broker", status="ok"),
    calibrated: Calibrations | None = None,
    facts: Facts | None = None,
    clock: Clock = GOOD,
    days: float = 21.0,
) -> Preflight:
    world = world or a_world()
    hands = drivers or build_rig(config, small_instrument(), world)
    try:
        return preflight(
            config, calibrated or Calibrations(small_instrument(), None, (), ()), model_store(config), hands,
            sleep=sleep or world.sleep, facts=facts or Facts(), days=days, clock=clock, broker=broker, now=NOW,
        )  # fmt: skip
    finally:
        hands.close()


def found(outcome: Preflight, name: str) -> Check:
    return next(check for check in outcome.checks if check.name == name)


def test_a_sound_box_fails_nothing_and_is_left_dark_and_still(tmp_path: Path) -> None:
    instrument = small_instrument(512)
    world = a_world(40_000.0, instrument=instrument)
    outcome = looked(a_config(tmp_path), world, calibrated=Calibrations(instrument, None, (), ()))
    assert outcome.failed == ()
    assert [found(outcome, name).status for name in ("lamp off", "lamp on", "photodiode", "pump", "focus")] == ["ok"] * 5
    assert not world.lamp.is_on
    before = world.volume_ml()
    world.sleep(10.0)
    assert world.volume_ml() == before


def stuck(on_ma: float) -> TwinWorld:
    """A world whose lamp does what it likes, whatever the driver is told."""
    world = a_world()
    world.follow_lamp(lambda: LampState(0, on_ma, acknowledged=True))
    return world


def test_a_lamp_that_is_stuck_on_is_seen_in_the_dark_frame(tmp_path: Path) -> None:
    outcome = looked(a_config(tmp_path), stuck(20.0))
    assert "lamp off" in outcome.failed
    assert "acknowledged that it is off" in found(outcome, "lamp off").message


def test_a_lamp_that_is_stuck_off_is_told_from_a_covered_camera_by_the_photodiode(tmp_path: Path) -> None:
    dead = looked(a_config(tmp_path), a_world(lamp_ageing=0.0))
    assert {"lamp on"} <= set(dead.failed)
    assert "so does the photodiode" in found(dead, "lamp on").message
    assert found(dead, "photodiode").status == "warning"
    covered = looked(a_config(tmp_path), stuck(0.0))
    assert "the way to the camera is blocked" in found(covered, "lamp on").message
    assert found(covered, "photodiode").status == "ok"


def test_too_much_light_is_saturation(tmp_path: Path) -> None:
    outcome = looked(a_config(tmp_path, camera={"exposure_us": 8000.0}))
    assert found(outcome, "saturation").status == "failed"


class DeadCamera:
    """Starts, and gives no frame."""

    def start(self) -> None:
        pass

    def capture(self, exposure: Exposure, lamp: LampState) -> RawFrame | None:
        raise NoFrameError("no frame came", remedy="Check the camera's cable.")

    def close(self) -> None:
        pass


def test_a_dead_camera_is_one_failed_check_and_the_rest_is_looked_at_all_the_same(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    drivers = build_rig(config, small_instrument(), a_world())
    outcome = looked(config, drivers=replace(drivers, camera=DeadCamera()))
    assert outcome.failed == ("lamp and camera",)
    assert found(outcome, "humidity").status == "ok"
    assert drivers.lamp.state.current_ma == 0


def test_what_comes_out_of_focus_is_told(tmp_path: Path) -> None:
    plain = small_instrument(512)
    apart = msgspec.structs.replace(plain, optics=msgspec.structs.replace(plain.optics, distance_um=750.0))
    calibrated = Calibrations(plain, None, (), ())
    check = found(looked(a_config(tmp_path), a_world(40_000.0, instrument=apart), calibrated=calibrated), "focus")
    assert check.status == "warning"
    assert float(check.value or 0) == pytest.approx(750, abs=130)
    assert found(looked(a_config(tmp_path)), "focus").status == "not evaluated"


@pytest.fixture
def controller() -> Iterator[Controller]:
    made = Controller()
    made.set_sensors(0.1, 0.5, 0.5, 0.8, 0.5)
    yield made
    made.close()


def serial(folder: Path, controller: Controller, **pump: Any) -> Config:
    return a_config(
        folder, controller={"port": controller.port}, pump={"driver": "serial", "full_flow_ml_min": 20_000.0, **pump},
        environment={"driver": "serial"}, lamp={"driver": "twin"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("while_on", "while_off", "wrong"),
    [
        (1.0, 0.0, ""),
        (0.0, 0.0, "too little moves"),
        (5.0, 0.0, "more moves than can be"),
        (1.0, 0.5, "goes on after it is off"),
    ],
)
def test_the_flow_meter_tells_a_pump_that_moves_from_one_that_does_not(
    tmp_path: Path, controller: Controller, while_on: float, while_off: float, wrong: str
) -> None:
    world, per_s = a_world(), 13_000 / 60 / 0.5
    config = serial(tmp_path, controller, meter_ml_per_pulse=0.5)

    def sleep(seconds: float) -> None:
        world.sleep(seconds)
        controller.pulse_flow(round(per_s * seconds * (while_on if controller.pump() > 0 else while_off)))

    check = found(looked(config, world, sleep=sleep), "pump")
    assert check.status == ("failed" if wrong else "ok")
    assert (wrong or "by the flow meter") in check.message
    assert controller.pump() == 0


def test_a_controller_that_is_reset_while_the_pump_runs_fails_the_pump(tmp_path: Path, controller: Controller) -> None:
    world = a_world()

    def sleep(seconds: float) -> None:
        world.sleep(seconds)
        if controller.pump() > 0:
            controller.reset()

    assert "pump" in looked(serial(tmp_path, controller), world, sleep=sleep).failed


@pytest.mark.parametrize(
    ("sensors", "name", "status"),
    [
        ((0.1, 0.5, 0.5, 0.8, 0.5), "humidity", "ok"),
        ((0.1, 0.5, 0.78, 0.8, 0.5), "humidity", "warning"),
        ((0.1, 0.5, 0.5, 0.8, 0.5), "supply", "ok"),
        ((0.1, 0.5, 0.5, 0.8, 0.53), "supply", "warning"),
        ((0.1, 0.5, 0.5, 0.8, 0.56), "supply", "failed"),
        ((0.1, 0.05, 0.5, 0.8, 0.5), "temperature", "warning"),
        ((0.1, 0.5, 0.5, 0.2, 0.5), "pressure", "warning"),
        ((0.0, 0.0, 0.0, 0.0, 0.0), "environment", "not evaluated"),
    ],
)
def test_the_controllers_sensors_tell_what_surrounds_the_box(
    tmp_path: Path, controller: Controller, sensors: tuple[float, ...], name: str, status: str
) -> None:
    controller.set_sensors(*sensors)
    assert found(looked(serial(tmp_path, controller)), name).status == status


CRON = msgspec.structs.replace(load_config(None).sampling.schedule, kind="cron", cron="0 6 * * *", zone="Europe/Berlin")
SIMULATED_BESIDE: dict[str, Any] = {
    **{part: {"driver": "twin"} for part in ("lamp", "pump", "environment")}, "sampling": {"window_change": "person"},
}  # fmt: skip
RANGES = {
    "current above the lamp's": ({"lamp": {"current_ma": 60.0}}, "lamp current", "failed"),
    "no current": ({"lamp": {"current_ma": 0.0}}, "lamp current", "failed"),
    "exposure beyond the camera's patience": ({"camera": {"exposure_us": 3e6}}, "exposure", "failed"),
    "pump too small": ({"pump": {"full_flow_ml_min": 5000.0}}, "flow", "failed"),
    "real camera, simulated lamp and pump": ({"camera": {"driver": "picamera2"}, **SIMULATED_BESIDE}, "drivers", "failed"),
    "a schedule that never comes": (
        {"sampling": {"schedule": msgspec.structs.replace(CRON, cron="0 6 30 2 *")}}, "schedule", "failed",
    ),
    "no such zone": ({"sampling": {"schedule": msgspec.structs.replace(CRON, zone="Europe/Atlantis")}}, "plan", "failed"),
    "samples longer than their intervals": (
        {"sampling": {"sample_volume_l": 50.0, "schedule": msgspec.structs.replace(CRON, kind="interval", every_s=60.0)}},
        "schedule", "warning",
    ),
    "a morning sample": ({"sampling": {"schedule": CRON}}, "schedule", "ok"),
}  # fmt: skip


@pytest.mark.parametrize("case", RANGES)
def test_a_configuration_the_instrument_can_not_carry_out_is_refused_before_anything_moves(case: str, tmp_path: Path) -> None:
    parts, name, status = RANGES[case]
    world = a_world()
    config = a_config(tmp_path, **parts)
    hands = build_rig(a_config(tmp_path), small_instrument(), world)
    outcome = looked(config, world, drivers=hands)
    assert found(outcome, name).status == status
    if status == "failed":
        assert world.frames_taken == 0
        assert world.volume_ml() == 0


def test_a_mode_of_another_instrument_is_refused(tmp_path: Path) -> None:
    outcome = looked(a_config(tmp_path, sampling={"mode": "flow"}))
    assert outcome.failed[0] in ("mode", "plan")


def test_motion_in_a_channel_is_told_in_pixels(tmp_path: Path) -> None:
    from device.duct_flow import duct_of
    from device.health.ranges import range_checks
    from device.instrument import load_instrument

    config = load_config("simulated-flow")
    instrument = load_instrument(config.device.instrument)
    calibrated = Calibrations(instrument, None, (), ())
    for exposure_us, status in ((200.0, "ok"), (20_000.0, "warning")):
        longer = msgspec.structs.replace(config, camera=msgspec.structs.replace(config.camera, exposure_us=exposure_us))
        checks = range_checks(longer, instrument, plan_of(longer, calibrated, NOW), NOW)
        blur = next(c for c in checks if c.name == "motion blur")
        assert (blur.status, blur.unit) == (status, "pixels")
        # 1.5 mL a minute are 2.5e10 cubic micrometres a second.
        duct = duct_of(instrument)
        fastest_um_s = 2.5e10 / duct.section_um2 * duct.fastest()
        assert blur.value == pytest.approx(fastest_um_s * exposure_us * 1e-6 / 3.45, abs=0.01)


def test_the_next_wake_is_told_in_the_zone_and_in_utc(tmp_path: Path) -> None:
    wake = looked(a_config(tmp_path, sampling={"schedule": CRON})).next_wake()
    assert wake == "2026-06-02 06:00 CEST, 2026-06-02T04:00:00Z"
    assert looked(a_config(tmp_path)).next_wake() is None


def test_a_clock_that_was_never_set_fails_where_a_schedule_wakes_by_it(tmp_path: Path) -> None:
    by_schedule = looked(a_config(tmp_path, sampling={"schedule": CRON}), clock=NEVER_SET)
    assert "clock" in by_schedule.failed
    assert found(looked(a_config(tmp_path), clock=NEVER_SET), "clock").status == "warning"
    battery = Clock("rtc", synchronised=False, uncertainty_s=60.0)
    assert found(looked(a_config(tmp_path, sampling={"schedule": CRON}), clock=battery), "clock").status == "warning"


def test_a_disk_that_is_too_small_fails(tmp_path: Path) -> None:
    outcome = looked(a_config(tmp_path, storage={"min_free_mb": 1e9}))
    assert "disk lasts" in outcome.failed
    assert found(outcome, "disk lasts").value == 0


def test_a_full_window_that_a_person_changes_fails_and_one_that_changes_itself_does_not(tmp_path: Path) -> None:
    full = Facts(window=Window(samples=12, particles=40.0, diameters_um=800.0, squares_um2=16_000.0))
    by_person = {"window_change": "person"}
    assert "window lasts" in looked(a_config(tmp_path, sampling=by_person), facts=full).failed
    assert "window lasts" not in looked(a_config(tmp_path), facts=full).failed
    hourly = {"schedule": msgspec.structs.replace(CRON, kind="interval", every_s=86_400.0), "window_intervals": 30}
    assert "window lasts" not in looked(a_config(tmp_path, sampling=by_person | hourly)).failed
    assert "window lasts" in looked(a_config(tmp_path, sampling=by_person | hourly), days=31).failed


def test_a_calibration_that_expired_fails_and_one_that_will_is_told(tmp_path: Path) -> None:
    instrument, config = small_instrument(), a_config(tmp_path)
    write_record(tmp_path / "old", a_record(instrument, valid_until=NOW - timedelta(hours=1)))
    write_record(tmp_path / "short", a_record(instrument, valid_until=NOW + timedelta(days=10)))
    statuses = {
        folder: found(
            looked(config, calibrated=load_calibrations(tmp_path / folder, instrument, NOW), days=days), "calibration"
        )
        for folder, days in (("old", 21.0), ("short", 21.0))
    }
    assert statuses["old"].status == "failed"
    assert "expired" in statuses["old"].message
    assert statuses["short"].status == "warning"
    assert statuses["short"].value == 10
    brief = load_calibrations(tmp_path / "short", instrument, NOW)
    assert found(looked(config, calibrated=brief, days=9), "calibration").status == "ok"


def test_an_environment_that_does_not_answer_fails(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    drivers = build_rig(config, small_instrument(), a_world())
    drivers.environment.close()
    assert "environment" in looked(config, drivers=drivers).failed


def test_what_the_broker_is_given_are_the_checks_before_it(tmp_path: Path) -> None:
    heard: list[Sequence[Check]] = []

    def broker(checks: Sequence[Check]) -> Check:
        heard.append(tuple(checks))
        return Check(name="broker", status="failed", message="no answer")

    outcome = looked(a_config(tmp_path), broker=broker)
    assert outcome.failed == ("broker",)
    assert heard[0] == outcome.checks[:-1]


def endurance(config: Config, facts: Facts, days: float = 21.0, rated_life_h: float | None = None) -> dict[str, Check]:
    plain = small_instrument()
    instrument = msgspec.structs.replace(plain, lamp=msgspec.structs.replace(plain.lamp, rated_life_h=rated_life_h))
    calibrated = Calibrations(instrument, None, (), ())
    checks = endurance_checks(config, calibrated, plan_of(config, calibrated, NOW), facts, days, NOW)
    return {check.name: check for check in checks}


def test_the_disk_lasts_as_the_store_has_grown(tmp_path: Path) -> None:
    import shutil

    hourly = {"schedule": msgspec.structs.replace(CRON, kind="interval", every_s=3600.0)}
    config = a_config(tmp_path, sampling=hourly)
    free = shutil.disk_usage(tmp_path).free - (config.storage.min_free_mb + config.review.budget_mb) * 2**20
    per_interval = free / 24 / 10
    check = endurance(config, Facts(history=History(100, per_interval, 3600.0)))["disk lasts"]
    assert check.value == pytest.approx(10, abs=0.3)
    assert check.status == "warning", "what is delivered makes room"
    assert endurance(config, Facts(history=History(100, per_interval, 3600.0)), days=9)["disk lasts"].status == "ok"


def test_the_lamp_lasts_by_its_rated_life_and_what_it_has_shone(tmp_path: Path) -> None:
    hourly = {"schedule": msgspec.structs.replace(CRON, kind="interval", every_s=3600.0)}
    config = a_config(tmp_path, sampling=hourly)
    a_day_h = 24 * lit_s_per_sample(config) / 3600
    rated_h = 100 * a_day_h
    checks = endurance(config, Facts(lamp_lit_s=50 * a_day_h * 3600), rated_life_h=rated_h)
    assert checks["lamp lasts"].value == pytest.approx(40, abs=0.1)
    worn = endurance(config, Facts(lamp_lit_s=80 * a_day_h * 3600), rated_life_h=rated_h)
    assert worn["lamp lasts"].status == "warning"
    assert endurance(config, Facts())["lamp lasts"].status == "not evaluated"


def test_a_lamps_life_in_the_instrument_file_is_part_of_its_id_only_where_it_is_given() -> None:
    plain = small_instrument()
    assert plain.lamp.rated_life_h is None
    rated = msgspec.structs.replace(plain, lamp=msgspec.structs.replace(plain.lamp, rated_life_h=50_000.0))
    assert rated.id != plain.id


def test_a_dark_frame_costs_the_interval_and_not_the_service() -> None:
    from device.sampling.holograms import divided

    world = a_world()
    drivers = build_rig(load_config(None), world.instrument, world)
    drivers.camera.start()
    frame = drivers.camera.capture(Exposure(1000.0), drivers.lamp.off())
    assert frame is not None
    with pytest.raises(HardwareError, match="dark"):
        divided(world.instrument, frame, frame.pixels.astype("float32"))
