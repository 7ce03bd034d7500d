"""Where results go: one check for every command that writes, made before the work is done, and one paragraph where it fails."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from device.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["is_about_the_place", "output_file", "output_folder", "unwritable", "write_image", "writing"]

_REMEDIES = {
    errno.ENOSPC: "Free space there, or write to another disk; what was written so far is not whole.",
    errno.EDQUOT: "Free space there, or write to another disk; what was written so far is not whole.",
    errno.EFBIG: "Write to another disk: this file system takes no larger file.",
    errno.EROFS: "Write to another disk, or mount this one for writing.",
    errno.EACCES: "Choose a folder that this user may write to.",
    errno.EPERM: "Choose a folder that this user may write to.",
    errno.EEXIST: "A file has this name: choose another, or move it away.",
    errno.ENOTDIR: "A part of the path is a file, not a folder: choose another.",
    errno.EISDIR: "A folder has this name: give the name of a file.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ENOENT: "Choose a place where folders can be made.",
}


def output_folder(path: Path) -> Path:
    """The folder, made where it is missing and tried; InputError where nothing can be written into it."""
    path = path.expanduser()
    with writing(path, expected="a folder to write to, or a place where one can be made"):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    return path


def output_file(path: Path) -> Path:
    """The path of a file to be written, its folder made and tried; InputError where it can't be."""
    path = path.expanduser()
    with writing(path, expected="the name of a file in a folder that can be written to"):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if path.exists():
            with path.open("ab"):
                return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    return path


@contextmanager
def writing(path: Path, expected: str | None = None) -> Generator[None]:
    """What the system refuses while something is written is an InputError that names the place."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error, expected) from error


def unwritable(
    path: object, error: OSError, expected: str | None = None, *, what: str = "the results can't be written"
) -> InputError:
    """The paragraph for a place that can't be written to."""
    reason = error.strerror or str(error)
    if error.filename and str(error.filename) != str(path) and not str(error.filename).startswith(str(path)):
        reason += f" ({error.filename})"
    remedy = _REMEDIES.get(error.errno or 0, "Choose another place.")
    return InputError(what, where=path, expected=expected, got=reason, remedy=remedy)


def is_about_the_place(error: OSError) -> bool:
    """Whether a person mends it by another place or more space."""
    return error.errno in _REMEDIES and error.errno != errno.ENOENT


def write_image(path: Path, picture: NDArray[np.integer]) -> None:
    """Write a picture in the format of its name; InputError where that can't be."""
    import cv2

    encoded, data = cv2.imencode(path.suffix, picture)
    if not encoded:
        raise InputError("a picture could not be made", where=path)
    with writing(path):
        path.write_bytes(data.tobytes())
