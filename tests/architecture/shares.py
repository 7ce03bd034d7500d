"""How the lines are shared among the packages: `python -m tests.architecture.shares`."""

from __future__ import annotations

from collections import Counter

from tests.architecture.tree import ROOT, modules

__all__ = ["MOST", "shares"]

MOST = 0.11
"""Of all lines in one package: past that, look for the second room in it."""


def shares() -> dict[str, float]:
    """Share of the lines by package, the largest first; what lies deeper counts with the package below the top level."""
    lines: Counter[str] = Counter()
    for path in modules():
        parts = path.relative_to(ROOT).parts
        lines["/".join(parts[:2]) if len(parts) > 2 else parts[0]] += len(path.read_text(encoding="utf-8").splitlines())
    whole = lines.total()
    return {package: count / whole for package, count in lines.most_common()}


if __name__ == "__main__":
    for package, share in shares().items():
        print(f"{package:28} {share:6.1%}")
