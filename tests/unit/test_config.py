"""Configuration and instrument files are strict, and say what is wrong where."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import msgspec
import pytest

from device.config import Config, config_hash, load_config
from device.errors import InputError
from device.instrument import load_instrument
from device.schemas import json_schema

CASES = {
    "unknown key": ("[lamp]\ncurent_ma = 3\n", ["line 2", "lamp.curent_ma", "Did you mean current_ma?"]),
    "unknown table": ("\n[lmap]\ncurrent_ma = 3\n", ["line 2", "lmap", "Did you mean lamp?"]),
    "out of bounds": ("[camera]\nexposure_us = 2.0\ngain = 100\n", ["line 3", "camera.gain", "<= 64"]),
    "wrong type": ('[camera]\ngain = "high"\n', ["line 2", "camera.gain", "float"]),
    "bad choice": ('[lamp]\ndriver = "laser"\n', ["line 2", "lamp.driver"]),
    "bad id": ('[device]\nid = "My Box"\n', ["line 2", "device.id"]),
    "truncated": ('[device\nid = "x"', ["not valid TOML"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_file_names_file_line_key_and_what_was_expected(tmp_path: Path, case: str) -> None:
    text, wanted = CASES[case]
    path = tmp_path / "box.toml"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        load_config(path)
    for part in (str(path), *wanted):
        assert part in str(raised.value)


def test_a_missing_or_binary_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such configuration"):
        load_config(tmp_path / "nothing.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        load_config(tmp_path / "b.toml")


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.toml"
    path.touch()
    assert load_config(path) == Config()


def test_the_hash_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[camera]\ngain = 2.0\n")
    assert config_hash(load_config(path)) != config_hash(Config())
    path.write_text("# another comment\n[camera]\ngain = 2.0\n")
    assert config_hash(load_config(path)) == config_hash(load_config(path))


def test_the_packaged_preset_follows_the_published_schema() -> None:
    config = load_config()
    schema = json_schema("config")
    jsonschema.validate(msgspec.to_builtins(config), schema)
    current = schema["$defs"]["LampConfig"]["properties"]["current_ma"]
    assert current["x-unit"] == "mA"
    assert current["description"]


def test_instruments_load_by_name_and_by_file_and_keep_their_id(tmp_path: Path) -> None:
    named = load_instrument("bioaerosol-imx219-850nm")
    copy = tmp_path / "mine.toml"
    copy.write_text((Path(__file__).parents[2] / "calibration" / "instruments" / "bioaerosol-imx219-850nm.toml").read_text())
    assert load_instrument(str(copy)).id == named.id
    assert 300 < named.geometry.defocus_number < 400
    with pytest.raises(InputError, match="no such instrument"):
        load_instrument("toaster")


def test_an_instrument_without_a_sensor_says_so(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text('name = "x"\n')
    with pytest.raises(InputError, match="key sensor is missing"):
        load_instrument(str(path))


def test_a_choice_that_is_none_is_answered_with_those_there_are(tmp_path: Path) -> None:
    path = tmp_path / "box.toml"
    path.write_text('[sampling]\nmode = "pump"\n')
    with pytest.raises(InputError, match=r"sampling\.mode .*line 2.*expected impactor \| assay \| flow; got 'pump'"):
        load_config(path)


def test_a_configuration_that_is_not_there_is_answered_with_the_presets() -> None:
    with pytest.raises(InputError, match=r"no such configuration.*simulated-assay \| simulated-bioaerosol \| simulated-flow"):
        load_config("simulated-pump")
