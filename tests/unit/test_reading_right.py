"""Every kind of file gives the pixels that it holds, or is refused with the reason; never others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

from device.drivers.recorded import ReadOptions, read_each, read_frames
from device.errors import InputError
from tests.tiffs import tiff_page, write_tiff

RNG = np.random.default_rng(5)
GREY16 = RNG.integers(1, 60000, (40, 52)).astype(np.uint16)
GREY8 = (GREY16 >> 8).astype(np.uint8)
GREY12 = GREY16 >> 4
LIT = (RNG.random((40, 52)) + 0.5).astype(np.float32)


def one(path: Path, options: ReadOptions | None = None) -> NDArray[np.float32]:
    (frame,) = read_frames(path, options)
    return frame.pixels


def colours(array: NDArray[Any]) -> NDArray[Any]:
    return np.stack([array] * 3, axis=2)


TIFFS: dict[str, tuple[NDArray[Any], dict[str, Any], dict[str, Any]]] = {
    "grey in strips": (GREY16, {"rows": 7}, {}),
    "big-endian": (GREY16, {"order": ">"}, {"order": ">"}),
    "BigTIFF": (GREY16, {"rows": 11}, {"big": True}),
    "big-endian BigTIFF": (GREY16, {"order": ">"}, {"order": ">", "big": True}),
    "Deflate with a predictor": (GREY16, {"compression": 8, "predictor": 2, "rows": 9}, {}),
    "PackBits": (GREY8, {"compression": 32773, "rows": 5}, {}),
    "colours in planes of 16 bits": (colours(GREY16), {"planar": True, "rows": 8}, {}),
    "colours in planes of 8 bits, Deflate": (colours(GREY8), {"planar": True, "compression": 8}, {}),
    "colours beside each other, predictor": (colours(GREY16), {"compression": 8, "predictor": 2}, {}),
    "half floats": (LIT.astype(np.float16), {}, {}),
    "floats with a predictor": (LIT, {"compression": 8, "predictor": 3}, {}),
    "half floats with a predictor": (LIT.astype(np.float16), {"compression": 8, "predictor": 3}, {}),
    "doubles": (LIT.astype(np.float64), {}, {}),
    "32-bit integers": (GREY16.astype(np.uint32) * 3, {}, {}),
    "signed 16-bit": ((GREY16 >> 1).astype(np.int16), {}, {}),
}


@pytest.mark.parametrize("kind", TIFFS)
def test_a_tiff_gives_the_pixels_that_it_holds(tmp_path: Path, kind: str) -> None:
    array, page, file = TIFFS[kind]
    write_tiff(tmp_path / "t.tif", [tiff_page(array, **page)], **file)
    np.testing.assert_array_equal(one(tmp_path / "t.tif"), (array[..., 0] if array.ndim == 3 else array).astype(np.float32))


@pytest.mark.parametrize("depth", [10, 12, 14])
def test_packed_depths_are_unpacked_and_saturate_where_they_do(tmp_path: Path, depth: int) -> None:
    counts = GREY16 >> (16 - depth)
    write_tiff(tmp_path / "t.tif", [tiff_page(counts, depth=depth, rows=6)])
    frame = next(read_frames(tmp_path / "t.tif"))
    np.testing.assert_array_equal(frame.pixels, counts)
    assert frame.white == 2**depth - 1


@pytest.mark.parametrize("packing", [1, 5, 8, 32773])
def test_colours_of_16_bits_keep_their_pixels_however_packed(tmp_path: Path, packing: int) -> None:
    picture = np.stack([GREY16, GREY16 // 2, GREY16 // 3], axis=2)
    cv2.imwrite(str(tmp_path / "c.tif"), picture, [cv2.IMWRITE_TIFF_COMPRESSION, packing])
    np.testing.assert_allclose(one(tmp_path / "c.tif"), picture.mean(axis=2), rtol=1e-6)


def test_levels_that_are_turned_round_are_turned_back(tmp_path: Path) -> None:
    write_tiff(tmp_path / "t.tif", [tiff_page(65535 - GREY16, photometric=0)])
    np.testing.assert_array_equal(one(tmp_path / "t.tif"), GREY16)


def test_a_frame_is_turned_as_its_file_says(tmp_path: Path) -> None:
    write_tiff(tmp_path / "t.tif", [tiff_page(GREY16[::-1], t274=(3, [4]))])
    np.testing.assert_array_equal(one(tmp_path / "t.tif"), GREY16)


def test_frames_behind_the_only_page_are_frames(tmp_path: Path) -> None:
    stack = np.stack([GREY16, GREY16[::-1], GREY16[:, ::-1]])
    tags, _ = tiff_page(GREY16, t270=(2, b"ImageJ=1.53\nimages=3\nslices=3\n\0"))
    write_tiff(tmp_path / "t.tif", [(tags, [stack.astype("<u2").tobytes()])])
    found = list(read_frames(tmp_path / "t.tif"))
    assert [frame.name for frame in found] == ["t.tif#0", "t.tif#1", "t.tif#2"]
    np.testing.assert_array_equal([frame.pixels for frame in found], stack)


def test_small_copies_and_masks_beside_a_page_are_no_frames(tmp_path: Path) -> None:
    pages = [tiff_page(GREY16), tiff_page(GREY16[::2, ::2], t254=(4, [1])), tiff_page(GREY8, t254=(4, [4]))]
    write_tiff(tmp_path / "t.tif", pages)
    np.testing.assert_array_equal(one(tmp_path / "t.tif"), GREY16)


UNSUPPORTED: dict[str, tuple[dict[str, Any], str]] = {
    "Zstandard": ({"t259": (3, [50000])}, "Zstandard"),
    "24-bit float": ({"depth": 24, "t339": (3, [3])}, "24-bit float"),
    "CIE L*a*b*": ({"photometric": 8}, "CIE L"),
    "complex": ({"t339": (3, [6])}, "complex"),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_what_is_only_unsupported_is_not_called_damaged(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    page, word = UNSUPPORTED[kind]
    write_tiff(tmp_path / "t.tif", [tiff_page(GREY16, **page)])
    (found,) = read_each(tmp_path / "t.tif")
    assert isinstance(found, InputError)
    assert "this kind of TIFF" in str(found)
    assert word in str(found)
    assert "damaged" not in str(found)
    assert capfd.readouterr() == ("", "")


def test_samples_that_are_no_colours_are_frames_where_that_is_said(tmp_path: Path) -> None:
    stack = np.stack([GREY16, GREY16 // 2, GREY16 // 3], axis=2)
    write_tiff(tmp_path / "t.tif", [tiff_page(stack, photometric=1)])
    with pytest.raises(InputError, match="frames-axis"):
        list(read_frames(tmp_path / "t.tif"))
    found = list(read_frames(tmp_path / "t.tif", ReadOptions(frames_axis="last")))
    np.testing.assert_array_equal([frame.pixels for frame in found], np.moveaxis(stack, 2, 0))


@pytest.mark.parametrize("count", [3, 4, 20])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat", ".h5", "-v73.mat"])
def test_frames_along_the_last_axis_are_frames(tmp_path: Path, suffix: str, count: int) -> None:
    stack = RNG.integers(1, 250, (64, 72, count)).astype(np.uint8)
    path = tmp_path / f"stack{suffix}"
    _write(path, stack)
    found = list(read_frames(path))
    np.testing.assert_array_equal([frame.pixels for frame in found], np.moveaxis(stack, 2, 0))


def _write(path: Path, array: NDArray[Any], name: str = "H") -> None:
    """As NumPy, MATLAB (columns first) and h5py write an array."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **{name: array})
    elif path.name.endswith("-v73.mat"):
        with h5py.File(path, "w", userblock_size=512) as file:
            file[name] = array.T
        data = bytearray(path.read_bytes())
        data[:128] = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
        path.write_bytes(data)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {name: array}, do_compression=True)
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset(name, data=array, compression="gzip")


def test_frames_along_the_first_axis_are_frames_and_columns_first_makes_no_difference(tmp_path: Path) -> None:
    stack = RNG.integers(1, 250, (7, 40, 52)).astype(np.uint8)
    np.save(tmp_path / "c.npy", stack)
    np.save(tmp_path / "f.npy", np.asfortranarray(stack))
    for name in ("c.npy", "f.npy"):
        np.testing.assert_array_equal([frame.pixels for frame in read_frames(tmp_path / name)], stack)


@pytest.mark.parametrize("shape", [(40, 44, 52), (64, 64, 64), (52, 30, 40), (48, 64, 100)])
def test_a_shape_that_does_not_tell_is_refused_with_both_readings(tmp_path: Path, shape: tuple[int, ...]) -> None:
    stack = RNG.integers(1, 250, shape).astype(np.uint8)
    np.save(tmp_path / "s.npy", stack)
    with pytest.raises(InputError, match="--frames-axis first or --frames-axis last"):
        list(read_frames(tmp_path / "s.npy"))
    for said, axis in (("first", 0), ("last", 2), ("1", 1)):
        found = list(read_frames(tmp_path / "s.npy", ReadOptions(frames_axis=said)))
        np.testing.assert_array_equal([frame.pixels for frame in found], np.moveaxis(stack, axis, 0))


def test_colours_in_an_array_are_colours_where_that_is_said(tmp_path: Path) -> None:
    picture = RNG.integers(1, 250, (40, 52, 3)).astype(np.uint8)
    np.save(tmp_path / "c.npy", picture)
    np.testing.assert_allclose(one(tmp_path / "c.npy", ReadOptions(frames_axis="none")), picture.mean(axis=2), atol=1e-3)


BESIDE: dict[str, dict[str, Any]] = {
    "a background as large": {"bg": GREY16, "H": GREY8},
    "a mask that is larger": {"pixel_mask": np.zeros((300, 300), np.uint32), "detector": GREY8},
    "a Python object": {"settings": np.array({"gain": 1}, dtype=object), "holo": GREY8},
    "columns of names": {"log": np.zeros(30, [("t", "f8"), ("n", "i4")]), "holo": GREY8},
}


@pytest.mark.parametrize("kind", BESIDE)
def test_the_hologram_among_several_arrays_is_taken_and_named(tmp_path: Path, kind: str) -> None:
    np.savez(tmp_path / "a.npz", **BESIDE[kind])
    (frame,) = read_frames(tmp_path / "a.npz")
    np.testing.assert_array_equal(frame.pixels, GREY8)
    assert frame.array == list(BESIDE[kind])[1]


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5"])
def test_where_any_array_may_be_the_hologram_one_is_asked_for(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"two{suffix}"
    arrays = {"first": GREY8, "second": GREY16}
    if suffix == ".npz":
        np.savez(path, **arrays)
    elif suffix == ".mat":
        scipy.io.savemat(path, arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[f"entry/{name}"] = array
    with pytest.raises(InputError, match="--array") as raised:
        list(read_frames(path))
    assert "first 40 x 52 uint8" in str(raised.value)
    assert "second 40 x 52 uint16" in str(raised.value)
    np.testing.assert_array_equal(one(path, ReadOptions(array="second")), GREY16)
    with pytest.raises(InputError, match="no array is called third"):
        list(read_frames(path, ReadOptions(array="third")))


def test_integers_that_matlab_stores_as_smaller_ones_keep_their_type(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "d.mat", {"I": GREY8.astype(np.float64), "text": "a note", "cell": np.array([1, "x"], object)})
    (frame,) = read_frames(tmp_path / "d.mat")
    np.testing.assert_array_equal(frame.pixels, GREY8)
    assert frame.white is None


def test_version_4_of_mat_is_read(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "old.mat", {"H": GREY8.astype(np.float64)}, format="4")
    np.testing.assert_array_equal(one(tmp_path / "old.mat"), GREY8)


def test_a_picture_is_known_by_its_content_not_its_name(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "f.png"), GREY16)
    (tmp_path / "f.png").rename(tmp_path / "f.tif")
    np.testing.assert_array_equal(one(tmp_path / "f.tif"), GREY16)


def _mosaic(field: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Behind RGGB filters under a green lamp."""
    filters = np.array([[0.12, 1.0], [1.0, 0.25]])
    return np.rint(field * np.tile(filters, (field.shape[0] // 2, field.shape[1] // 2))).astype(np.uint16)


def test_a_raw_mosaic_is_levelled_and_said(tmp_path: Path) -> None:
    y, x = np.mgrid[0:160, 0:200]
    field = (12000 * (1 + 0.4 * np.cos(np.hypot(x - 90, y - 70) ** 2 / 300)) * (0.7 + 0.003 * x)).astype(np.float32)
    np.save(tmp_path / "raw.npy", _mosaic(field))
    (frame,) = read_frames(tmp_path / "raw.npy")
    assert "raw mosaic of a colour sensor" in frame.notes[0]
    assert np.corrcoef(frame.pixels.ravel(), field.ravel())[0, 1] > 0.999
    (as_it_is,) = read_frames(tmp_path / "raw.npy", ReadOptions(level_mosaic=False))
    np.testing.assert_array_equal(as_it_is.pixels, _mosaic(field))


def test_fringes_and_uneven_columns_are_no_mosaic(tmp_path: Path) -> None:
    y, x = np.mgrid[0:160, 0:200]
    for k, field in enumerate(
        (
            1000 * (1 + 0.4 * np.cos(2 * np.pi * 0.47 * x)),
            1000 * (1 + 0.1 * (x % 2)),
            1000 * (1 + 0.8 * np.cos((x**2 + y**2) / 50)),
            RNG.poisson(3, (160, 200)),
        )
    ):
        np.save(tmp_path / f"{k}.npy", field.astype(np.float32))
        (frame,) = read_frames(tmp_path / f"{k}.npy")
        assert frame.notes == ()
