"""A support bundle holds no secret, wherever somebody put one: settings, environment, log, records, URLs, keys."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import msgspec
import pytest

from device.config import Config, MqttConfig, public
from device.service.support import scrubbed, secrets_of, write_bundle

PASSWORD = 'p"Ss w/o\\rd-7731'
KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIPlantedKeyMaterial0123456789+/abcd\nefghPlantedTail==\n-----END EC PRIVATE KEY-----"
PLANTED = (
    "PlantedKeyMaterial",
    "PlantedTail",
    "url-user-91",
    "url-word-92",
    "env-token-93",
    "bearer-token-94abc",
    "wifi-word-95",
    PASSWORD,
)


def config_of(folder: Path) -> Config:
    file = folder / "password"
    file.write_text(PASSWORD + "\n")
    mqtt = MqttConfig(
        url="mqtts://url-user-91:url-word-92@broker.example:8883", username="box-user-90", password_file=str(file)
    )
    return msgspec.structs.replace(Config(), mqtt=mqtt)


def test_planted_secrets_are_in_no_file_of_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(tmp_path)
    monkeypatch.setenv("FLEET_API_TOKEN", "env-token-93")
    log = "\n".join(
        [
            f"connecting to {config.mqtt.url}",
            "the environment said env-token-93",
            f"password_file holds {PASSWORD}",
            "Authorization: Bearer bearer-token-94abc",
            'wifi_psk = "wifi-word-95"',
            f"read {KEY} and went on",
            f"cut off: {KEY[:60]}",
            "user box-user-90 was refused; 17 particles",
        ]
    )
    event = msgspec.json.encode({"code": "broker_refused", "message": f"{config.mqtt.url} refuses {PASSWORD}; {KEY}"})
    parts = {"config": public(config), "audit": [{"said": f"token=env-token-93 {PASSWORD}"}], "info": {"key": KEY}}
    path = write_bundle(tmp_path, parts, log, [event], secrets_of(config))
    with zipfile.ZipFile(path) as bundle:
        texts = {name: bundle.read(name).decode() for name in bundle.namelist()}
    assert set(texts) == {"config.json", "audit.json", "info.json", "versions.json", "records.jsonl", "log.txt"}
    for name, text in texts.items():
        for secret in (*PLANTED, "box-user-90"):
            for form in (secret, json.dumps(secret)[1:-1]):
                assert form not in text, f"{secret} in {name}"
    for name in ("config.json", "audit.json", "info.json", "versions.json"):
        json.loads(texts[name])
    json.loads(texts["records.jsonl"])
    assert "17 particles" in texts["log.txt"]
    assert "broker.example:8883" in texts["log.txt"]


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-04T12:00:00Z  2.0 L of air, 14 particles (8.0-22.9): 58659 per m^3",
        '{"name":"password file","status":"ok","message":"mode 600"}',
        "http://127.0.0.1:8080/api/now is served",
        '{"key": "value", "tokens": 3}'.replace("tokens", "takes"),
        "basic settings are kept",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert scrubbed(text) == text


def test_short_values_take_no_words_out_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "on")
    assert "on" not in secrets_of(Config())
