"""Strict TOML files: an error names file, line, key, what was expected and what was got."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct

from device.errors import InputError

__all__ = ["load_toml"]

_StructT = TypeVar("_StructT", bound=Struct)


def load_toml(path: Path, kind: type[_StructT]) -> _StructT:
    """The Struct that a TOML file describes; InputError where it can't be."""
    try:
        # utf-8-sig: editors on Windows put a byte-order mark in front.
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError("the file can't be read", where=path, got=error.strerror) from error
    except UnicodeDecodeError as error:
        raise InputError("the file is not UTF-8 text", where=path, got=str(error), remedy="Save it as UTF-8.") from error
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError("the file is not valid TOML", where=path, got=str(error)) from error
    except RecursionError as error:
        raise InputError("the file is not valid TOML", where=path, got="lists or tables nested too deep") from error
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        raise _explained(error, path, text, tree, kind) from error


def _explained(error: msgspec.ValidationError, path: Path, text: str, tree: dict[str, Any], kind: type[Struct]) -> InputError:
    """msgspec's message, with the line it speaks of and, for an unknown key, the nearest known ones."""
    message, _, place = str(error).partition(" - at `$")
    keys = [part for part in re.split(r"[.\[\]]+", place.rstrip("`")) if part and part != "..."]
    unknown = re.search(r"unknown field `(.+)`", message)
    missing = re.search(r"missing required field `(.+)`", message)
    if unknown:
        keys.append(unknown.group(1))
    dotted = ".".join(keys) or "the file"
    line = _line_of(text, keys)
    where = f"{path}, line {line}" if line else str(path)
    if unknown:
        known = sorted(_fields(kind, keys[:-1]))
        near = difflib.get_close_matches(keys[-1], known, n=1)
        remedy = f"Did you mean {near[0]}?" if near else "Remove it."
        return InputError(f"unknown key {dotted}", where=where, expected="one of " + ", ".join(known), remedy=remedy)
    if missing:
        return InputError(
            f"key {missing.group(1)} is missing", where=where, expected=f"{'.'.join([*keys, missing.group(1)])} = ..."
        )
    expected, _, got = message.removeprefix("Expected ").partition(", got ")
    if message.startswith("Invalid enum value"):
        expected = _choices(kind, keys) or message
    value: Any = tree
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return InputError(f"bad value for {dotted}", where=where, expected=expected, got=got.strip("`") or repr(value))


def _choices(kind: type[Struct], keys: list[str]) -> str:
    """What the key at a place may be, where its type names it; else nothing."""
    here: Any = kind
    for key in keys:
        if not (isinstance(here, type) and issubclass(here, Struct)):
            return ""
        here = {f.encode_name: f.type for f in msgspec.structs.fields(here)}.get(key)
    if get_origin(here) is Annotated:
        here = get_args(here)[0]
    return " | ".join(map(str, get_args(here))) if get_origin(here) is Literal else ""


def _fields(kind: type[Struct], keys: list[str]) -> list[str]:
    """Names of the fields of the Struct at a place."""
    here: Any = kind
    for key in keys:
        found = {f.encode_name: f.type for f in msgspec.structs.fields(here)}.get(key)
        if not (isinstance(found, type) and issubclass(found, Struct)):
            return []
        here = found
    return [f.encode_name for f in msgspec.structs.fields(here)]


def _line_of(text: str, keys: list[str]) -> int | None:
    """Line of a dotted key: its own, or that of the nearest table above it."""
    table: list[str] = []
    best, depth = None, 0
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        assignment = re.match(r"""\s*["']?([A-Za-z0-9_.-]+)["']?\s*=""", line)
        if header:
            table = [part.strip(" \"'") for part in header.group(1).split(".")]
            here = table
        elif assignment:
            here = [*table, *assignment.group(1).split(".")]
        else:
            continue
        if len(here) > depth and here == keys[: len(here)]:
            best, depth = number, len(here)
    return best
