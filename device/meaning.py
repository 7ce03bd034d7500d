"""What a field means, said once: the string under it in its class, its unit at the end of its name.

Schemas, the columns of exports and the comments of a database say it from here. The source is read when somebody asks, so
that a service pays nothing for it.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Mapping
from functools import cache
from itertools import pairwise

__all__ = ["meaning", "meanings", "unit_of"]

_UNITS = {
    "um": "um", "um2": "um^2", "um3": "um^3", "per_um": "um^-1", "um_s": "um/s", "m": "m", "m3": "m^3", "per_m3": "m^-3", "l": "L", "ml": "mL",
    "ul": "uL", "per_ul": "uL^-1", "ml_min": "mL/min", "ml_per_pulse": "mL/pulse", "ns": "ns", "us": "us", "s": "s", "h": "h", "days": "d",
    "per_s": "s^-1", "px": "px", "per_px": "px^-1", "rad": "rad", "degrees": "degrees", "c": "degC", "percent": "%", "pa": "Pa",
    "hpa": "hPa", "v": "V", "ma": "mA", "e": "electrons", "e_s": "electrons/s", "counts": "counts", "bytes": "B", "mb": "MB",
}  # fmt: skip
"""By the end of a name."""


def unit_of(name: str) -> str:
    """The unit that a name ends in, the longest that is one; empty: none."""
    parts = name.split("_")
    ends = ("_".join(parts[k:]) for k in range(1, len(parts)))
    return next((_UNITS[end] for end in ends if end in _UNITS), "")


@cache
def meanings(kind: type) -> Mapping[str, str]:
    """The string under each field of a class of values, by name; those it inherits included."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.partition(".")[0] not in ("builtins", "msgspec"):
            found |= _said_in(base.__module__).get(base.__name__, {})
    return found


def meaning(kind: type, name: str) -> str:
    """Of one field; KeyError where nothing is said of it."""
    return meanings(kind)[name]


@cache
def _said_in(module: str) -> Mapping[str, Mapping[str, str]]:
    """The strings under the annotated fields of every class of a module."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: dict(_fields(node)) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def _fields(node: ast.ClassDef) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for field, text in pairwise(node.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                found.append((name, " ".join(said.split())))
            case _:
                continue
    return found
