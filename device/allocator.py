"""What a long-lived process asks of the C library's allocator: give back what is free, share what is not."""

from __future__ import annotations

import contextlib
import ctypes

__all__ = ["give_back_soon"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""M_TRIM_THRESHOLD, M_MMAP_THRESHOLD and M_ARENA_MAX of mallopt(3)."""
_TRIM_BYTES = 2**20
_LARGE_BYTES = 2**19
"""A quarter of a frame in float32 has as much: what is larger gets pages of its own, which go back as soon as it is let go. By itself
glibc raises this to 32 MB with the first frame, and the heap then keeps what the fullest frame took."""
_ARENAS = 2
"""Heaps for threads; by itself glibc makes eight for each core, and none gives another what it has free."""


def give_back_soon() -> None:
    """To be called before anything large is made, or a thread; does nothing where the C library isn't glibc."""
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_ARENA_MAX, _ARENAS), (_MMAP_THRESHOLD, _LARGE_BYTES), (_TRIM_THRESHOLD, _TRIM_BYTES)):
            mallopt(option, value)
