"""The rooms: imports point one way, and files are small enough to read."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY = {
    "nowcast": set(),
    "collect": {"nowcast"},
    "meta_train": {"collect", "nowcast"},
    "evaluate": {"collect", "nowcast"},
    "hydra_plugins": {"collect"},
    "scripts": {"evaluate", "meta_train", "collect", "nowcast"},
}
"""What each room may import, beside itself."""
CORE = {"jax", "optax", "numpy", "jaxtyping"}
"""What the library needs of others; those below only where the user has them."""
OPTIONAL = {"flax", "keras", "h5py", "equinox"}
PARTS = {
    "collect/*.py": {
        "collect.checks",
        "collect.config",
        "collect.corpus",
        "collect.data",
        "collect.members",
        "collect.models",
        "collect.tasks",
        "collect.training",
    },
    **{f"collect/{name}.py": set() for name in ("files", "figures", "intervals")},
    "collect/commands": {"collect"},
    "collect/corpus": {"collect.corpus", "collect.files", "collect.figures", "collect.data.cache"},
    "collect/data": {"collect.data"},
    "collect/models": {"collect.models"},
    "collect/training": {"collect.training", "collect.tasks", "collect.models"},
    "collect/tasks": {"collect.tasks", "collect.data", "collect.models", "collect.corpus"},
}
"""The same within ``collect``: of a folder, or of the files that a pattern names."""


LONGEST = 320
"""Lines of a file. A longer one has two subjects, and each deserves a file with a name."""


def imported(source, package):
    """The dotted names that a module's source imports, wherever it does.

    A relative import is resolved from the module's package, such as ``collect.corpus``.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: 1 - node.level or None] if node.level else []
            beginning = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{beginning}.{name.name}" for name in node.names)


def imported_by(file):
    """The dotted names that a file of a room imports."""
    return imported(file.read_text(), ".".join(file.relative_to(ROOT).parent.parts))


def modules(place):
    """The Python files below a folder, or those that a pattern names."""
    if "." in place:
        return sorted(ROOT.glob(place))
    return sorted((ROOT / place).rglob("*.py"))


@pytest.mark.parametrize("room", MAY)
def test_imports_point_one_way(room):
    for file in modules(room):
        found = {name.split(".")[0] for name in imported_by(file)} & MAY.keys()
        assert found <= MAY[room] | {room}, file


@pytest.mark.parametrize("part", PARTS)
def test_imports_within_collect_point_one_way(part):
    for file in modules(part):
        for name in imported_by(file):
            if name.startswith("collect."):
                assert any(name == may or name.startswith(f"{may}.") for may in PARTS[part]), (
                    file,
                    name,
                )


def test_relative_imports_are_resolved():
    lines = (
        "from . import leaf\nfrom .leaf import Leaf\nfrom .. import data\nfrom ..data import png"
    )
    assert list(imported(lines, "collect.corpus")) == [
        "collect.corpus.leaf",
        "collect.corpus.leaf.Leaf",
        "collect.data",
        "collect.data.png",
    ]


def test_every_package_that_ships_is_a_room():
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    tops = {package.split(".")[0] for package in built["packages"]}
    assert {top for top in tops if modules(built["package-dir"].get(top, top))} <= MAY.keys()


def test_the_library_needs_what_users_have():
    for file in modules("nowcast"):
        tops = [
            node
            for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        names = {
            name.split(".")[0]
            for node in tops
            for name in (
                ["nowcast" if node.level else node.module]
                if isinstance(node, ast.ImportFrom)
                else [each.name for each in node.names]
            )
        }
        others = names - set(sys.stdlib_module_names) - CORE - {"nowcast"}
        assert others <= (OPTIONAL if "integrations" in file.parts else set()), file


@pytest.mark.parametrize("room", MAY)
def test_files_are_short_enough_to_read(room):
    lengths = {file: len(file.read_text().splitlines()) for file in modules(room)}
    assert not {file: lines for file, lines in lengths.items() if lines > LONGEST}
