"""Relative paths mean the same whatever folder a command is run in."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from device.cli import main
from device.config import Config, config_hash, load_config, paths_of
from device.storage.outbox import Outbox

CONFIG = """
[device]
instrument = "mine.toml"
[camera]
replay_inputs = ["frames/*.png", "/absolute/frame.png"]
[controller]
port = "usb:1a86:7523"
[twin]
truth_file = "truth.jsonl"
[analysis]
classifier_model = "models/own-1.0.0.tflite"
[storage]
folder = "store"
[calibration]
folder = "../calibration"
[mqtt]
url = "mqtts://host"
password_file = "secret"
ca_file = "~/ca.pem"
cert_file = "certificates/box.pem"
key_file = "certificates/box.key"
[web]
cert_file = "certificates/web.pem"
key_file = "certificates/web.key"
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration's folder; the current one is another."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "etc"


def test_every_relative_path_is_relative_to_the_configuration_file(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "box.toml").write_text(CONFIG)
    for given in (elsewhere / "box.toml", Path("../etc/box.toml")):
        config = load_config(given)
        base = elsewhere if given.is_absolute() else Path.cwd() / "../etc"
        assert config.device.instrument == str(base / "mine.toml")
        assert config.camera.replay_inputs == [str(base / "frames/*.png"), "/absolute/frame.png"]
        assert config.controller.port == "usb:1a86:7523"
        assert config.twin.truth_file == str(base / "truth.jsonl")
        assert config.analysis.classifier_model == str(base / "models/own-1.0.0.tflite")
        assert config.analysis.reconstruction_model == "hidef"
        assert config.storage.folder == str(base / "store")
        assert config.calibration.folder == str(base / "../calibration")
        assert config.mqtt.password_file == str(base / "secret")
        assert config.mqtt.ca_file == "~/ca.pem"
        assert config.mqtt.cert_file == str(base / "certificates/box.pem")
        assert config.mqtt.key_file == str(base / "certificates/box.key")
        assert config.web.cert_file == str(base / "certificates/web.pem")
        assert config.web.key_file == str(base / "certificates/web.key")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert paths_of(config)["mqtt.ca_file"] == "/home/somebody/ca.pem"
    assert all(Path(one).is_absolute() for path in paths_of(config).values() for one in path.split(", "))


def test_every_setting_that_names_a_file_is_anchored(elsewhere: Path) -> None:
    # A setting that is added later and sounds like one must be looked at.
    (elsewhere / "box.toml").write_text(CONFIG)
    anchored = set(paths_of(load_config(elsewhere / "box.toml")))
    for table in msgspec.structs.fields(Config):
        for field in msgspec.structs.fields(table.type):
            if field.name.endswith(("_file", "folder", "_inputs")):
                assert f"{table.name}.{field.name}" in anchored


def test_names_absolute_paths_and_presets_keep_their_meaning(elsewhere: Path) -> None:
    (elsewhere / "box.toml").write_text('[storage]\nfolder = "/var/lib/holonode"\n')
    config = load_config(elsewhere / "box.toml")
    assert config == msgspec.structs.replace(
        Config(), storage=msgspec.structs.replace(Config().storage, folder="/var/lib/holonode")
    )
    assert load_config().device.instrument == "bioaerosol-imx219-850nm"
    assert config_hash(load_config()) == config_hash(load_config("simulated-bioaerosol"))


def test_a_dry_run_prints_where_paths_lead_and_a_store_at_the_old_place_is_told(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "box.toml").write_text('[storage]\nfolder = "store"\n')
    Outbox(Path.cwd() / "store", "test-box").close()
    assert main(["run", "--dry-run", "--config", str(elsewhere / "box.toml")]) == 0
    said = capsys.readouterr().out
    assert f"storage.folder = {elsewhere / 'store'}" in said
    assert f"a store lies at {Path.cwd() / 'store'}; the configuration means {elsewhere / 'store'}" in said
    assert main(["run", "--dry-run", "--json", "--config", str(elsewhere / "box.toml")]) == 0
    assert json.loads(capsys.readouterr().out)["paths"]["storage.folder"] == str(elsewhere / "store")
    main(["doctor", "--no-optics", "--json", "--config", str(elsewhere / "box.toml")])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert "a store lies at" in checks["store elsewhere"]["message"]
