"""One fit on one device, on eight, and on two processes: the same numbers; and within a cap on
memory.
"""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from meta_train import loader
from nowcast import UserError

HERE = Path(__file__).resolve().parent


EVERY = (
    "import runpy, sys; from meta_train import checkpoint; checkpoint.SHARE = float('inf'); "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
"""Runs a command whose every evaluation is a checkpoint, however long that takes."""


def start(commands, *, devices=1):
    """One process per command; several are told where to meet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A command that finds it does not start itself anew.
    chosen = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}
    env = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)} | chosen
    count = len(commands)
    for number, command in enumerate(commands if count > 1 else []):
        command += [f"processes={count}", f"process={number}", f"coordinator=127.0.0.1:{port}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return [subprocess.Popen(command, env=env, text=True, **pipes) for command in commands]


def end(processes):
    """``(exit code, stdout, stderr)`` of each."""
    return [
        (process.returncode, *said)
        for process in processes
        for said in [process.communicate(timeout=300)]
    ]


def fit(command_line, corpus_path, bundle, *, devices, processes=1, killed_at=None):
    """The parameters and the card of ``bundle``, fitted so; killed once at a step, and started
    again.
    """
    given = ["meta_train", f"corpus={corpus_path}", f"bundle={bundle}", "steps=6", "batch_size=64"]
    if killed_at:
        python, *command = command_line(*given)
        started = start(
            [[python, "-c", EVERY, *command] for _ in range(processes)], devices=devices
        )
        progress = bundle.with_name("bundle.checkpoint") / "progress.json"
        while not (progress.exists() and json.loads(progress.read_text())["step"] >= killed_at):
            assert all(process.poll() is None for process in started)
            time.sleep(0.01)
        for process in started:
            process.kill()
            process.communicate()
        assert not bundle.exists()
    outputs = end(start([command_line(*given) for _ in range(processes)], devices=devices))
    for code, _, err in outputs:
        assert code == 0, err
    with np.load(bundle / "params.npz") as params:
        return dict(params), json.loads((bundle / "card.json").read_text()), outputs


@pytest.fixture(scope="module")
def one_device(command_line, corpus_path, tmp_path_factory):
    return fit(command_line, corpus_path, tmp_path_factory.mktemp("one") / "bundle", devices=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "processes", "killed_at"),
    [(8, 1, None), (2, 2, 2)],
    ids=["8 devices", "2 processes, killed once"],
)
def test_the_result_does_not_depend_on_devices_and_processes(
    command_line, corpus_path, tmp_path, one_device, devices, processes, killed_at
):
    bundle, how = (
        tmp_path / "bundle",
        {"devices": devices, "processes": processes, "killed_at": killed_at},
    )
    params, card, outputs = fit(command_line, corpus_path, bundle, **how)
    expected, one_card, _ = one_device
    assert params.keys() == expected.keys()
    moved = max(np.abs(params[name]).max() for name in params)
    for name, array in params.items():
        np.testing.assert_allclose(array, expected[name], atol=1e-4 * moved, err_msg=name)
    for name, curve in card["curves"].items():
        np.testing.assert_allclose(curve, one_card["curves"][name], rtol=1e-4)
    for _, out, err in outputs[1:]:
        assert "errors on" not in out  # the first one speaks for all
        assert "step/s" not in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("differently", "said"),
    [
        ({"corpus": "nowhere"}, ["no corpus there", "another process of this fit failed"]),
        ({"seed": "7"}, ["processes of this fit differ in seed=7 here", "differ in seed=0 here"]),
        ({"log": "csv"}, ["is a file", "another process of this fit failed"]),
    ],
    ids=["fails", "other configuration", "cannot log"],
)
def test_where_one_of_two_processes_cannot_fit_both_end_and_say_why(
    command_line, corpus_path, tmp_path, differently, said
):
    (tmp_path / "bundle.log").touch()  # where only the log would be
    given = {
        "corpus": str(corpus_path),
        "bundle": str(tmp_path / "bundle"),
        "steps": "40",
        "batch_size": "64",
    }
    each = [given | differently, given]
    commands = [
        command_line("meta_train", *(f"{key}={value}" for key, value in own.items()))
        for own in each
    ]
    for (code, out, err), expected in zip(end(start(commands)), said, strict=True):
        assert code == 2, err
        assert "Traceback" not in err
        assert expected in (out + err)
    assert [file.name for file in tmp_path.iterdir()] == ["bundle.log"]


def test_so_many_devices_that_windows_do_not_split_over_are_refused(monkeypatch):
    monkeypatch.setattr(loader, "devices", lambda: [None] * 3)
    with pytest.raises(UserError, match=r"3 devices: .* over 1, 2, 4, 8, 16, 32 or 64"):
        loader.sharding()


@pytest.mark.slow
def test_a_corpus_four_times_as_large_as_the_memory_fits(tmp_path):
    done = subprocess.run(
        [sys.executable, HERE / "capped.py", tmp_path],
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said["corpus"] >= 4 * said["cap"]
    assert said["cap_bites"]
    assert said["card"]["corpus"]["runs"] == said["runs"]
