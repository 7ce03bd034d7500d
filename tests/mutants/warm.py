"""pytest without waiting for the libraries: run as a script, it loads them once and forks for every call.

Each line on standard input is a call: a JSON list of arguments for pytest and the file its output goes to. Each line on standard
output is what it ended with. Nothing of this repository is loaded before the fork: a fork sees the tree as it is then.
"""

import contextlib
import importlib
import json
import os
import sys
import traceback
from pathlib import Path

LIBRARIES = (
    "_pytest.assertion.rewrite", "ai_edge_litert.interpreter", "cv2", "jsonschema", "msgspec", "numpy", "paho.mqtt.client",
    "pytest", "scipy.interpolate", "scipy.ndimage", "scipy.optimize", "scipy.signal", "scipy.spatial", "scipy.special", "scipy.stats",
)  # fmt: skip


# Not what comes with a plugin of pytest: it must load that itself.


def called(arguments: list[str], output: str) -> int:
    """What pytest ended with, in a process of its own."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 3
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        import pytest

        code = int(pytest.main(arguments))
    except BaseException:  # noqa: BLE001  whatever it was, the output has it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # What the libraries would do at the end belongs to the process that loaded them.
        os._exit(code)


if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    for line in sys.stdin:
        print(called(*json.loads(line)), flush=True)
