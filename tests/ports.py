"""Names for pseudo-terminals, as a box has them for its serial ports."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path


class PortNames:
    """A device file under another name each time it is plugged in: tty1, tty2, ...

    A closed terminal's own name soon belongs to another process; these never do.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="holonode-tty-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self.glob = str(self._folder / "tty*")
        """Whichever is there."""
        self.port = ""
        """The present name, or the last."""
        self._number = 0

    def plug(self, device: str) -> None:
        self._number += 1
        link = self._folder / f"tty{self._number}"
        link.symlink_to(device)
        self.port = str(link)

    def unplug(self) -> None:
        Path(self.port).unlink(missing_ok=True)
