"""What was computed last, kept as far as a number of bytes reaches.

`functools.lru_cache` counts entries, and an entry may be a kilobyte or a frame: on a box with half a gigabyte it is bytes that run
out.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["byte_bounded_cache"]

Arguments = ParamSpec("Arguments")
Array = TypeVar("Array", bound=NDArray[Any])


def byte_bounded_cache(most_bytes: int) -> Callable[[Callable[Arguments, Array]], Callable[Arguments, Array]]:
    """Keep a function's latest results, read-only arrays, by its (hashable) arguments; what was used longest ago goes first.

    The latest one stays even where it is larger than `most_bytes` by itself. Threads may share it; two that ask for the same at once may both
    compute it.
    """

    def decorator(function: Callable[Arguments, Array]) -> Callable[Arguments, Array]:
        kept: OrderedDict[object, Array] = OrderedDict()
        lock = threading.Lock()
        held_bytes = 0

        @wraps(function)
        def cached(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Array:
            nonlocal held_bytes
            key = (args, tuple(sorted(kwargs.items())))
            with lock:
                if key in kept:
                    kept.move_to_end(key)
                    return kept[key]
            result = function(*args, **kwargs)
            result.setflags(write=False)
            with lock:
                if key not in kept:
                    kept[key] = result
                    held_bytes += _bytes_behind(result)
                while held_bytes > most_bytes and len(kept) > 1:
                    held_bytes -= _bytes_behind(kept.popitem(last=False)[1])
            return result

        return cached

    return decorator


def _bytes_behind(array: NDArray[Any]) -> int:
    """A view keeps all of what it is a view of."""
    base = array.base
    return max(array.nbytes, base.nbytes if isinstance(base, np.ndarray) else 0)
