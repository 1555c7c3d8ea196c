"""One fit on one device, on eight, and on two processes: the same numbers; and within a cap on memory."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from meta_train import loader
from nowcast import UserError

HERE = Path(__file__).resolve().parent


def fit(command_line, corpus_path, bundle, *, devices, processes=1):
    """The parameters and the card of ``bundle``, fitted so."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = [f"processes={processes}", f"coordinator=127.0.0.1:{port}"] if processes > 1 else []
    given = [f"corpus={corpus_path}", f"bundle={bundle}", "steps=40", "batch_size=64", *together]
    env = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
    commands = [command_line("meta_train", *given, f"process={i}") for i in range(processes)]
    started = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    outputs = [process.communicate(timeout=300) for process in started]
    for process, (_, err) in zip(started, outputs, strict=True):
        assert process.returncode == 0, err
    with np.load(bundle / "params.npz") as params:
        return dict(params), json.loads((bundle / "card.json").read_text()), outputs


@pytest.fixture(scope="module")
def one_device(command_line, corpus_path, tmp_path_factory):
    return fit(command_line, corpus_path, tmp_path_factory.mktemp("one") / "bundle", devices=1)


@pytest.mark.parametrize(("devices", "processes"), [(8, 1), (2, 2)])
def test_the_result_does_not_depend_on_devices_and_processes(
    command_line, corpus_path, tmp_path, one_device, devices, processes
):
    params, card, outputs = fit(command_line, corpus_path, tmp_path / "bundle", devices=devices, processes=processes)
    expected, alone, _ = one_device
    assert params.keys() == expected.keys()
    moved = max(np.abs(params[name]).max() for name in params)
    for name, array in params.items():
        np.testing.assert_allclose(array, expected[name], atol=1e-4 * moved, err_msg=name)
    for name, curve in card["curves"].items():
        np.testing.assert_allclose(curve, alone["curves"][name], rtol=1e-4)
    for out, err in outputs[1:]:
        assert "errors on" not in out  # the first one speaks for all
        assert "step/s" not in err


def test_so_many_devices_that_windows_do_not_split_over_are_refused(monkeypatch):
    monkeypatch.setattr(loader.jax, "device_count", lambda: 3)
    with pytest.raises(UserError, match=r"3 devices: .* over 1, 2, 4, 8, 16, 32 or 64"):
        loader.sharding()


def test_a_corpus_four_times_as_large_as_the_memory_fits(tmp_path):
    done = subprocess.run(
        [sys.executable, HERE / "capped.py", tmp_path], cwd=HERE.parent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said["corpus"] >= 4 * said["cap"]
    assert said["cap_bites"]
    assert said["card"]["corpus"]["runs"] == said["runs"]
