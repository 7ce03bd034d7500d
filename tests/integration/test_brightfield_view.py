"""The brightfield view where people meet it: beside a particle's crop, and of a whole frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import tests.dashboards
from device.analysis.crops import ParticleCrop
from device.analysis.views import brightfield_view, grey_picture
from device.cli import main
from device.inference.store import ModelStore
from device.optics.propagation import propagate
from device.storage.review import FOLDER, ReviewQueue
from tests.dashboards import Browser, dashboard
from tests.unit.test_review import image, unsure

SIDE_PX = 160
FLAGS = ["--wavelength-um", "0.85", "--pitch-um", "1.12", "--distance-um", "500"]


def picture(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)


def keep_one(folder: Path) -> str:
    ReviewQueue(folder / FOLDER, 1 << 20, random_share=0.0).offer([unsure(0)], lambda _: ParticleCrop(image(), 1.12))
    return unsure(0).id


def test_a_particle_s_view_is_computed_and_marked(tmp_path: Path) -> None:
    name = keep_one(tmp_path)
    with dashboard(tmp_path) as (served, _):
        browser = Browser(served.server.port).set_up()
        view = browser.ask("GET", f"/api/particles/{name}.png?channel=brightfield")
        plain = browser.ask("GET", f"/api/particles/{name}.png")
    assert view.status == plain.status == 200
    shown = picture(view.body)
    # Large enough for its mark, which the crop itself hasn't.
    assert shown.shape == (144, 144)
    assert (shown[-12:, 4:60] == 0).mean() > 0.3
    # What absorbs is dark in it, and what is empty has the light's own level.
    assert shown[60:84, 60:84].mean() < shown[:30, :30].mean() - 20
    assert abs(float(shown[:30].mean()) - 159) < 8
    assert "immutable" not in view.headers.get("cache-control", "")


def test_a_view_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = keep_one(tmp_path)

    def no_models(_: object) -> ModelStore:
        return ModelStore(tmp_path / "none")

    monkeypatch.setattr(tests.dashboards, "model_store", no_models)
    with dashboard(tmp_path) as (served, _):
        browser = Browser(served.server.port).set_up()
        assert browser.ask("GET", f"/api/particles/{name}.png?channel=brightfield").status == 200


def frame(folder: Path, distance_um: float = 500.0) -> Path:
    """Photons behind a disc that absorbs half of the light."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] - SIDE_PX / 2
    thing = np.where(np.hypot(y, x) < 12, 0.7, 1).astype(np.complex64)
    light = np.abs(propagate(thing, pitch_um=1.12, wavelength_um=0.85, distance_um=distance_um)) ** 2
    path = folder / f"frame-{distance_um:g}.npy"
    np.save(path, rng.poisson(2000 * light).astype(np.uint16))
    return path


@pytest.mark.parametrize("method", ["backpropagate", "iterative"])
def test_reconstruct_writes_a_marked_view_of_its_field(method: str, tmp_path: Path) -> None:
    out = tmp_path / "field.npz"
    arguments = ["reconstruct", str(frame(tmp_path)), *FLAGS, "--method", method, "--out", str(out)]
    assert main([*arguments, "--view", "brightfield"]) == 0
    shown = picture((tmp_path / "field.brightfield.png").read_bytes())
    assert shown.shape == (SIDE_PX, SIDE_PX)
    assert (shown[-16:, 4:120] == 0).mean() > 0.2
    assert abs(float(np.median(shown)) - 159) < 8
    with np.load(out) as found:
        view = grey_picture(brightfield_view(found["field"], 0.85, 1.12))
    assert np.array_equal(shown[:-40], view[:-40])
    assert shown[74:86, 74:86].mean() < 120


def test_a_field_of_several_heights_has_a_view_too(tmp_path: Path) -> None:
    frames = [str(frame(tmp_path, z)) for z in (500.0, 650.0)]
    out = tmp_path / "field.npz"
    arguments = [
        "reconstruct",
        *frames,
        *FLAGS[:4],
        "--method",
        "multiheight",
        "--distances-um",
        "500",
        "650",
        "--out",
        str(out),
    ]
    assert main([*arguments, "--view", "brightfield"]) == 0
    assert picture((tmp_path / "field.brightfield.png").read_bytes())[74:86, 74:86].mean() < 120


def test_a_view_of_an_off_axis_field_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["reconstruct", str(frame(tmp_path)), *FLAGS, "--method", "offaxis", "--out", str(tmp_path / "x.npz")]
    assert main([*arguments, "--view", "brightfield"]) == 2
    assert "--view" in capsys.readouterr().err
