"""What a person is told at his desk is what the service finds: `doctor`, `run --dry-run`, `arm` and `run` on broken configurations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from device.cli import main

ROOT = Path(__file__).resolve().parents[2]
INSTRUMENTS = ROOT / "calibration" / "instruments"

IMX296_SAMPLER = """
name = "my-sampler"
[sensor]
model = "IMX296"
width_px = 512
height_px = 512
pitch_um = 3.45
pitch_uncertainty_um = 0.003
[lamp]
wavelength_um = 0.85
bandwidth_um = 0.008
source_diameter_um = 100.0
source_distance_um = 40000.0
[optics]
distance_um = 4000.0
[fluidics]
kind = "impactor"
flow_ml_min = 13000.0
"""


@dataclass(frozen=True)
class Broken:
    """A box that can't do what it is configured for."""

    config: str
    says: str
    """In every command's words."""
    remedy: str
    status: int = 2
    """Of `run` and `run --dry-run`."""
    instrument: str | None = None
    environment: dict[str, str] = field(default_factory=dict)


def edited(name: str, *changes: tuple[str, str]) -> str:
    """A reference instrument with lines changed."""
    text = (INSTRUMENTS / f"{name}.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


PLAIN = '[analysis]\nreconstruction = "backpropagate"\nclassifier_model = ""\n'
PARTS = "".join(f'[{part}]\ndriver = "{{}}"\n' for part in ("lamp", "pump", "environment"))
NAMED = PARTS.format("twin", "twin", "twin") + '[sampling]\nwindow_change = "person"\n'
CASES = {
    "a part unnamed beside a real camera": Broken(
        PLAIN + '[camera]\ndriver = "v4l2"\n[lamp]\ndriver = "serial"\n[controller]\nport = "/dev/null"\n', "a real box names every part",
        "twin",
    ),
    "a window that nothing changes": Broken(
        PLAIN + '[camera]\ndriver = "v4l2"\n' + PARTS.format("serial", "serial", "none") + '[controller]\nport = "/dev/null"\n',
        "nothing on this box changes its window", 'window_change = "person"',
    ),
    "a classifier off the instrument": Broken(
        '[analysis]\nreconstruction = "backpropagate"\n', "the classifier doesn't cover this instrument",
        'analysis.classifier_model = ""', instrument=IMX296_SAMPLER,
    ),
    "a reconstruction model off its optics": Broken(
        '[analysis]\nclassifier_model = ""\n', "the reconstruction model doesn't cover this instrument",
        'analysis.reconstruction = "backpropagate"', instrument=IMX296_SAMPLER.replace("4000.0", "40000.0"),
    ),
    "a model of another task": Broken(
        '[analysis]\nclassifier_model = "hidef"\n', "this model does something else", "bioaerosol-1",
    ),
    "no such model": Broken('[analysis]\nclassifier_model = "nobody"\n', "no such model", "holonode models list"),
    "flow mode without a channel": Broken(
        PLAIN + '[sampling]\nmode = "flow"\n', "the instrument has no channel", "another sampling.mode",
    ),
    "flow mode in a channel without height": Broken(
        PLAIN + '[sampling]\nmode = "flow"\n', "the instrument has no channel", "flow cytometer",
        instrument=edited("flow-imx296-530nm", ("channel_height_um = 800.0", "")),
    ),
    "impactor without flow": Broken(
        PLAIN, "outside of 0 to the pump's", "fluidics.flow_ml_min",
        instrument=edited("bioaerosol-imx219-850nm", ("flow_ml_min = 13000.0", "")),
    ),
    "impactor mode in a channel": Broken(
        PLAIN, "is an instrument of kind flow", "sampling.mode", instrument=edited("flow-imx296-530nm"),
    ),
    "an assay that nothing fills": Broken(
        PLAIN + '[sampling]\nmode = "assay"\n', "no flow to fill a chamber with", "fill_ml = 0",
        instrument=edited("assay-ov9281-850nm"),
    ),
    "too much current": Broken(PLAIN + "[lamp]\ncurrent_ma = 500.0\n", "outside of 0 to 50 mA", "lamp.current_ma"),
    "a strobe that outlasts the exposure": Broken(
        PLAIN + "[lamp]\nstrobe_width_us = 5000.0\n", "the strobe outlasts the exposure", "camera.exposure_us",
    ),
    "an exposure beyond the camera's patience": Broken(
        PLAIN + "[camera]\nexposure_us = 9e6\n", "every frame would count as lost", "camera.timeout_s",
    ),
    "a schedule that never wakes": Broken(
        PLAIN + '[sampling.schedule]\nkind = "cron"\ncron = "0 6 30 2 *"\n', "there is no next wake", "sampling.schedule",
    ),
    "a schedule in no zone": Broken(
        PLAIN + '[sampling.schedule]\nkind = "cron"\ncron = "0 6 * * *"\nzone = "Europe/Atlantis"\n', "Europe/Atlantis", "",
    ),
    "nothing to replay": Broken(PLAIN + NAMED + '[camera]\ndriver = "replay"\n', "nothing to replay", "camera.replay_inputs"),
    "a folder to replay that isn't there": Broken(
        PLAIN + NAMED + '[camera]\ndriver = "replay"\nreplay_inputs = ["/no/such/folder"]\n', "no such file or folder", "Check the path",
    ),
    "a camera whose library is missing": Broken(
        PLAIN + NAMED + '[camera]\ndriver = "picamera2"\n', "picamera2 is missing", "apt-get install python3-picamera2", status=3,
    ),
    "a controller that nobody named": Broken(
        PLAIN + PARTS.format("serial", "twin", "none"), "nobody said where the controller is", "/dev/serial/by-id",
    ),
    "a password file that isn't there": Broken(
        PLAIN + '[mqtt]\nurl = "mqtt://127.0.0.1:9"\npassword_file = "/no/such/secret"\n', "the password file can't be read",
        "mqtt.password_file",
    ),
    "a broker's URL that is none": Broken(PLAIN + '[mqtt]\nurl = "http://x"\n', "not a broker's URL", ""),
    "certificates over plain text": Broken(
        PLAIN + '[mqtt]\nurl = "mqtt://127.0.0.1:9"\nca_file = "ca.pem"\n', "would be plain text", "mqtt.url",
    ),
    "no particle between the sizes": Broken(
        PLAIN + "min_esd_um = 400.0\n", "no particle could be between these sizes", "analysis.max_esd_um",
    ),
    "unknown air": Broken(PLAIN + "[twin.concentration_per_m3]\nunicorn = 5\n", "unknown morphology", "[twin.concentration_per_m3]"),
}  # fmt: skip


def holonode(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "device", *arguments], capture_output=True, text=True, cwd=ROOT, check=False, timeout=120,
        env=environment,
    )  # fmt: skip


def written(folder: Path, box: Broken) -> str:
    tables = [f'[storage]\nfolder = "{folder}/store"\n[calibration]\nfolder = "{folder}/calibration"\n']
    if box.instrument is not None:
        (folder / "mine.toml").write_text(box.instrument)
        tables.append(f'[device]\ninstrument = "{folder}/mine.toml"\n')
    config = folder / "box.toml"
    config.write_text(box.config + "".join(tables))
    return str(config)


@pytest.mark.parametrize("case", CASES)
def test_what_run_refuses_doctor_dry_run_and_arm_refuse_in_the_same_words(
    case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    box = CASES[case]
    config = written(tmp_path, box)
    said: list[str] = []
    for options in (["--dry-run"], ["--intervals", "1"]):
        assert main(["run", *options, "--config", config]) == box.status
        said.append(capfd.readouterr().err.strip().splitlines()[-1])
        assert box.says in said[-1]
        assert box.remedy in said[-1]
    assert said[0] == said[1]
    assert main(["doctor", "--json", "--config", config]) == 4
    doctor = json.loads(capfd.readouterr().out)
    arm = holonode("arm", "--json", "--config", config)
    assert arm.returncode == 4, arm.stderr
    for checks in (doctor, json.loads(arm.stdout)["checks"]):
        failed = [check for check in checks if check["status"] == "failed"]
        assert any(box.says in check["message"] and box.remedy in check["remedy"] for check in failed), failed


def test_a_box_counts_without_naming_where_that_is_asked_for(tmp_path: Path) -> None:
    quick = "[twin]\nrealtime = false\n[sampling]\nsample_volume_l = 0.5\n[mqtt]\nown_broker_port = 0\n"
    config = written(tmp_path, Broken(PLAIN + quick, "", "", instrument=IMX296_SAMPLER))
    assert holonode("run", "--dry-run", "--config", config).returncode == 0
    assert "counted, not named" in holonode("doctor", "--json", "--config", config).stdout
    done = holonode("run", "--intervals", "1", "--config", config)
    assert done.returncode == 0, done.stderr
