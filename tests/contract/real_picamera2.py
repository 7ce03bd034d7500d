"""The real picamera2: as it is on a Raspberry Pi, or on libcamera's virtual pipeline (-Dpipelines=virtual) on any machine.

The virtual pipeline has no raw format, no exposure control and no DMA heap, and a machine without a Raspberry Pi lacks modules
that picamera2 imports for previews and DNG files: those are stood in for, nothing that a driver calls is.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any
from unittest.mock import MagicMock

import pytest

_NOT_USED = ("prctl", "pykms", "kms", "pidng", "pidng.camdefs", "pidng.core")


def picamera2_class() -> Any:
    """The class to open cameras with; skips, with the reason, where there is none."""
    try:
        importlib.import_module("libcamera")
    except ImportError as error:
        pytest.skip(f"libcamera can't be imported: {error}")
    missing = [name for name in _NOT_USED if name not in sys.modules and "." not in name and not importlib.util.find_spec(name)]
    sys.modules.update({name: MagicMock() for name in _NOT_USED if name.partition(".")[0] in missing})
    try:
        real = importlib.import_module("picamera2").Picamera2
    except ImportError as error:
        pytest.skip(f"picamera2 can't be imported: {error}")
    cameras = real.global_camera_info()
    if not cameras:
        pytest.skip("picamera2 sees no camera: `rpicam-hello --list-cameras` must show one")
    return _virtual(real) if str(cameras[0]["Id"]).startswith("Virtual") else real


def has_raw(camera_class: Any) -> bool:
    """Whether its cameras have raw formats, which the virtual ones lack."""
    return not getattr(camera_class, "is_virtual", False)


def _virtual(real: Any) -> Any:
    inside = importlib.import_module("picamera2.picamera2")
    libcamera_allocator = importlib.import_module("picamera2.allocators.libcameraallocator").LibcameraAllocator
    # `close` makes one, which needs a DMA heap.
    inside.DmaAllocator = MagicMock

    class VirtualPicamera2(real):  # type: ignore[misc]
        """picamera2 on a camera whose buffers libcamera itself allocates."""

        is_virtual = True

        def __init__(self, camera_num: int = 0) -> None:
            super().__init__(camera_num, allocator=MagicMock())
            self.allocator = libcamera_allocator(self.camera)

        def _get_raw_modes(self) -> list[dict[str, Any]]:
            return [{"format": "SBGGR10", "size": (1920, 1080)}]

    return VirtualPicamera2
