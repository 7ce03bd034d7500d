"""Text files that an editor on Windows saved are read like any other; JSON that others write may be loose, ours is strict."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from calibration.procedures.dose import read_table
from device.calibration import CalibrationRecord, Quantity, read_record, sealed, write_record
from device.cli import main
from device.config import PRESET, load_config
from device.errors import InputError
from device.inference.bounds import load_manifest
from device.instrument import REFERENCE_FOLDER, load_instrument
from device.strict_json import dumps
from tests.stores import START

MARK = b"\xef\xbb\xbf"


def windows(path: Path, text: str) -> Path:
    path.write_bytes(MARK + text.replace("\n", "\r\n").encode())
    return path


def test_a_configuration_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = windows(tmp_path / "box.toml", PRESET.read_text(encoding="utf-8"))
    assert load_config(file) == load_config(PRESET)


def test_an_error_in_it_still_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 2"):
        load_config(windows(tmp_path / "box.toml", '[device]\nidd = "x"\n'))


@pytest.mark.parametrize("path", sorted(REFERENCE_FOLDER.glob("*.toml")), ids=lambda p: p.stem)
def test_an_instrument_with_a_byte_order_mark_is_read(tmp_path: Path, path: Path) -> None:
    assert load_instrument(str(windows(tmp_path / "i.toml", path.read_text(encoding="utf-8")))) == load_instrument(path.stem)


def test_a_manifest_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (path, *_) = sorted((Path(__file__).parents[2] / "models" / "artefacts").glob("*.toml"))
    assert load_manifest(windows(tmp_path / path.name, path.read_text(encoding="utf-8"))) == load_manifest(path)


def test_a_calibration_record_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    record = sealed(
        CalibrationRecord(
            instrument_id="i", made_at=START, procedure="dark", operator="", values={"dark": Quantity(value=64.0, uncertainty=0.1, unit="counts")},
            residuals={}, verdict="pass", reasons=[], valid_until=START, sources=[],
        )
    )  # fmt: skip
    path = write_record(tmp_path, record)
    assert read_record(windows(path, path.read_text(encoding="utf-8"))) == record


def test_a_table_of_doses_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    table = "dose_per_ul,bonds_per_bead\n0,0.001\n10,0.02\n20,0.05\n"
    plain = tmp_path / "plain.csv"
    plain.write_text(table)
    np.testing.assert_equal(read_table(windows(tmp_path / "w.csv", table)), read_table(plain))


@pytest.mark.parametrize("depth", [2000, 200_000])
def test_toml_nested_without_end_is_refused(tmp_path: Path, depth: int) -> None:
    (tmp_path / "deep.toml").write_text("x = " + "[" * depth)
    with pytest.raises(InputError, match="not valid TOML"):
        load_config(tmp_path / "deep.toml")


def test_json_that_is_written_knows_no_nan(tmp_path: Path) -> None:
    loose = {"a": math.nan, "b": [1.0, -math.inf, (math.inf, "NaN")], "c": {"d": np.float64("nan")}}
    text = dumps(loose)
    assert json.loads(text, parse_constant=pytest.fail) == {"a": None, "b": [1.0, None, [None, "NaN"]], "c": {"d": None}}
    assert msgspec.json.decode(text) == json.loads(text)


def test_no_command_writes_json_of_its_own(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "device" / "commands"
    loose = [path.name for path in folder.glob("*.py") if "json.dumps" in path.read_text(encoding="utf-8")]
    # Schemas and plans hold no measured figures.
    assert set(loose) <= {"schema.py", "run.py"}


def test_off_axis_answers_are_strict_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    y, x = np.mgrid[0:128, 0:128]
    np.save(tmp_path / "o.npy", (1000 * (1 + 0.5 * np.cos(1.5 * x + 1.2 * y))).astype(np.uint16))
    optics = ["--wavelength-um", "0.6", "--pitch-um", "3", "--method", "offaxis", "--out", str(tmp_path / "f.npz"), "--json"]
    assert main(["reconstruct", str(tmp_path / "o.npy"), *optics]) in (0, 2)
    for line in capsys.readouterr().out.splitlines():
        json.loads(line, parse_constant=pytest.fail)
