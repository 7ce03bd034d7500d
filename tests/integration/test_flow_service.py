"""`holonode run` as a flow cytometer: a process, a real broker, and what the twin knows to be true."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from device.schemas import json_schema
from tests.brokers import Subscriber, broker
from tests.services import Service

CONFIG = """
[device]
id = "test-flow"
instrument = "{instrument}"
[camera]
exposure_us = 200.0
[lamp]
current_ma = 100.0
[sampling]
mode = "flow"
max_intervals = 2
[sampling.flow]
frames_per_interval = 5
frame_interval_s = 0.1
[analysis]
classifier_model = ""
min_esd_um = 8.0
[twin]
realtime = false
scattering = "multislice"
truth_file = "{truth}"
[twin.concentration_per_m3]
bead-in-water = 2_000_000
[storage]
folder = "{store}"
min_free_mb = 0
[mqtt]
url = "{url}"
"""


def small_instrument(folder: Path) -> Path:
    text = (Path(__file__).parents[2] / "calibration/instruments/flow-imx296-530nm.toml").read_text()
    path = folder / "small-flow.toml"
    path.write_text(text.replace("width_px = 1024", "width_px = 384").replace("height_px = 1024", "height_px = 384"))
    return path


def test_every_bead_is_counted_once_in_the_volume_that_was_looked_at(tmp_path: Path) -> None:
    with broker(tmp_path / "broker") as running:
        listener, config, truth = Subscriber(running.port), tmp_path / "box.toml", tmp_path / "truth.jsonl"
        config.write_text(
            CONFIG.format(instrument=small_instrument(tmp_path), truth=truth, store=tmp_path / "store", url=running.url)
        )
        status, output = Service(config).run(timeout_s=200)
        messages = listener.drain()
        listener.close()
    assert status == 0, output
    intervals = [payload for topic, payload, _ in messages if topic.endswith("/intervals")]
    assert [i["mode"] for i in intervals] == ["flow"] * 2
    for interval in intervals:
        jsonschema.validate(interval, json_schema("interval"))
        assert interval["frames"] == {"captured": 5, "analysed": 5, "dropped": 0, "unchecked": 0}
        assert interval["concentration"]["total"]["unit"] == "mL^-1"
    counted, volume_ml = sum(i["counts"]["total"]["n"] for i in intervals), sum(i["volume_ml"] for i in intervals)
    seen = {json.loads(line)["particle"] for line in truth.read_text().splitlines()}
    # Those in the border of the field are left to the field beyond.
    assert 0.6 * len(seen) < counted < 1.1 * len(seen)
    assert abs(counted - 2000 * volume_ml) < 5 * (2000 * volume_ml) ** 0.5
