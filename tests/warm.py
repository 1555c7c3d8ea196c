"""Commands under test in forks of one warm process, which has imported all that they need.

A command of its own takes four to six seconds to import JAX, Orbax and the rest; a fork takes a
tenth of one. Exit codes, signals, the working folder, the environment and both outputs are those of
a real process.
"""

import atexit
import contextlib
import importlib
import multiprocessing
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_CONTEXT = multiprocessing.get_context("forkserver")


def _import_all():
    """Everything that the commands import, and no more: a backend that has begun has threads, which
    a fork would lack.
    """
    sys.path[:0] = [str(ROOT)]
    importlib.import_module("lowering")
    for name in ("nowcast", "collect", "meta_train", "evaluate", "scripts"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.startswith(("scripts.", "nowcast.integrations.")):
                importlib.import_module(module.name)
    for name in (
        "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_svg",
        "sklearn.datasets",
    ):
        importlib.import_module(name)


if __name__ == "warm" and "pytest" not in sys.modules:  # in the warm process alone
    _import_all()


def _run(script, arguments, cwd, environment, outputs):
    """What a fork does."""
    os.environ.clear()
    os.environ.update(environment)
    for number, output in enumerate(outputs, start=1):
        descriptor = os.open(output, os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(cwd)
    if devices := environment.get("JAX_NUM_CPU_DEVICES"):  # JAX read it when it was imported
        sys.modules["jax"].config.update("jax_num_cpu_devices", int(devices))
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # multiprocessing would leave them out


def warm_up():
    """Start the warm process: it imports while the tests go on."""
    with _environment(
        PYTHONPATH=os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    ):
        _CONTEXT.set_forkserver_preload(["warm"])
        importlib.import_module("multiprocessing.forkserver").ensure_running()


@contextlib.contextmanager
def _environment(**changes):
    before = os.environ.copy()
    os.environ.update(changes)
    yield
    os.environ.clear()
    os.environ.update(before)


class Command:
    """A command that runs in a fork; as ``subprocess.Popen`` with pipes and ``text=True``."""

    def __init__(self, command, cwd=ROOT, env=None):
        _, script, *self.arguments = command
        environment = dict(os.environ if env is None else env)
        # Chosen: it does not start itself anew.
        environment.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
        self._outputs = []
        for _ in range(2):
            descriptor, name = tempfile.mkstemp()
            os.close(descriptor)
            self._outputs.append(name)
        given = (script, self.arguments, str(cwd), environment, self._outputs)
        self._process = _CONTEXT.Process(target=_run, args=given)
        self._process.start()
        self.args, self.pid = command, self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout=300):
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self, timeout=300):
        self.wait(timeout)
        said = tuple(
            Path(output).read_text() if os.path.exists(output) else "" for output in self._outputs
        )
        for output in self._outputs:
            Path(output).unlink(missing_ok=True)
        return said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wait()


def run(command, cwd=ROOT, env=None, timeout=300):
    """As ``subprocess.run(command, capture_output=True, text=True)``."""
    process = Command(command, cwd, env)
    out, err = process.communicate(timeout)
    return subprocess.CompletedProcess(command, process.returncode, out, err)
