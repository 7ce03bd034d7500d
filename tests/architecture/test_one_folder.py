"""A way of sampling and a kind of camera are a folder each: added without touching another file, they run from configuration to
export."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import ROOT

SAMPLING = '''"""A drop on the bare sensor, looked at once."""

from typing import Annotated

from msgspec import Meta, Struct

from device.sampling.kinds import SamplePlan, SamplingKind


class DropSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A drop on the sensor."""

    drop_ul: Annotated[float, Meta(gt=0, le=1000)] = 5.0
    """Of which a frame sees all that lies over the sensor."""


class DropMode:
    under_way = False

    def __init__(self, setup):
        self.setup = setup

    def take(self):
        from device.analysis.report import Losses, SampledVolume
        from device.records import FrameCounts
        from device.sampling.findings import Findings, chosen
        from device.sampling.holograms import divided
        from device.sampling.lit_frame import lit_frame

        setup = self.setup
        frame = lit_frame(setup.camera, setup.lamp, setup.exposure)
        hologram = divided(setup.calibrated.instrument, frame, None)
        analysis = setup.pipeline.analyse(hologram)
        volume_ml = setup.config.sampling.drop.drop_ul / 1000
        return Findings(
            frames=(chosen(hologram, analysis, range(len(analysis.particles))),),
            taken=FrameCounts(captured=1, analysed=int(analysis.analysed)), volume=SampledVolume(volume_ml, 0.05, "mL^-1"),
            losses=Losses(), sampled=f"{setup.config.sampling.drop.drop_ul:g} uL",
        )


KIND = SamplingKind(
    name="drop", summary="a drop on the bare sensor", instrument_kind="impactor", unit="mL^-1",
    protocol="a drop, digital in-line holography, counted by machine", window="none", build=DropMode,
    sample=lambda config, instrument: SamplePlan(("a frame",), config.sampling.drop.drop_ul / 1000, "mL", 0.1),
    lit_s=lambda config, frame_s: frame_s, settings=DropSettings, settable={"drop_ul": (1.0, 100.0)},
)
'''

CAMERA = '''"""A camera that sees the rings of two beads."""

from datetime import UTC, datetime

import numpy as np
from msgspec import Struct

from device.drivers.cameras.kinds import CameraKind, Finding


class RingsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Beads that never move."""

    beads: int = 2
    """How many."""


class RingsCamera:
    def __init__(self, beads, sensor):
        self.beads, self.sensor, self.taken = beads, sensor, 0

    def start(self):
        pass

    def capture(self, exposure, lamp):
        from device.frames import Clock, RawFrame

        from device.optics.propagation import propagate

        self.taken += 1
        field = np.ones((512, 512), np.complex64)
        y, x = np.mgrid[:512, :512]
        for k in range(self.beads):
            field[(x - 128 - 200 * k) ** 2 + (y - 200) ** 2 < 100] = 0.1
        wave = propagate(field, distance_um=700.0, pitch_um=1.12, wavelength_um=0.85)
        pixels = np.clip(300 * np.abs(wave) ** 2 + 64, 0, 1023).astype(np.uint16)
        return RawFrame(pixels, 10, exposure, lamp, self.taken, datetime.now(UTC), Clock(), self.taken - 1, "rings")

    def close(self):
        pass


KIND = CameraKind(
    name="rings", summary="a camera that sees the rings of beads", settings=RingsSettings,
    build=lambda camera, instrument: RingsCamera(camera.rings.beads, instrument.sensor),
    look=lambda camera: Finding(good=camera.rings.beads > 0, value="rings"),
)
'''

START = """
import sys
import device.sampling, device.drivers.cameras
device.sampling.__path__.append({sampling!r})
device.drivers.cameras.__path__.append({cameras!r})
from device.cli import main
sys.exit(main(sys.argv[1:]))
"""

CONFIG = """
[device]
id = "drop-box"
[camera]
driver = "rings"
[camera.rings]
beads = 2
[lamp]
driver = "twin"
[pump]
driver = "none"
[environment]
driver = "none"
[sampling]
mode = "drop"
max_intervals = 2
[sampling.drop]
drop_ul = 4.0
[analysis]
reconstruction = "backpropagate"
classifier_model = ""
[storage]
folder = "{store}"
min_free_mb = 0
"""


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A folder with the two additions and a configuration that uses them."""
    for package, text in (("sampling/drop", SAMPLING), ("cameras/rings", CAMERA)):
        folder = tmp_path / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("" if package.startswith("sampling") else text)
        (folder / "kind.py").write_text(text)
    (tmp_path / "start.py").write_text(START.format(sampling=str(tmp_path / "sampling"), cameras=str(tmp_path / "cameras")))
    (tmp_path / "box.toml").write_text(CONFIG.format(store=tmp_path / "store"))
    return tmp_path


def holonode(box: Path, *arguments: str) -> str:
    command = [sys.executable, str(box / "start.py"), *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env={"PATH": "/usr/sbin:/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_they_run_from_configuration_through_plan_and_records_to_exports_and_contract(box: Path) -> None:
    config = str(box / "box.toml")
    plan = json.loads(holonode(box, "run", "--config", config, "--dry-run", "--json"))
    assert (plan["mode"], plan["volume"], plan["unit"]) == ("drop", 0.004, "mL")
    said = holonode(box, "run", "--config", config)
    assert "4 uL, 2 particles" in said
    holonode(box, "export", "--config", config, "--format", "csv", "--out", str(box / "csv"))
    with next((box / "csv").rglob("intervals.csv")).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] == "total"]
    assert [(row["mode"], row["count"], float(row["volume_ml"]), row["simulated"]) for row in rows] == [
        ("drop", "2", 0.004, "lamp")
    ] * 2
    holonode(box, "export", "--config", config, "--format", "darwincore", "--out", str(box / "dwc"))


def test_what_is_published_of_the_configuration_and_the_commands_knows_them(box: Path) -> None:
    schema = json.loads(holonode(box, "schema", "config"))["$defs"]
    assert "drop" in schema["SamplingConfig"]["properties"]["mode"]["enum"]
    assert "a drop on the bare sensor" in schema["SamplingConfig"]["properties"]["mode"]["description"]
    assert "rings" in schema["CameraConfig"]["properties"]["driver"]["enum"]
    assert schema["DropSettings"]["properties"]["drop_ul"]["x-unit"] == "uL"
    intervals = json.loads(holonode(box, "schema", "interval"))["$defs"]["Interval"]["properties"]["mode"]
    assert re.fullmatch(intervals["pattern"], "drop")
