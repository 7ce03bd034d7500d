"""Of the training extra, which the checks do without."""

from typing import Any

def __getattr__(name: str) -> Any: ...
