"""The papers on building a box, against firmware, configuration, instruments and commands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from device.cli import main
from device.config import load_config
from device.instrument import Instrument, load_instrument
from device.optics.resolution import resolution

ROOT = Path(__file__).resolve().parents[2]
PAPERS = ROOT / "deploy/hardware"
WIRING, PARTS, ASSEMBLY = (PAPERS / name for name in ("README.md", "parts.md", "assembly.md"))
BOARD = (ROOT / "deploy/firmware/board_atmega328p.c").read_text(encoding="utf-8")
_USED_PINS = {"pump": "PD3", "valve": "PD4", "lamp 1": "PD5", "lamp 0": "PD6", "flow meter": "PD2", "light": "PB1"}


def _rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def _wiring() -> dict[str, str]:
    """What a pin is for, by its name."""
    return {name: row[2] for row in _rows(WIRING.read_text("utf-8")) for name in re.findall(r"\b(?:P[A-D]\d|ADC\d)\b", row[0])}


def test_every_pin_of_the_firmware_is_in_the_wiring() -> None:
    head = BOARD.partition("*/")[0]
    pins = set(re.findall(r"\bP[BD]\d\b", head)) | {f"ADC{k}" for k in range(5)}
    assert len(pins) == 14
    assert pins <= set(_wiring())
    wiring = _wiring()
    assert all(what in wiring[pin] for what, pin in _USED_PINS.items())


def test_the_wiring_names_the_pins_that_the_firmware_drives() -> None:
    driven = dict(re.findall(r"#define PIN_(\w+) (P[BD]\d)", BOARD))
    assert driven == {
        "FLOW": _USED_PINS["flow meter"], "PUMP": _USED_PINS["pump"], "VALVE": _USED_PINS["valve"], "LAMP1": _USED_PINS["lamp 1"],
        "LAMP0": _USED_PINS["lamp 0"], "LIGHT": _USED_PINS["light"],
    }  # fmt: skip
    order = re.search(r"ADC0 to ADC4\s+(.*)\n", BOARD)
    assert order is not None
    for k, sensor in enumerate(order[1].split(", ")):
        assert sensor.split()[-1 if "reference" in sensor else 0] in _wiring()[f"ADC{k}"], sensor


def test_the_controllers_fuses_are_as_the_paper_says() -> None:
    """Of the ATmega328P, data sheet, 31.2: a bit is programmed where it is 0."""
    made = (ROOT / "deploy/firmware/Makefile").read_text(encoding="utf-8")
    low, high, extended = (int(re.findall(rf"{name}:w:0x([0-9A-F]+)", made)[0], 16) for name in ("lfuse", "hfuse", "efuse"))
    said = WIRING.read_text("utf-8")
    assert "debugWIRE off" in said
    assert high & 0x40, "DWEN"
    assert "EEPROM kept" in said
    assert not high & 0x08, "EESAVE"
    assert "programming left on" in said
    assert not high & 0x20, "SPIEN"
    assert "brown-out at 4.3 V" in said
    assert extended & 0x07 == 0b100, "BODLEVEL"
    assert "external crystal" in said
    assert low & 0x0F in (0b0111, 0b1110, 0b1111), "CKSEL: full swing or low power crystal"


@pytest.mark.parametrize("paper", [WIRING, PARTS, ASSEMBLY], ids=lambda paper: paper.name)
def test_settings_in_the_papers_are_settings(paper: Path, tmp_path: Path) -> None:
    for block in re.findall(r"```toml\n(.*?)```", paper.read_text("utf-8"), re.DOTALL):
        assert tomllib.loads(block)
        file = tmp_path / "box.toml"
        file.write_text(block, encoding="utf-8")
        load_config(file)


def test_commands_of_the_assembly_print_what_it_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    quoted = re.findall(r"\$ holonode (plan --optics [^\n]*)\n(.*?)```", ASSEMBLY.read_text("utf-8"), re.DOTALL)
    assert len(quoted) == 2
    for words, said in quoted:
        assert main(words.split()) == 0
        assert capsys.readouterr().out.strip() == said.strip()


def test_reference_instruments_have_their_parts() -> None:
    text = PARTS.read_text("utf-8")
    for path in (ROOT / "calibration/instruments").glob("*.toml"):
        instrument = load_instrument(path.stem)
        section = next(part for part in text.split("\n## ") if f"`{path.stem}`" in part.partition("\n")[0])
        assert instrument.sensor.model in section
        for figure in (
            instrument.lamp.wavelength_um * 1000,
            instrument.lamp.bandwidth_um * 1000,
            instrument.lamp.source_diameter_um,
        ):
            assert f"{figure:g} " in section, (path.stem, figure)
        assert f"{instrument.optics.distance_um:,.0f} um" in section
        assert f"{instrument.lamp.max_current_ma:g} mA at full duty" in section


def _bounds() -> Iterator[tuple[Instrument, str, float]]:
    """Instrument, field, value: every 'at most' of the parts."""
    for section in PARTS.read_text("utf-8").split("\n## ")[1:4]:
        names = re.findall(r"`([a-z0-9-]+nm)`", section.partition("\n")[0])
        for part, *cells in _rows(section):
            columns = cells if len(cells) == len(names) else cells * len(names)
            for name, cell in zip(names, columns, strict=True):
                for value, unit in re.findall(r"at most ([\d.]+) (nm|um)", cell):
                    field = "bandwidth_um" if unit == "nm" else "source_diameter_um" if part == "pinhole" else "distance_um"
                    yield load_instrument(name), field, float(value) / (1000 if unit == "nm" else 1)


def _line_px(instrument: Instrument, field: str, value: float) -> float:
    """Finest line in pixels with one figure changed."""
    part = "optics" if field == "distance_um" else "lamp"
    changed = msgspec.structs.replace(getattr(instrument, part), **{field: value})
    found = resolution(
        msgspec.structs.replace(instrument, **{part: changed}).geometry,
        (instrument.sensor.height_px, instrument.sensor.width_px),
    )
    return found.line_um / instrument.sensor.pitch_um


def test_what_is_called_the_most_is_where_the_planner_says_that_the_lamp_begins_to_limit() -> None:
    bounds = list(_bounds())
    assert {field for _, field, _ in bounds} == {"bandwidth_um", "source_diameter_um", "distance_um"}
    assert len(bounds) >= 9
    for instrument, field, value in bounds:
        assert _line_px(instrument, field, value) < 1.02 < _line_px(instrument, field, 1.1 * value), (
            instrument.name,
            field,
            value,
        )


def test_steps_of_the_assembly_are_numbered_and_end_with_a_command() -> None:
    steps = re.findall(r"^## (\d+)\. [^\n]*\n(.*?)(?=^## |\Z)", ASSEMBLY.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert all(int(second[0]) == int(first[0]) + 1 for first, second in pairwise(steps))
    assert len(steps) == 8
    assert all(re.search(r"^\$ holonode", text, re.MULTILINE) for _, text in steps)
