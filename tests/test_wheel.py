"""Installed with pip: the library with its own needs alone, then the commands, from a folder that
is not the project's.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from nowcast import text

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NOT_NEEDED = (
    "flax",
    "hydra",
    "orbax",
    "scipy.stats",
    "matplotlib",
    "keras",
    "tensorstore",
    "tensorflow_datasets",
)
"""Of an environment in which the library alone is installed: what may not be imported by it."""


def run(*command, cwd, code=0):
    """What a command prints, both outputs together, run without any trace of this environment."""
    outside = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PYTEST", "XLA"))
    }
    done = subprocess.run(
        [str(one) for one in command],
        cwd=cwd,
        env=outside,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def test_every_package_is_named():
    named = {name.replace(".", "/") for name in PROJECT["tool"]["setuptools"]["packages"]}
    rooms = ("nowcast", "collect", "meta_train", "evaluate", "hydra_plugins")
    there = {
        str(file.parent.relative_to(ROOT)) for room in rooms for file in (ROOT / room).rglob("*.py")
    }
    assert named == there | {"weight_nowcaster_configs"}


def test_every_command_of_the_scripts_has_its_installed_name():
    homes = {name: target.partition(":") for name, target in PROJECT["project"]["scripts"].items()}
    assert homes.keys() == set(text.INSTALLED.values())
    for script, name in text.INSTALLED.items():
        module, _, function = homes[name]
        assert f"from {module} import {function}\n" in (
            ROOT / "scripts" / f"{script}.py"
        ).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("begun_as", "clone", "named"),
    [
        ("scripts/collect.py", True, "python scripts/meta_train.py"),
        ("", True, "python scripts/meta_train.py"),
        ("/opt/bin/nowcast-collect", True, "nowcast-meta-train"),
        ("/opt/bin/nowcast-collect", False, "nowcast-meta-train"),
        ("my_loop.py", False, "nowcast-meta-train"),
    ],
)
def test_messages_name_the_command_that_the_reader_has(
    monkeypatch, tmp_path, begun_as, clone, named
):
    monkeypatch.setattr("sys.argv", [begun_as])
    monkeypatch.setattr(text, "ROOT", ROOT if clone else tmp_path)
    assert text.command("meta_train") == named


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The project's wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    copied = folder / "project"  # a build leaves files in its folder
    for name in ("nowcast", "collect", "meta_train", "evaluate", "hydra_plugins", "configs"):
        shutil.copytree(ROOT / name, copied / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copied)
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "-w",
        folder,
        copied,
        cwd=folder,
    )
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel):
    """The interpreter of a fresh environment that has the library alone."""
    # A gigabyte in the end: not where pytest's folders lie, in memory.
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        interpreter = Path(folder, "bin", "python")
        run(
            interpreter,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            wheel,
            cwd=folder,
        )
        yield interpreter


@pytest.mark.slow
def test_a_wheel_holds_every_configuration_and_bundle(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for file in (ROOT / "configs").rglob("*.yaml"):
        assert f"weight_nowcaster_configs/{file.relative_to(ROOT / 'configs')}" in names
    for file in (ROOT / "nowcast" / "pretrained").glob("*/*"):
        assert str(file.relative_to(ROOT)) in names
    assert "nowcast/advice.json" in names
    assert not [name for name in names if name.startswith(("tests/", "scripts/", "configs/"))]


@pytest.mark.slow
def test_with_the_library_alone_a_run_is_wrapped_and_a_command_says_what_it_lacks(python, tmp_path):
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    (tmp_path / "first.py").write_text(blocks[0], encoding="utf-8")
    run(python, "-W", "error", "first.py", cwd=tmp_path)
    imported = run(
        python, "-c", "import sys, nowcast; print(*sys.modules, sep='\\n')", cwd=tmp_path
    ).split()
    assert [name for name in NOT_NEEDED if name in imported] == []
    for name in text.INSTALLED.values():
        said = run(python.parent / name, cwd=tmp_path, code=2)
        assert re.fullmatch(
            rf"error: {name} needs \w+: pip install 'weight-nowcaster\[pipeline\]'\n", said
        )


@pytest.mark.slow
def test_the_installed_commands_run_from_any_folder(python, wheel, tmp_path):
    run(
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        f"{wheel}[pipeline]",
        cwd=tmp_path,
    )

    def command(name, *arguments):
        said = run(python.parent / name, *arguments, cwd=tmp_path)
        assert "scripts/" not in said
        return said

    small = ("model=mlp", "model.width=0.1", "data=digits", "batch_size=256")
    said = command("nowcast-collect", *small, "runs=2", "epochs=14", "corpus=corpora/mine")
    assert "next: nowcast-meta-train corpus=corpora/mine forecaster=wnn bundle=bundles/mine" in said
    assert "next: nowcast-meta-train" in command("nowcast-inspect", "corpus=corpora/mine")
    said = command(
        "nowcast-meta-train",
        "corpus=corpora/mine",
        "steps=30",
        "batch_size=64",
        "bundle=bundles/mine",
    )
    assert "next: nowcast-evaluate forecaster=bundles/mine" in said
    short = (
        "forecaster=bundles/mine",
        "seeds=2",
        "epochs=11",
        "tuned.learning_rates=[0.003]",
        "tuned.warmups=[0.1]",
        "tuned.seeds=1",
    )
    for seed in (0, 10):
        said = command("nowcast-evaluate", *small, *short, f"seed={seed}", f"report=reports/{seed}")
    assert "next: open reports/10/report.html" in said
    command("nowcast-report", "reports=[reports/0,reports/10]", "report=reports/both")
    assert "nowcast-report " in (tmp_path / "reports" / "both" / "report.html").read_text(
        encoding="utf-8"
    )
    assert "nowcast-import 'checkpoints=" in command("nowcast-import", "--help")
    assert (tmp_path / "corpora" / "mine" / "manifest.json").exists()
