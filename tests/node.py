"""Programs of the JavaScript world that the MQTT contract is tried with: `make test-javascript` installs them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def node_modules() -> Path:
    """The folder that HOLONODE_NODE_MODULES names; skips where there is none."""
    named = os.environ.get("HOLONODE_NODE_MODULES")
    if named is None or shutil.which("node") is None:
        pytest.skip("needs Node.js and some packages: make test-javascript")
    return Path(named).resolve()
