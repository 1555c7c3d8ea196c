"""The rooms: imports point one way, and files are small enough to read."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY = {
    "nowcast": set(),
    "collect": {"nowcast"},
    "meta_train": {"collect", "nowcast"},
    "evaluate": {"collect", "nowcast"},
    "scripts": {"evaluate", "meta_train", "collect", "nowcast"},
}
"""What each room may import, beside itself."""
CORE = {"jax", "optax", "numpy", "jaxtyping"}
"""What the library needs of others; those below only where the user has them."""
OPTIONAL = {"flax", "keras", "h5py", "equinox"}
PARTS = {
    "collect/commands": {"collect"},
    "collect/corpus": {"collect.corpus", "collect.files", "collect.figures", "collect.data.cache"},
    "collect/data": {"collect.data"},
    "collect/models": {"collect.models"},
    "collect/training": {"collect.training", "collect.tasks", "collect.models"},
    "collect/tasks": {"collect.tasks", "collect.data", "collect.models"},
}
"""The same within ``collect``."""


LONGEST = 320
"""Lines of a file. A longer one has two subjects, and each deserves a file with a name."""


def imported(file):
    """The dotted names that a module imports, wherever it does."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def modules(folder):
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("room", MAY)
def test_imports_point_one_way(room):
    for file in modules(room):
        found = {name.split(".")[0] for name in imported(file)} & MAY.keys()
        assert found <= MAY[room] | {room}, file


@pytest.mark.parametrize("part", PARTS)
def test_imports_within_collect_point_one_way(part):
    for file in modules(part):
        for name in imported(file):
            if name.startswith("collect."):
                assert any(name == may or name.startswith(f"{may}.") for may in PARTS[part]), (
                    file,
                    name,
                )


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
                [node.module]
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
