"""The biosensor's intervals over the simulated instrument and a real store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest

from calibration.assays import assay_response
from calibration.procedures.dose import measure_dose_response
from device.analysis.pipeline import Pipeline
from device.calibration import CalibrationRecord, Calibrations
from device.config import Config, load_config
from device.errors import HardwareError, InputError
from device.plan import plan_of
from device.rig.build import build_rig
from device.rig.models import build_pipeline, model_store
from device.rig.modes import build_mode
from device.rig.rig import Rig
from device.sampling.assay.mode import BACKGROUND, STATE_KEY, AssayMode, Running
from device.sampling.assay.settings import assay_settings
from device.sampling.findings import Findings
from device.sampling.impactor.mode import MARKER
from device.storage.arrays import load_array, save_array
from device.storage.outbox import Outbox
from device.twin.aggregation import BeadSuspension
from device.twin.world import SimulatedTime, TwinWorld
from tests.worlds import small_assay_instrument

SIDE_PX = 256


def configured(window_change: str = "automatic", **assay: object) -> Config:
    plain = load_config("simulated-assay")
    timing = msgspec.structs.replace(assay_settings(plain), duration_s=900.0, look_every_s=300.0, empty_frames=2, **assay)
    sampling = msgspec.structs.replace(plain.sampling, assay=timing, window_change=window_change)
    analysis = msgspec.structs.replace(plain.analysis, refine_iterations=0, classifier_model="")
    return msgspec.structs.replace(plain, sampling=sampling, analysis=analysis)


@cache
def pipeline(refine_iterations: int = 0) -> Pipeline:
    config = configured()
    analysis = msgspec.structs.replace(config.analysis, refine_iterations=refine_iterations)
    return build_pipeline(model_store(config), analysis, small_assay_instrument(SIDE_PX).geometry)[0]


class Box:
    """A simulated biosensor that outlives its service."""

    def __init__(
        self, folder: Path, config: Config | None = None, record: CalibrationRecord | None = None, refine_iterations: int = 0
    ) -> None:
        self.config, self.folder, self._refine_iterations = config or configured(), folder, refine_iterations
        time = SimulatedTime()
        sample = BeadSuspension(analyte_per_ul=150.0, beads_per_ul=500.0, shear_per_s=10.0)
        self.world = TwinWorld(
            small_assay_instrument(SIDE_PX), {}, monotonic=time.monotonic, sleep=time.sleep, model="lorenz-mie", sample=sample
        )
        self.drivers: Rig = build_rig(self.config, self.world.instrument, self.world)
        self.drivers.camera.start()
        self.calibrated = Calibrations(self.world.instrument, None, (record,) if record else (), ())
        self.start()

    def start(self) -> None:
        """As after power on."""
        self.outbox = Outbox(self.folder, "box")
        mode = build_mode(
            self.config, self.calibrated, pipeline(self._refine_iterations), self.drivers, self.sleep, self.outbox
        )
        assert isinstance(mode, AssayMode)
        self.mode = mode

    def sleep(self, seconds: float) -> None:
        self.world.sleep(seconds)

    def take(self) -> Findings:
        found = self.mode.take()
        assert found is not None
        self.outbox.keep(found.state)
        return found

    def power_lost_for(self, seconds: float) -> None:
        """The store as it was, so many seconds ago."""
        kept = msgspec.json.decode(self.outbox.get_state(STATE_KEY) or "", type=Running)
        ago = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
        self.outbox.keep({STATE_KEY: msgspec.json.encode(msgspec.structs.replace(kept, last_at=ago)).decode()})
        self.outbox.close()
        self.start()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path / "store")
    yield made
    made.outbox.close()


def elapsed_s(found: Findings) -> float:
    assert found.aggregation is not None
    return found.aggregation.elapsed_s


def test_an_assay_looks_from_its_start_to_its_end_and_the_next_begins_in_a_fresh_chamber(tmp_path: Path) -> None:
    box = Box(tmp_path / "store", refine_iterations=8)
    looks, under_way = [], []
    for _ in range(5):
        looks.append(box.take())
        under_way.append(box.mode.under_way)
    assert under_way == [True, True, True, False, True]
    assert [round(elapsed_s(found)) for found in looks] == [0, 300, 600, 900, 0]
    assert [notice.code for found in looks for notice in found.notices] == ["assay_result"]
    assert "no response was calibrated" in looks[3].notices[0].message
    assert all(found.dose is None for found in looks)
    assert all(found.volume.unit == "mL^-1" and found.volume.value > 0 for found in looks)
    sizes = [found.aggregation.mean_size for found in looks if found.aggregation]
    assert sizes[0] < sizes[1] < sizes[3]
    assert sizes[4] < sizes[1]


def calibrated(duration_s: float = 900.0) -> CalibrationRecord:
    doses = np.array([0.0] * 8 + [10.0] * 4 + [50.0] * 4 + [150.0] * 4 + [400.0] * 4)
    rng = np.random.default_rng(1)
    responses = 0.02 + 0.9 * doses / (doses + 200) + rng.normal(0, 0.02, len(doses))
    outcome = measure_dose_response(doses.tolist(), responses.tolist(), duration_s=duration_s)
    now = datetime.now(UTC)
    return CalibrationRecord(
        instrument_id="x", made_at=now, procedure="dose", values=outcome.values, verdict="pass", valid_until=now, id="y"
    )


def test_a_calibrated_response_gives_the_last_look_a_dose_with_its_interval(tmp_path: Path) -> None:
    box = Box(tmp_path / "store", record=calibrated(), refine_iterations=8)
    looks = [box.take() for _ in range(4)]
    box.outbox.close()
    assert [found.dose is None for found in looks] == [True, True, True, False]
    dose = looks[3].dose
    assert dose is not None
    assert dose.limit_of_detection is not None
    assert dose.kind == "measured"
    assert dose.value is not None
    assert 0 < dose.low < dose.value < (dose.high or float("inf"))
    assert looks[3].notices[0].code == "assay_result"


def test_a_response_of_assays_of_another_duration_gives_no_dose(tmp_path: Path) -> None:
    box = Box(tmp_path / "store", record=calibrated(duration_s=1800.0))
    last = [box.take() for _ in range(4)][-1]
    box.outbox.close()
    assert last.dose is None


@pytest.mark.parametrize(("gap_s", "expected_s"), [(100.0, 600.0), (400.0, 700.0)])
def test_an_assay_goes_on_after_a_power_loss_with_what_it_had_seen(box: Box, gap_s: float, expected_s: float) -> None:
    box.take()
    box.take()
    seen = box.mode.running.looks
    box.power_lost_for(gap_s)
    assert box.mode.running.looks == seen
    third = box.take()
    assert elapsed_s(third) == pytest.approx(expected_s, abs=5.0)
    assert [notice.code for notice in third.notices] == ["assay_resumed"]
    last = box.take()
    assert box.mode.running.phase == "done"
    assert last.notices[0].code == "assay_result"
    assert f"{len(seen) + 2} looks" in last.notices[0].message


def test_the_empty_chamber_is_known_after_a_power_loss(box: Box) -> None:
    box.take()
    before = box.mode._background
    box.power_lost_for(1.0)
    assert before is not None
    assert np.array_equal(box.mode._background, before)  # type: ignore[arg-type]


def test_a_lost_frame_of_the_empty_chamber_is_told_and_the_assay_goes_on(box: Box) -> None:
    box.take()
    (box.folder / BACKGROUND).write_bytes(b"half a frame")
    box.power_lost_for(1.0)
    assert {notice.code for notice in box.take().notices} == {"assay_resumed", "background_lost"}


def test_an_assay_left_alone_for_too_long_is_given_up_and_a_fresh_one_begins(box: Box) -> None:
    box.take()
    box.take()
    box.power_lost_for(601.0)
    with pytest.raises(HardwareError, match="601 s"):
        box.take()
    again = box.take()
    assert elapsed_s(again) == pytest.approx(0.0, abs=0.1)
    assert len(box.mode.running.looks) == 1


def test_power_lost_while_the_chamber_was_filled_is_known_at_the_next_start(box: Box) -> None:
    def cut(_: float) -> None:
        raise HardwareError("power lost")

    box.mode._assay.sleep = cut
    with pytest.raises(HardwareError, match="power lost"):
        box.take()
    box.outbox.close()
    box.start()
    with pytest.raises(HardwareError, match="wasn't filled"):
        box.take()
    assert box.take().aggregation is not None


def test_a_camera_that_fails_between_looks_costs_a_look_and_no_more(box: Box) -> None:
    box.take()
    capture = box.drivers.camera.capture

    def fails(_exposure: object, _lamp: object) -> None:
        raise HardwareError("no frame")

    box.drivers.camera.capture = fails  # type: ignore[method-assign]
    with pytest.raises(HardwareError, match="no frame"):
        box.take()
    box.drivers.camera.capture = capture  # type: ignore[method-assign]
    assert elapsed_s(box.take()) == pytest.approx(300.0, abs=5.0)
    assert len(box.mode.running.looks) == 2


def test_the_volume_is_that_of_the_chamber_in_view(box: Box) -> None:
    instrument = box.world.instrument
    volume = box.take().volume
    side_mm = SIDE_PX * instrument.geometry.object_pitch_um / 1000
    # A cubic millimetre is a microlitre.
    assert volume.value == pytest.approx(side_mm**2 * instrument.fluidics.channel_height_um / 1000 / 1000)
    assert (volume.relative_uncertainty, volume.unit) == (0.05, "mL^-1")


def test_beads_that_are_gone_make_the_look_suspect(box: Box) -> None:
    assert not box.take().suspect
    box.world.advance_window()
    found = box.take()
    assert found.suspect
    assert [notice.code for notice in found.notices] == ["beads_lost"]


def test_a_person_is_waited_for_where_a_person_changes_the_chamber(tmp_path: Path) -> None:
    box = Box(tmp_path / "store", configured(window_change="person"))
    last = [box.take() for _ in range(4)][-1]
    assert last.notices[0].code == "assay_result"
    waited = 0

    def waits(seconds: float) -> None:
        nonlocal waited
        waited += 1
        if waited == 3:
            box.world.advance_window()
            (box.folder / MARKER).touch()
        box.world.sleep(seconds)

    box.mode._assay.sleep = waits
    assert elapsed_s(box.take()) == pytest.approx(0.0, abs=0.1)
    assert waited >= 3
    assert not (box.folder / MARKER).exists()
    box.outbox.close()


def test_a_chamber_that_is_never_seen_empty_is_divided_by_its_own_light(tmp_path: Path) -> None:
    box = Box(tmp_path / "store", configured(background="smooth"))
    found = box.take()
    box.outbox.close()
    assert found.aggregation is not None
    assert found.aggregation.beads > 10
    assert not (box.folder / BACKGROUND).exists()


def test_an_instrument_without_flow_cannot_fill_a_chamber(tmp_path: Path) -> None:
    box = Box(tmp_path / "store")
    still = msgspec.structs.replace(box.world.instrument.fluidics, flow_ml_min=0.0)
    box.calibrated = Calibrations(msgspec.structs.replace(box.world.instrument, fluidics=still), None, (), ())
    box.outbox.close()
    with pytest.raises(InputError, match="fill_ml"):
        box.start()
    box.outbox.close()


def test_the_plan_tells_an_assay() -> None:
    config = configured()
    plan = plan_of(config, Calibrations(small_assay_instrument(), None, (), ()))
    text = "\n".join(plan.lines())
    assert "4 looks over 15 min" in text
    assert "holonode-calibrate dose" in text
    assert plan.duration_s == pytest.approx(900.0 + 6.0 + 5.0)


def test_an_array_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    path, values = tmp_path / "frame.npy", np.arange(12, dtype=np.float32).reshape(3, 4)
    assert load_array(path, (3, 4)) is None
    save_array(path, values)
    assert np.array_equal(load_array(path, (3, 4)), values)  # type: ignore[arg-type]
    assert load_array(path, (4, 3)) is None
    path.write_bytes(path.read_bytes()[:100])
    assert load_array(path, (3, 4)) is None


def test_an_assay_of_a_known_dose_is_carried_out_for_the_calibration() -> None:
    said: list[str] = []
    response, digests = assay_response(configured(), small_assay_instrument(192), 400.0, 1, said.append)
    assert response is not None
    assert len(set(digests)) == len(said) == 4
