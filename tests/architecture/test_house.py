"""The house as a whole: arrows, circles, names, maps, sizes of rooms."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import grimp
import pytest

from tests.architecture.shares import MOST, shares
from tests.architecture.tree import PACKAGES, ROOT, modules


def test_every_arrow_points_where_the_contracts_say() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_no_module_is_in_a_circle_of_imports() -> None:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    # Imports for the type checker alone count, too. What can be reached from each is found once a module.
    circles = [name for name in graph.modules if any(name in graph.find_downstream_modules(other) and other in graph.find_downstream_modules(name)
               for other in graph.find_modules_directly_imported_by(name))]  # fmt: skip
    assert not sorted(circles)


def test_no_class_has_anothers_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not _only_for_types(node):
                places[node.name.lstrip("_")].append(str(path.relative_to(ROOT)))
    assert not {name: where for name, where in places.items() if len(where) > 1}


def _only_for_types(node: ast.ClassDef) -> bool:
    return node.name in ("SamplingConfig", "CameraConfig")


@pytest.mark.parametrize(
    "package", [path for path in modules() if path.name == "__init__.py"], ids=lambda p: str(p.parent.relative_to(ROOT))
)
def test_a_packages_docstring_maps_its_files(package: Path) -> None:
    said = set(re.findall(r"\w+", ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))) or ""))
    files = {path.stem for path in package.parent.glob("*.py")} - {"__init__", "__main__"}
    folders = {path.parent.name for path in package.parent.glob("*/__init__.py")}
    assert not sorted((files | folders) - said)


def test_no_package_holds_more_than_its_share_of_the_lines() -> None:
    assert not {package: round(share, 3) for package, share in shares().items() if share > MOST}
