"""Jobs of ``-m``: whatever launches them, the corpus is that of one after another, and the command
ends once.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import warm
from test_collect_stopped import assert_same_corpus

from collect import corpus

TINY = ["model=mlp", "data.train_size=200", "batch_size=100", "runs=2"]
SWEEP = ["-m", *TINY, "model.width=0.05,0.1", "seed=0,2", "epochs=3"]
LAUNCHERS = ["joblib", "submitit_local"]


@pytest.fixture(scope="module")
def one_after_another(tmp_path_factory, script):
    cwd = tmp_path_factory.mktemp("serial")
    done = script("collect", *SWEEP, "corpus=corpus", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd / "corpus", done


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_jobs_fill_one_corpus_at_once(process, tmp_path, one_after_another, launcher):
    expected, serial = one_after_another
    done = process("collect", *SWEEP, "corpus=corpus", f"hydra/launcher={launcher}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(corpus.open(expected)) == 8
    assert_same_corpus(tmp_path / "corpus", expected)
    assert done.stderr == ""  # no bars of several processes
    assert done.stdout.splitlines()[-2:] == serial.stdout.splitlines()[-2:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "multirun"]


def test_a_command_of_many_jobs_ends_once(one_after_another):
    _, done = one_after_another
    assert done.stdout.count("mlp-digits: 2 complete") == 4
    assert done.stdout.count("corpus: ") == done.stdout.count("next: ") == 1
    assert (
        done.stdout.splitlines()[-1]
        == "next: python scripts/meta_train.py corpus=corpus forecaster=wnn bundle=bundles/mine"
    )


@pytest.mark.parametrize(
    "launcher",
    [[], pytest.param(["hydra/launcher=joblib"], marks=pytest.mark.slow)],
    ids=["one after another", "joblib"],
)
def test_wrong_input_to_one_job_is_one_line_and_the_others_are_recorded(
    script, process, tmp_path, launcher
):
    wrong = ["-m", *TINY, "runs=1", "epochs=1", "model.width=100,0.05", "corpus=corpus"]
    done = (process if launcher else script)("collect", *wrong, *launcher, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: model.width=100.0")
    assert done.stderr.count("error: ") == 1
    if launcher:
        assert done.stderr.count("\n") == 1  # no bars
    assert "next: " not in done.stdout
    assert len(corpus.open(tmp_path / "corpus")) == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("srun") is not None, reason="this machine has Slurm")
def test_where_there_is_no_slurm_one_line_says_so(process, tmp_path):
    done = process("collect", "-m", *TINY, "hydra/launcher=slurm", "corpus=corpus", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: hydra/launcher: this machine has no Slurm")
    assert done.stderr.count("\n") == 1


def test_max_minutes_is_each_jobs_own(script, tmp_path):
    done = script(
        "collect", "-m", *TINY, "seed=0,2", "max_minutes=1e-9", "corpus=corpus", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 left; stopped: max_minutes") == 2
    assert done.stdout.splitlines()[-1] == "next: the same command goes on where this one stopped"


def test_the_total_of_a_dry_run_is_the_sum_of_its_jobs(script, tmp_path):
    sweep = [
        "-m",
        *TINY,
        "model.width=0.05,1",
        "epochs=10000",
        "record_every=5",
        "corpus=corpus",
        "dry_run=true",
    ]
    done = script("collect", *sweep, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *jobs, total, _, _ = done.stdout.replace(",", "").splitlines()
    numbers = [
        [float(n) for n in re.findall(r"[\d.]+", line.split(":", 1)[1])] for line in [*jobs, total]
    ]
    assert total.startswith("2 jobs: ")
    # Runs, epochs, snapshots: 20,000 steps, every fifth, and the start.
    assert numbers[-1][:3] == [
        4,
        40000,
        16004,
    ]
    # What follows may be in MiB or GiB, minutes or hours.
    for one, other, both in list(zip(*numbers, strict=True))[:3]:
        assert one > 0
        assert one + other == both
    assert not (tmp_path / "corpus").exists()


@pytest.fixture
def launched(command_line, tmp_path):
    """Starts two jobs that take long; gives the process once each has snapshots."""
    processes = []

    def start(launcher):
        sweep = [
            "-m",
            *TINY,
            "model.width=0.05,0.1",
            "epochs=150",
            "record_every=1",
            "corpus=corpus",
        ]
        process = subprocess.Popen(
            command_line("collect", *sweep, f"hydra/launcher={launcher}"),
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        processes.append(process)
        deadline = time.monotonic() + 120
        while len(recording(tmp_path)) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return process

    yield start
    for process in processes:
        process.kill()


def by_run(cwd):
    """Snapshots of each run's folder."""
    return {
        file.parent: len(file.read_text().splitlines())
        for file in cwd.glob("corpus/runs/*/metrics.jsonl")
    }


def snapshots(cwd):
    return list(by_run(cwd).values())


def recording(cwd):
    """The widths of runs that have begun: one width is one job."""
    begun = [run for run, count in by_run(cwd).items() if count >= 10]
    return {json.loads((run / "run.json").read_text())["config"]["model"]["width"] for run in begun}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "everyone"),
    [(signal.SIGINT, True), (signal.SIGTERM, False)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_signal_ends_the_command_and_its_jobs(launched, tmp_path, number, everyone):
    process = launched("joblib")
    os.killpg(process.pid, number) if everyone else process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err == "stopped; give the same command again\n"
    recorded = snapshots(tmp_path)
    time.sleep(1)
    assert snapshots(tmp_path) == recorded
    assert max(recorded) < 301


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the jobs' processes in /proc")
def test_a_job_whose_time_is_up_is_queued_again_and_goes_on(launched, tmp_path):
    process = launched("submitit_local")
    # Named after the process that watches the job.
    for folder in (tmp_path / "multirun" / "jobs").glob("[0-9]*"):
        for child in Path(f"/proc/{folder.name}/task/{folder.name}/children").read_text().split():
            os.kill(int(child), signal.SIGUSR2)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert snapshots(tmp_path) == [301] * 4

    def said():
        logs = [log.read_text() for log in tmp_path.glob("multirun/jobs/*/*.out")]
        return [(log.count("Requeued job"), log.count("mlp-digits: 2 complete")) for log in logs]

    deadline = time.monotonic() + 20
    while said() != [(1, 1)] * 2 and time.monotonic() < deadline:
        # A job's result is there before its process has written the last of its log.
        time.sleep(0.1)
    assert said() == [(1, 1)] * 2


BLIND = """
from collect.commands import jobs
found = jobs.find_spec
jobs.find_spec = lambda name: None if name.startswith("hydra_plugins.hydra_") else found(name)
import runpy
runpy.run_path({script!r}, run_name="__main__")
"""
"""A command that finds no launcher's plugin."""


@pytest.mark.parametrize("extra", ["joblib", "slurm", "ray"])
def test_a_launcher_that_is_not_installed_is_one_line_with_the_cure(command_line, tmp_path, extra):
    launcher = {"slurm": "submitit_local"}.get(extra, extra)
    python, script, *arguments = command_line(
        "collect", "-m", *TINY, "corpus=corpus", f"hydra/launcher={launcher}"
    )
    (tmp_path / "blind.py").write_text(BLIND.format(script=script))
    done = warm.run([python, str(tmp_path / "blind.py"), *arguments], cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: hydra/launcher: ")
    assert done.stderr.endswith(f"pip install 'weight-nowcaster[{extra}]'\n")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "corpus").exists()


SLURM = {
    "sbatch": (
        """cp "$1" sbatch.txt
        for i in 0 1; do
            SLURM_JOB_ID=9$i SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$i SLURM_JOB_NODELIST=here \\
                bash sbatch.txt > job$i.log 2>&1 &  # "$1" is moved as soon as this ends
        done
        echo Submitted batch job 7"""
    ),
    "srun": (
        """while [[ $1 == --* ]]; do [[ $1 == --unbuffered ]] && shift || shift 2; done
        exec "$@" """
    ),
    "sacct": """printf 'JobID|State|NodeList\\n7_0|RUNNING|here\\n7_1|RUNNING|here\\n'""",
}
"""Programs that answer as Slurm's do, and run the jobs here."""


@pytest.mark.slow
def test_slurm_is_asked_for_what_the_configuration_says(process, tmp_path, monkeypatch):
    for name, body in SLURM.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sweep = ["-m", *TINY, "model.width=0.05,0.1", "epochs=1", "corpus=corpus"]
    asked = [
        "hydra/launcher=slurm",
        "hydra.launcher.partition=long",
        "hydra.launcher.timeout_min=30",
    ]
    done = process("collect", *sweep, *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(corpus.open(tmp_path / "corpus")) == 4
    options = re.findall(r"^#SBATCH --(.*)", (tmp_path / "sbatch.txt").read_text(), re.MULTILINE)
    for option in (
        "partition=long",
        "time=30",
        "signal=USR2@180",
        "cpus-per-task=8",
        "gpus-per-node=1",
        "mem=32GB",
    ):
        assert option in options
    assert "array=0-1%2" in options
