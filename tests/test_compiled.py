"""Compiled programs are kept between commands, where the environment does not say otherwise."""

import os
import subprocess

import jax
import pytest

from collect.commands import compiled

NAMES = ("jax_compilation_cache_dir", *compiled.SETTINGS)


@pytest.fixture
def free(monkeypatch, tmp_path):
    """A cache of the test's own, and an environment that says nothing of compiled programs."""
    for name in (compiled.FOLDER, compiled.SWITCH):
        monkeypatch.delenv(name, raising=False)
    for name in NAMES:
        monkeypatch.setenv(name.upper(), "", prepend=None)
        monkeypatch.delenv(name.upper())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = {name: getattr(jax.config, name) for name in NAMES}
    yield tmp_path / "weight-nowcaster" / "compiled"
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_lie_in_a_folder_of_this_processor_and_within_a_size(free):
    compiled.keep_compiled()
    [folder] = free.iterdir()
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(folder)  # for processes that it starts
    assert jax.config.jax_compilation_cache_max_size == 2 << 30
    assert os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] == str(2 << 30)


def test_another_processor_has_another_folder(free, monkeypatch):
    own = compiled._processor()
    assert own == compiled._processor()
    monkeypatch.setattr(compiled.platform, "processor", lambda: "another one")
    assert compiled._processor() != own


@pytest.mark.parametrize("said", [compiled.FOLDER, compiled.SWITCH])
def test_what_the_environment_says_stands(free, monkeypatch, said):
    monkeypatch.setenv(said, "false")
    before = jax.config.jax_compilation_cache_dir
    compiled.keep_compiled()
    assert not free.exists()
    assert jax.config.jax_compilation_cache_dir == before


@pytest.mark.parametrize("cache", ["a file", "no home"])
def test_without_a_place_nothing_is_kept_and_nothing_is_said(free, monkeypatch, tmp_path, cache):
    if cache == "a file":
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr("os.path.expanduser", lambda path: path)
    before = jax.config.jax_compilation_cache_dir
    compiled.keep_compiled()
    assert jax.config.jax_compilation_cache_dir == before


def test_what_a_killed_command_left_is_removed(free):
    compiled.keep_compiled()
    [folder] = free.iterdir()
    for name in ("whole-cache", "whole-atime", "half-cache"):
        (folder / name).write_bytes(b"12345678")
    os.environ.pop(compiled.FOLDER)
    compiled.keep_compiled()
    assert sorted(path.name for path in folder.glob("*-*")) == ["whole-atime", "whole-cache"]


@pytest.mark.slow
def test_the_second_command_compiles_nothing_that_is_kept(command_line, tmp_path):
    said = {name: value for name, value in os.environ.items() if name != compiled.FOLDER}
    said |= {
        "XDG_CACHE_HOME": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # here every program compiles soon
    }
    kept = []
    for corpus in ("a", "b"):
        small = ("model=lenet", "data=digits", "model.width=0.2", "runs=1", "epochs=1")
        command = command_line("collect", *small, f"corpus={tmp_path / corpus}")
        done = subprocess.run(command, env=said, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "compilation" not in done.stderr
        kept.append(sorted(path.name for path in tmp_path.rglob("*-cache")))
    assert kept[0] == kept[1]
    assert len(kept[0]) > 1
