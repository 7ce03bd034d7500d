"""No text makes the configuration do anything but load or say what is wrong."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from device.config import Config, load_config
from device.errors import InputError

WORDS = st.sampled_from(
    ["[camera]", "[lamp]", "[twin.concentration_per_m3]", "gain", "current_ma", "driver", "birch", "=", "1e9", "-3", "nan", '"serial"',
     "true", "[", "]", "\n", "\n\n", "#", "\x00", "é"]
)  # fmt: skip


def outcome(text: str) -> Config | str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "box.toml"
        path.write_text(text, encoding="utf-8")
        try:
            return load_config(path)
        except InputError as error:
            return str(error)


@given(st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=20).map(" ".join)))
@settings(max_examples=300, deadline=None)
def test_any_text_loads_or_is_one_paragraph(text: str) -> None:
    said = outcome(text)
    if isinstance(said, str):
        assert "box.toml" in said


@given(st.sampled_from(["camera.gain", "lamp.current_ma", "storage.min_free_mb"]), st.floats())
@settings(max_examples=100, deadline=None)
def test_every_number_is_inside_its_bounds_or_refused(key: str, value: float) -> None:
    table, name = key.split(".")
    said = outcome(f"[{table}]\n{name} = {value!r}\n")
    if isinstance(said, Config):
        assert getattr(getattr(said, table), name) == value
    else:
        assert key in said
        assert "line 2" in said
