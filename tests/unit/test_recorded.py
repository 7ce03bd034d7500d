"""Recorded files are read as they are, or refused with one clear reason."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from device.drivers.recorded import expand, read_frames
from device.errors import InputError

FRAME = np.random.default_rng(3).integers(1, 250, (40, 52)).astype(np.uint8)


def one(path: Path) -> np.ndarray:
    frames = list(read_frames(path))
    assert len(frames) == 1
    return frames[0].pixels


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_lossless_pictures_come_back_exactly(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"frame{suffix}"
    cv2.imwrite(str(path), FRAME)
    np.testing.assert_array_equal(one(path), FRAME)


def test_jpeg_comes_back_nearly(tmp_path: Path) -> None:
    path = tmp_path / "frame.jpg"
    cv2.imwrite(str(path), cv2.GaussianBlur(FRAME, (9, 9), 3), [cv2.IMWRITE_JPEG_QUALITY, 98])
    assert np.abs(one(path) - cv2.GaussianBlur(FRAME, (9, 9), 3)).max() < 12


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_kept(tmp_path: Path, suffix: str) -> None:
    deep = FRAME.astype(np.uint16) * 257
    path = tmp_path / f"deep{suffix}"
    cv2.imwrite(str(path), deep)
    frame = next(read_frames(path))
    np.testing.assert_array_equal(frame.pixels, deep)
    assert frame.white == 65535


def test_every_page_of_a_stack_is_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    cv2.imwritemulti(str(path), [FRAME, FRAME[::-1].copy(), FRAME[:, ::-1].copy()])
    frames = list(read_frames(path))
    assert [f.index for f in frames] == [0, 1, 2]
    assert frames[2].name == "stack.tif#2"
    np.testing.assert_array_equal(frames[1].pixels, FRAME[::-1])


def test_arrays_in_npy_npz_and_mat_are_frames(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FRAME)
    np.save(tmp_path / "s.npy", np.stack([FRAME] * 4))
    np.savez(tmp_path / "b.npz", other=np.arange(3), hologram=FRAME)
    scipy.io.savemat(tmp_path / "c.mat", {"holography": FRAME.astype(float)})
    for name in ("a.npy", "b.npz", "c.mat"):
        np.testing.assert_array_equal(one(tmp_path / name), FRAME)
    assert len(list(read_frames(tmp_path / "s.npy"))) == 4


def test_colour_is_converted_and_said(tmp_path: Path) -> None:
    colour = np.stack([FRAME, FRAME // 2, FRAME // 3], axis=2)
    path = tmp_path / "colour.png"
    cv2.imwrite(str(path), colour)
    frame = next(read_frames(path))
    assert "converted to grey" in frame.notes[0]
    np.testing.assert_allclose(frame.pixels, colour.astype(float).mean(axis=2), atol=1e-3)


def test_a_grey_picture_stored_as_colour_is_just_grey(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    cv2.imwrite(str(path), np.stack([FRAME] * 3, axis=2))
    frame = next(read_frames(path))
    assert frame.notes == ()
    np.testing.assert_array_equal(frame.pixels, FRAME)


def test_folders_and_globs_expand_in_natural_order(tmp_path: Path) -> None:
    for k in (10, 9, 1):
        np.save(tmp_path / f"f{k}.npy", FRAME)
    (tmp_path / "notes.txt").write_text("not a hologram")
    wanted = ["f1.npy", "f9.npy", "f10.npy"]
    assert [p.name for p in expand([tmp_path])] == wanted
    assert [p.name for p in expand([str(tmp_path / "*.npy")])] == wanted


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg", ".npy", ".npz", ".mat"])
@pytest.mark.parametrize("keep", [0.3, 0.7, 0.97])
def test_a_truncated_file_is_one_clear_error(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"whole{suffix}"
    if suffix == ".npy":
        np.save(path, FRAME)
    elif suffix == ".npz":
        np.savez(path, hologram=FRAME)
    elif suffix == ".mat":
        scipy.io.savemat(path, {"holography": FRAME.astype(float)}, do_compression=True)
    else:
        cv2.imwrite(str(path), FRAME)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(InputError) as raised:
        list(read_frames(path))
    assert str(path) in str(raised.value)


BAD = {
    "NaN": np.where(np.eye(40, 52) > 0, np.nan, FRAME),
    "constant": np.full((40, 52), 7.0),
    "negative": FRAME.astype(float) - 100,
    "not an image": np.arange(40.0),
    "tiny": np.arange(64.0).reshape(8, 8),
    "complex": FRAME + 1j,
}


@pytest.mark.parametrize("kind", BAD)
def test_arrays_that_are_no_hologram_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.npy"
    np.save(path, BAD[kind])
    with pytest.raises(InputError, match=r"bad\.npy"):
        list(read_frames(path))


def test_empty_missing_and_unknown_files_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    empty.touch()
    unknown = tmp_path / "frame.xyz"
    unknown.write_text("?")
    with pytest.raises(InputError, match="empty"):
        list(read_frames(empty))
    with pytest.raises(InputError, match="unknown kind"):
        list(read_frames(unknown))
    with pytest.raises(InputError, match="no such file"):
        expand([tmp_path / "nothing.png"])
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(InputError, match="no holograms"):
        expand([folder])


def test_every_recorded_hologram_is_read(real_data: Path) -> None:
    read = 0
    for path in sorted(real_data.rglob("*")):
        if not path.is_file() or path.suffix in (".txt", ".md") or "phase" in path.stem or path.name == "df01.jpg":
            continue
        read += len(list(read_frames(path)))
    assert read > 100
