"""Records of version 1 are read as records of today, wherever records are read."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.cli import main
from device.errors import InputError
from device.records import Detection, Event, Interval, ModelUse, from_json, to_json
from device.schemas import json_schema
from device.storage.outbox import Outbox
from device.storage.review import FOLDER, ReviewFolder
from tests.earlier import as_earlier, store_as_earlier
from tests.stores import filled

# As the program wrote it.
DETECTION = (
    b'{"device_id":"box-1","spool_id":"01M8FCX4923MFA32T00WPF1JGK","seq":1,"simulated":[],"schema":"holonode.detection/1",'
    b'"id":"01KQTPXGPG7E3S2V7X5HPSCE6B","interval_id":"01KQTPXGPG8FR1PP3A1W2C2TRE","captured_at":"2026-05-04T23:59:30.000000Z",'
    b'"clock":{"source":"ntp","synchronised":true,"uncertainty_s":0.01},"frame":3,"x_um":10.5,"y_um":20.25,"z_um":501.0,'
    b'"z_uncertainty_um":5.0,"bbox_px":[1,2,9,8],"esd_um":20.5,"esd_uncertainty_um":1.0,"features":{"area_um2":331.0},"label":"birch",'
    b'"score":0.8,"probabilities":{"birch":0.8,"dust":0.2},"prediction_set":["birch"],"unnamed":null,"consistency":{"chi2":1.1,'
    b'"p":0.4,"flag":1,"reason":null},"model":{"reconstruction":null,"classifier":{"name":"bioaerosol","version":"1.2.0",'
    b'"sha256":"cc"}},"calibration_id":"cal","config_hash":"conf","pipeline_id":"pipe","media_id":null,"qc":1,"historical":false}'
)
KINDS: dict[str, Any] = {"detection": Detection, "interval": Interval, "event": Event}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A configuration whose store and crops are of version 1, and the records in it."""
    folder = tmp_path_factory.mktemp("earlier")
    config = filled(folder)
    for path in (folder / "store" / FOLDER).rglob("*.npz"):
        with np.load(path) as arrays:
            crop, about = arrays["crop"], arrays["about"].tobytes()
        buffer = io.BytesIO()
        np.savez_compressed(buffer, crop=crop, about=np.frombuffer(as_earlier(about), np.uint8))
        path.write_bytes(buffer.getvalue())
    return config, store_as_earlier(folder / "store")


def test_a_detection_of_version_1_has_its_models_by_role() -> None:
    found = from_json(DETECTION, Detection)
    assert found.schema == "holonode.detection/2"
    assert found.models == {"classifier": ModelUse("bioaerosol", "1.2.0", "cc")}
    assert from_json(to_json(found), Detection) == found


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (b'"schema":"holonode.detection/1"', b'"schema":"holonode.detection/3"'), (b'"model":', b'"mode":'),
        (b'"version":"1.2.0"', b'"version":1'), (b'"model":{', b'"model":{"classifier":7,"x":{'), (b'"qc":1', b'"qc":1,"more":1'),
        (b'"reconstruction":null', b'"reconstruction":"a"'),
    ],
)  # fmt: skip
def test_what_was_none_in_version_1_is_none(right: bytes, wrong: bytes) -> None:
    assert right in DETECTION
    with pytest.raises(InputError):
        from_json(DETECTION.replace(right, wrong), Detection)


def test_a_store_of_version_1_matches_what_was_printed_then_and_reads_as_what_is_printed_today(
    stored: tuple[Path, list[bytes]],
) -> None:
    seen: set[str] = set()
    for body in stored[1]:
        name = msgspec.json.decode(body)["schema"].split(".")[1].removesuffix("/1")
        seen.add(name)
        jsonschema.validate(msgspec.json.decode(body), json_schema(f"{name}/1"))
        jsonschema.validate(msgspec.json.decode(to_json(from_json(body, KINDS[name]))), json_schema(name))
    assert seen == set(KINDS)


def test_what_waits_of_version_1_is_delivered_as_it_was_made(stored: tuple[Path, list[bytes]]) -> None:
    # A collector may have had it before the update: of another content it would be another record under the same key.
    outbox = Outbox(stored[0].parent / "store", "box-1")
    assert [row.body for row in outbox.pending(100)] == stored[1]
    outbox.close()


@pytest.mark.parametrize("kind", ["csv", "ecotaxa", "netcdf", "parquet", "darwincore", "influx"])
def test_exports_hold_all_of_a_store_of_version_1(stored: tuple[Path, list[bytes]], tmp_path: Path, kind: str) -> None:
    assert main(["export", "--format", kind, "--out", str(tmp_path / "out"), "--config", str(stored[0])]) == 0
    if kind == "csv":
        with (tmp_path / "out/detections.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert {(row["classifier_sha256"], row["reconstruction_sha256"]) for row in rows} == {("c" * 64, "")}
        assert len(rows) == 6


def test_crops_of_version_1_have_their_classifier(stored: tuple[Path, list[bytes]]) -> None:
    folder = ReviewFolder(stored[0].parent / "store" / FOLDER)
    crops = [folder.read(entry) for entry in folder.entries()]
    assert {crop.about.models["classifier"].version for crop in crops if crop} == {"1.2.0"}


USES = st.builds(ModelUse, st.text(max_size=9), st.text(max_size=9), st.text(max_size=9))


@given(models=st.dictionaries(st.sampled_from(["reconstruction", "classifier"]), USES))
def test_whatever_models_version_1_could_tell_are_those_of_the_record(models: dict[str, ModelUse]) -> None:
    record = msgspec.structs.replace(from_json(DETECTION, Detection), models=models)
    assert from_json(as_earlier(to_json(record)), Detection) == record
