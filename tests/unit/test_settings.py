"""Settings changed from afar."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.config import Config
from device.errors import InputError
from device.settings import SETTABLE, changed, overlaid, overlay_of


def value_at(config: Config, key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("key", SETTABLE)
def test_every_setting_can_go_to_either_bound_and_back_to_the_files(key: str) -> None:
    config = Config(analysis=msgspec.structs.replace(Config().analysis, min_esd_um=0.0, max_esd_um=10_000.0))
    for bound in SETTABLE[key]:
        if (key, bound) in (("analysis.min_esd_um", 1000), ("analysis.max_esd_um", 1)):
            continue
        overlay = changed(config, {}, {key: bound})
        assert value_at(overlaid(config, overlay), key) == bound
        assert changed(config, overlay, {key: None}) == {}
    low, high = SETTABLE[key]
    for beyond in (low - 1e-3, high + 1e-3, -1e300, 1e300):
        with pytest.raises(InputError, match=key):
            changed(config, {}, {key: beyond})


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"mqtt.url": 1}, "mqtt.url"),
        ({"sampling": 1}, "sampling"),
        ({"sampling.flow": 1}, "sampling.flow"),
        ({"sampling.window_intervals": 2.5}, "sampling.window_intervals"),
        ({"analysis.min_esd_um": 20, "analysis.max_esd_um": 10}, "analysis.min_esd_um"),
    ],
)
def test_what_cant_be_set_is_refused_by_its_name(wanted: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        changed(Config(), {}, wanted)


@given(st.dictionaries(st.sampled_from(list(SETTABLE)), st.none() | st.integers() | st.floats(), min_size=1))
def test_whatever_is_wanted_gives_a_configuration_within_bounds_or_a_refusal(wanted: dict[str, Any]) -> None:
    try:
        overlay = changed(Config(), {}, wanted)
    except InputError:
        return
    stored = overlay_of(msgspec.json.encode(overlay).decode())
    assert stored == overlay
    config = overlaid(Config(), stored)
    for key, (low, high) in SETTABLE.items():
        assert low <= value_at(config, key) <= high


def test_what_another_version_left_in_the_store_changes_nothing() -> None:
    assert overlay_of(None) == overlay_of("no JSON") == overlay_of('{"a": []}') == {}


def test_a_store_that_holds_what_may_not_be_changed_from_afar_is_refused_by_its_name() -> None:
    with pytest.raises(InputError, match=r"can't be changed from afar.*camera\.exposure_us"):
        overlaid(Config(), {"camera.exposure_us": 5})
