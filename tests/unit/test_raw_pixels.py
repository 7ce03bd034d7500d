"""Raw buffers to counts, bit for bit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from device.drivers.ports import RepeatedFrameError
from device.drivers.raw_pixels import Freshness, RawLayout
from device.errors import HardwareError
from tests.fakes.picamera2.buffers import encoded, stride_bytes


def test_packed_10_bit_is_four_high_bytes_and_one_of_low_bits_first_pixel_lowest() -> None:
    row = np.array([[0x80, 0x40, 0x20, 0x10, 0b11_10_01_00]], np.uint8)
    counts = RawLayout.of_libcamera("R10_CSI2P", 10).counts(row, 1, 4)
    assert counts.tolist() == [[0x200, 0x101, 0x82, 0x43]]


def test_packed_12_bit_is_two_high_bytes_and_one_of_low_bits() -> None:
    row = np.array([[0x80, 0x40, 0xBA]], np.uint8)
    assert RawLayout.of_libcamera("SRGGB12_CSI2P", 12).counts(row, 1, 2).tolist() == [[0x80A, 0x40B]]


def test_a_pi_5_puts_the_counts_into_the_high_bits() -> None:
    row = np.array([[0xC0, 0xFF, 0x40, 0x00]], np.uint8)
    assert RawLayout.of_libcamera("SBGGR16", 10).counts(row, 1, 2).tolist() == [[0x3FF, 0x001]]
    assert RawLayout.of_libcamera("R16", 16).counts(row, 1, 2).tolist() == [[0xFFC0, 0x0040]]


def test_a_pi_4_puts_them_into_the_low_bits() -> None:
    row = np.array([[0xFF, 0x03, 0x01, 0x00]], np.uint8)
    assert RawLayout.of_libcamera("SBGGR10", 10).counts(row, 1, 2).tolist() == [[0x3FF, 0x001]]


@pytest.mark.parametrize("platform", ["vc4", "pisp"])
@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("R8", 8),
        ("SBGGR8", 8),
        ("R10", 10),
        ("SGRBG12", 12),
        ("R10_CSI2P", 10),
        ("SRGGB12_CSI2P", 12),
        ("SBGGR16", 10),
        ("R16", 12),
    ],
)
def test_padding_and_packing_leave_no_trace(name: str, bits: int, platform: str) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 2**bits, (7, 20)).astype(np.uint16)
    buffer = encoded(pixels, name, bits, stride_bytes(name, 20, platform), rng)
    layout = RawLayout.of_libcamera(name, bits)
    np.testing.assert_array_equal(layout.counts(buffer, 7, 20), pixels)


@pytest.mark.parametrize("name", ["BGGR_PISP_COMP1", "MONO_PISP_COMP1", "XBGR8888", "YUV420", ""])
def test_other_formats_are_refused(name: str) -> None:
    with pytest.raises(HardwareError, match="raw format"):
        RawLayout.of_libcamera(name, 10)


def test_the_order_of_the_filters_is_told() -> None:
    assert [RawLayout.of_libcamera(n, 10).bayer for n in ("SGBRG10", "R10", "SRGGB16")] == ["GBRG", "none", "RGGB"]


@pytest.mark.parametrize("shape", [(6, 40), (7, 39), (280,)])
def test_a_buffer_that_is_too_small_is_one_clear_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(HardwareError, match="another shape"):
        RawLayout.of_libcamera("R10", 10).counts(np.zeros(shape, np.uint8), 7, 20)


def test_a_stamp_that_is_not_later_is_a_repeated_frame() -> None:
    for first, second in pairwise([5, 5, 4]):
        fresh = Freshness()
        fresh.check_stamp(first)
        with pytest.raises(RepeatedFrameError, match="repeats"):
            fresh.check_stamp(second)


def test_the_same_noise_is_a_repeated_frame_but_a_constant_one_proves_nothing() -> None:
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    fresh = Freshness()
    fresh.check_pixels(pixels)
    fresh.check_pixels(pixels + 1)
    with pytest.raises(RepeatedFrameError, match="bit for bit"):
        fresh.check_pixels(pixels + 1)
    white = np.full((3, 4), 1023, np.uint16)
    fresh.check_pixels(white)
    fresh.check_pixels(white)
