"""Whether what a store writes into next is sound: a record added to a bent page is written over whole ones.

Read are the nodes of the records' tree and its last leaf, a page in some hundred; the small tables SQLite checks itself.
"""

from __future__ import annotations

from device.storage.pages import DamagedFile

__all__ = ["bent"]

_TABLE = b"records"


def bent(file: DamagedFile) -> str | None:
    """What is wrong with the tree of records; None where nothing is, or there is none."""
    catalogue = next(file.versions_of_cells(1), ([], True))[0]
    roots = [cell.values[3] for cell in catalogue if len(cell.values) == 5 and cell.values[:2] == (b"table", _TABLE)]
    return next((found for root in roots if isinstance(root, int) and (found := _bent_below(file, root))), None)


def _bent_below(file: DamagedFile, root: int) -> str | None:
    level, seen = [root], set[int]()
    while True:
        if seen.intersection(level) or len(set(level)) < len(level):
            return "pages of its records come twice"
        if file.free.intersection(level):
            return "pages of its records are taken for free ones"
        seen.update(level)
        last = level[-1]
        children = [file.children(number) for number in level] if file.children(last) is not None else []
        if any(below is None for below in children) or not file.is_sound(last):
            return f"page {last} is bent"
        if not children:
            return None
        level = [number for below in children if below for number in below]
