"""The impactor's intervals over the simulated sampler and a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from device.calibration import Calibrations
from device.config import Config, load_config
from device.errors import HardwareError
from device.rig.build import build_rig
from device.rig.models import build_pipeline, model_store
from device.rig.modes import build_mode
from device.rig.rig import Rig
from device.sampling.findings import Findings
from device.sampling.impactor.mode import MARKER, STATE_KEY, ImpactorMode
from device.sampling.impactor.window import Window, window_from_state
from device.storage.outbox import Outbox
from tests.worlds import small_world


def sampler(folder: Path, **sampling: object) -> tuple[ImpactorMode, Outbox, Rig]:
    plain = load_config(None)
    chosen = msgspec.structs.replace(plain.sampling, sample_volume_l=1.0, **sampling)
    analysis = msgspec.structs.replace(plain.analysis, reconstruction="backpropagate", classifier_model="")
    config: Config = msgspec.structs.replace(plain, sampling=chosen, analysis=analysis)
    world = small_world()
    drivers = build_rig(config, world.instrument, world)
    drivers.camera.start()
    pipeline, _ = build_pipeline(model_store(config), config.analysis, world.instrument.geometry)
    outbox = Outbox(folder, "box")
    mode = build_mode(config, Calibrations(world.instrument, None, (), ()), pipeline, drivers, world.sleep, outbox)
    assert isinstance(mode, ImpactorMode)
    return mode, outbox, drivers


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    return tmp_path / "store"


def taken(mode: ImpactorMode, outbox: Outbox) -> Findings:
    found = mode.take()
    assert found is not None
    outbox.keep(found.state)
    return found


def test_what_lies_on_the_window_survives_a_restart_and_the_window_is_full_when_it_would_have_been(folder: Path) -> None:
    mode, outbox, _ = sampler(folder, window_intervals=3)
    for _ in range(2):
        taken(mode, outbox)
    known = mode.window
    outbox.close()
    again, outbox, _ = sampler(folder, window_intervals=3)
    assert again.window == known
    assert taken(again, outbox)
    assert again.window.samples == 3
    taken(again, outbox)
    assert again.window.samples == 1, "the window was advanced after its third sample"
    outbox.close()


def test_power_lost_within_a_sample_is_known_at_the_next_start(folder: Path) -> None:
    mode, outbox, drivers = sampler(folder)
    taken(mode, outbox)

    def cut(_exposure: object, _lamp: object) -> None:
        raise HardwareError("power lost")

    drivers.camera.capture = cut  # type: ignore[method-assign]
    with pytest.raises(HardwareError, match="power lost"):
        mode.take()
    outbox.close()
    again, outbox, _ = sampler(folder)
    assert again.window.samples == 2
    outbox.close()


def test_a_window_that_was_advanced_before_a_failure_is_clean(folder: Path) -> None:
    mode, outbox, drivers = sampler(folder, window_intervals=2)
    taken(mode, outbox)
    taken(mode, outbox)
    capture = drivers.camera.capture

    def fails(_exposure: object, _lamp: object) -> None:
        raise HardwareError("no frame")

    drivers.camera.capture = fails  # type: ignore[method-assign]
    with pytest.raises(HardwareError):
        mode.take()
    drivers.camera.capture = capture  # type: ignore[method-assign]
    taken(mode, outbox)
    assert mode.window.samples == 1
    outbox.close()


def test_particles_that_would_hide_too_much_fill_a_window_before_its_samples_are_up(folder: Path) -> None:
    mode, outbox, _ = sampler(folder, window_most_hidden=0.001)
    assert taken(mode, outbox).notices == ()
    assert taken(mode, outbox)
    assert mode.window.samples == 1
    outbox.close()


def test_a_person_is_asked_once_for_a_clean_window_and_counts_are_suspect_until_there_is_one(folder: Path) -> None:
    mode, outbox, _ = sampler(folder, window_change="person", window_intervals=2, window_most_hidden=0.9)
    first, second, third = (taken(mode, outbox) for _ in range(3))
    assert [notice.code for notice in (*first.notices, *second.notices, *third.notices)] == ["window_full"]
    assert [first.suspect, second.suspect, third.suspect] == [False, True, True]
    assert "holonode window changed" in second.notices[0].message
    (folder / MARKER).touch()
    assert not taken(mode, outbox).suspect
    assert mode.window.samples == 1
    assert not (folder / MARKER).exists()
    outbox.close()


def test_the_window_is_in_the_store_before_the_pump_starts(folder: Path) -> None:
    mode, outbox, _ = sampler(folder)
    taken(mode, outbox)
    mode.take()
    stored = outbox.get_state(STATE_KEY)
    assert stored is not None
    assert msgspec.json.decode(stored, type=Window).under_way
    assert window_from_state(stored).samples == 2
    outbox.close()


def test_the_volume_is_the_air_whose_particles_land_in_the_field(folder: Path) -> None:
    mode, outbox, _ = sampler(folder)
    fluidics = msgspec.structs.replace(mode._instrument.fluidics, collection_fraction=0.25, flow_relative_uncertainty=0.07)
    mode._instrument = msgspec.structs.replace(mode._instrument, fluidics=fluidics)
    volume = taken(mode, outbox).volume
    # A litre of air was asked for, and the simulated pump keeps to it.
    assert volume.value == pytest.approx(0.25e-3, rel=0.01)
    assert (volume.relative_uncertainty, volume.unit) == (0.07, "m^-3")
    outbox.close()


def test_a_window_with_much_on_it_makes_the_next_sample_less_certain(folder: Path) -> None:
    mode, outbox, _ = sampler(folder, window_most_hidden=0.9)
    clean = taken(mode, outbox).losses.overlap
    mode.window = mode.window.with_sample([40.0] * 30)
    littered = taken(mode, outbox).losses.overlap
    assert mode.window.samples > 1
    assert littered.relative_uncertainty > 2 * clean.relative_uncertainty
    outbox.close()
