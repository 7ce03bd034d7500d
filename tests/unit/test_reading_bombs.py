"""A file made to fill memory, or to reach for other files, is refused for itself alone."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import scipy.io

from device.cli import main
from device.drivers.recorded import ReadOptions, read_each, read_frames
from device.errors import InputError
from tests.tiffs import tiff_page, write_tiff

FRAME = np.random.default_rng(7).integers(1, 250, (64, 80)).astype(np.uint8)
HUGE = (10_000, 10_000)
"""More than does no harm, and quickly made: a hundred times larger ones differ in their declarations alone."""


def _hdf5(path: Path, shape: tuple[int, ...] = (100_000, 350, 350)) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "hologram", shape, "u1", chunks=(100, 350, 350)[-len(shape) :], compression="gzip", fillvalue=7
        )
        data[(0,) * len(shape)] = 1


def _png(path: Path, *, text: int = 0, pixels: tuple[int, int] = HUGE) -> None:
    height, width = pixels
    rows = zlib.compressobj(6)
    packed = b"".join(rows.compress(bytes(width + 1) * 100) for _ in range(height // 100)) + rows.flush()
    blocks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))]
    blocks += [(b"zTXt", b"note\0\0" + zlib.compress(bytes(text)))] if text else []
    blocks += [(b"IDAT", packed), (b"IEND", b"")]
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in blocks:
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def _mat_element(declared: tuple[int, int], numbers: int) -> bytes:
    """A compressed matrix of doubles stored as bytes, all zero."""
    flags = struct.pack("<IIII", 6, 8, 6, 0)
    dims = struct.pack("<IIii", 5, 8, *declared)
    name = struct.pack("<II", 1, 8) + b"hologram"
    head = flags + dims + name + struct.pack("<II", 2, numbers)
    pack = zlib.compressobj(6)
    packed = pack.compress(struct.pack("<II", 14, len(head) + numbers) + head)
    packed += b"".join(pack.compress(bytes(10_000_000)) for _ in range(numbers // 10_000_000)) + pack.flush()
    return struct.pack("<II", 15, len(packed)) + packed


def _mat(path: Path, *, lying: bool = False) -> None:
    side = 10_000
    element = _mat_element((64, 64) if lying else (side, side), side * side)
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + element)


def _npz(path: Path, method: int = zipfile.ZIP_DEFLATED) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10_000, 10_000)})
    with zipfile.ZipFile(path, "w", method) as archive, archive.open("hologram.npy", "w") as member:
        member.write(header.getvalue())
        for _ in range(10):
            member.write(bytes(10_000_000))


def _npy_that_lies(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**6)})
        file.write(bytes(1000))


def _tiff(path: Path) -> None:
    tags, _ = tiff_page(FRAME)
    strip = zlib.compress(bytes(10_000 * 10_000), 6)
    tags |= {256: (4, [10_000]), 257: (4, [10_000]), 278: (4, [10_000]), 259: (3, [8])}
    write_tiff(path, [(tags, [strip])])


def _tiff_of_shared_pages(path: Path) -> None:
    tags, strips = tiff_page(FRAME)
    write_tiff(path, [(tags, strips)])
    data = bytearray(path.read_bytes())
    first = struct.unpack_from("<I", data, 4)[0]
    directory = data[first:-4]
    for _ in range(2000):
        struct.pack_into("<I", data, len(data) - 4, len(data))
        data += directory + bytes(4)
    path.write_bytes(data)


def _bmp(path: Path) -> None:
    width, height = 40_000, 40_000
    runs = b"".join(bytes((255, 0)) for _ in range(2000)) + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0) + bytes(1024)
    path.write_bytes(struct.pack("<2sIHHI", b"BM", 14 + len(head) + len(runs), 0, 0, 14 + len(head)) + head + runs)


def _jpeg(path: Path) -> None:
    _, data = cv2.imencode(".jpg", FRAME)
    changed = bytearray(data.tobytes())
    at = changed.index(b"\xff\xc0")
    struct.pack_into(">HH", changed, at + 5, 65_000, 65_000)
    path.write_bytes(changed)


BOMBS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a stack of HDF5": (".h5", _hdf5),
    "one frame of HDF5": (".h5", lambda path: _hdf5(path, (100_000, 140_000))),
    "PNG": (".png", _png),
    "MAT": (".mat", _mat),
    "NPZ": (".npz", _npz),
    "TIFF": (".tif", _tiff),
    "BMP of runs": (".bmp", _bmp),
    "JPEG": (".jpg", _jpeg),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, kind: str) -> None:
    suffix, make = BOMBS[kind]
    path = tmp_path / f"bomb{suffix}"
    make(path)
    assert path.stat().st_size < 2_000_000
    tracemalloc.start()
    (found,) = read_each(path, ReadOptions(memory_mb=1500))
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, InputError)
    assert str(path) in str(found)
    assert any(word in str(found) for word in ("unpacks to far more", "takes too much memory"))
    assert "damaged, copy" not in str(found)
    assert held < 30_000_000


LIARS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "MAT whose numbers are more than its shape": (".mat", lambda path: _mat(path, lying=True), "says 100000000 bytes"),
    "NPY whose numbers are fewer than its shape": (".npy", _npy_that_lies, "of data"),
    "TIFF whose pages share their data": (".tif", _tiff_of_shared_pages, "share their data"),
}


@pytest.mark.parametrize("kind", LIARS)
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, kind: str) -> None:
    suffix, make, words = LIARS[kind]
    make(tmp_path / f"liar{suffix}")
    (found,) = read_each(tmp_path / f"liar{suffix}")
    assert isinstance(found, InputError)
    assert words in str(found)


def test_directories_of_a_tiff_in_a_circle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "circle.tif"
    write_tiff(path, [tiff_page(FRAME), tiff_page(FRAME[::-1])])
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, len(data) - 4, struct.unpack_from("<I", data, 4)[0])
    path.write_bytes(data)
    (found,) = read_each(path)
    assert isinstance(found, InputError)
    assert "circle" in str(found)


def test_members_of_an_archive_that_overlap_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "overlap.npz"
    np.savez(path, hologram=FRAME, dark=FRAME)
    data = bytearray(path.read_bytes())
    second = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, second + 42, 0)
    path.write_bytes(data)
    (found,) = read_each(path)
    assert isinstance(found, InputError)
    assert "overlap" in str(found)


def test_an_archive_in_an_archive_is_not_opened(tmp_path: Path) -> None:
    inner = tmp_path / "inner.zip"
    _npz(inner)
    with zipfile.ZipFile(tmp_path / "nested.npz", "w") as archive:
        archive.write(inner, "inner.npz")
        with archive.open("hologram.npy", "w") as member:
            np.save(member, FRAME)
    (frame,) = read_frames(tmp_path / "nested.npz")
    np.testing.assert_array_equal(frame.pixels, FRAME)


def test_text_of_a_picture_is_not_unpacked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _, data = cv2.imencode(".png", FRAME)
    whole = data.tobytes()
    text = b"note\0\0" + zlib.compress(bytes(30_000_000), 9)
    block = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    (tmp_path / "text.png").write_bytes(whole[:33] + block * 3 + whole[33:])
    (frame,) = read_frames(tmp_path / "text.png")
    np.testing.assert_array_equal(frame.pixels, FRAME)
    assert capfd.readouterr() == ("", "")


def test_a_picture_whose_pixels_end_early_is_refused_though_its_blocks_are_whole(tmp_path: Path) -> None:
    _png(tmp_path / "short.png", pixels=(200, 300))
    data = bytearray((tmp_path / "short.png").read_bytes())
    struct.pack_into(">I", data, 20, 300)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    (tmp_path / "short.png").write_bytes(data)
    (found,) = read_each(tmp_path / "short.png")
    assert isinstance(found, InputError)
    assert "end early" in str(found)


def test_a_damaged_jpeg_is_refused_without_a_word_of_the_decoder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _, data = cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 255, (200, 200)).astype(np.uint8))
    whole = data.tobytes()
    (tmp_path / "hole.jpg").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    (found,) = read_each(tmp_path / "hole.jpg")
    assert isinstance(found, InputError)
    assert capfd.readouterr() == ("", "")


def _other_file(folder: Path) -> Path:
    other = folder / "private.bin"
    other.write_bytes(FRAME.tobytes())
    with h5py.File(folder / "other.hdf", "w") as file:
        file["hologram"] = FRAME
    return other


def _external_storage(path: Path, folder: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("hologram", FRAME.shape, "u1", external=[(str(_other_file(folder)), 0, FRAME.size)])


def _external_link(path: Path, folder: Path) -> None:
    _other_file(folder)
    with h5py.File(path, "w") as file:
        file["hologram"] = h5py.ExternalLink(str(folder / "other.hdf"), "hologram")


def _virtual(path: Path, folder: Path) -> None:
    _other_file(folder)
    layout = h5py.VirtualLayout(FRAME.shape, "u1")
    layout[:] = h5py.VirtualSource(str(folder / "other.hdf"), "hologram", FRAME.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("hologram", layout)


def _references(path: Path, folder: Path) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = FRAME
        del file["data"]
        file.create_dataset("hologram", (64, 80), h5py.ref_dtype)


@pytest.mark.parametrize("make", [_external_storage, _external_link, _virtual, _references])
def test_nothing_outside_an_hdf5_file_is_read(tmp_path: Path, make: Callable[[Path, Path], None]) -> None:
    make(tmp_path / "reach.h5", tmp_path)
    for options in (ReadOptions(), ReadOptions(array="hologram")):
        (found,) = read_each(tmp_path / "reach.h5", options)
        assert isinstance(found, InputError)


def test_python_objects_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "touched",))  # type: ignore[return-value]

    np.save(tmp_path / "trap.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    (found,) = read_each(tmp_path / "trap.npy")
    assert isinstance(found, InputError)
    assert "Python objects" in str(found)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("too deep"), ValueError("odd"), OSError(5, "I/O error")])
def test_whatever_a_decoder_raises_is_its_files_own_fault(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "a.npz", hologram=FRAME)

    def fails(_path: Path) -> None:
        raise error

    monkeypatch.setattr("device.recordings.numpy_files.npz_listing", fails)
    (found,) = read_each(tmp_path / "a.npz")
    assert isinstance(found, InputError)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", FRAME)

    def refuses(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuses)
    (found,) = read_each(tmp_path / "a.npy")
    assert isinstance(found, InputError)
    assert "Permission denied" in str(found)
    assert "damaged" not in str(found)


def test_bombs_stop_no_sound_frame_beside_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    field = np.random.default_rng(2).integers(900, 1100, (160, 160)).astype(np.uint16)
    for name in ("a-sound", "m-sound", "z-sound"):
        cv2.imwrite(str(frames / f"{name}.png"), field)
    _hdf5(frames / "bomb.h5")
    _npz(frames / "bomb.npz")
    _tiff(frames / "bomb.tif")
    optics = ["--wavelength-um", "0.532", "--pitch-um", "6.5", "--distance-um", "9000", "--method", "backpropagate"]
    status = main(["replay", str(frames), "--out", str(tmp_path / "out"), *optics])
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert status == 0
    assert (run["frames_analysed"], run["files_failed"]) == (3, 3)
    assert {error["name"] for error in run["errors"]} == {"bomb.h5", "bomb.npz", "bomb.tif"}
    assert "bomb.h5: left out: " in capsys.readouterr().out


def test_a_frame_larger_than_what_is_allowed_is_refused_and_says_how_to_allow_more(tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", np.random.default_rng(1).integers(1, 99, (1000, 1000)).astype(np.uint8))
    with pytest.raises(InputError, match="--memory-mb"):
        list(read_frames(tmp_path / "wide.npy", ReadOptions(memory_mb=50)))
    assert len(list(read_frames(tmp_path / "wide.npy", ReadOptions(memory_mb=200)))) == 1


def test_a_stack_is_held_one_frame_at_a_time(tmp_path: Path) -> None:
    stack = np.random.default_rng(1).integers(1, 99, (60, 256, 256)).astype(np.uint8)
    scipy.io.savemat(tmp_path / "s.mat", {"H": stack.transpose(1, 2, 0)}, do_compression=True)
    np.savez_compressed(tmp_path / "s.npz", hologram=stack)
    np.save(tmp_path / "s.npy", stack)
    for name in ("s.mat", "s.npz", "s.npy"):
        tracemalloc.start()
        frames = sum(1 for _ in read_frames(tmp_path / name))
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert frames == 60
        assert held < stack.nbytes / 2


def test_one_bad_frame_of_a_stack_stops_no_other(tmp_path: Path) -> None:
    stack = np.stack([FRAME] * 5).astype(np.float32)
    stack[2] = np.nan
    np.save(tmp_path / "s.npy", stack)
    found = list(read_each(tmp_path / "s.npy"))
    assert [isinstance(frame, InputError) for frame in found] == [False, False, True, False, False]
    assert "s.npy#2" in str(found[2])
