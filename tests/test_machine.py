"""Who else works on the machine: by hand-made accounts, and by a program that really works."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from collect.training import machine
from collect.training.machine import OtherPrograms

TICKS = os.sysconf("SC_CLK_TCK")
BUSY = "import time\nend = time.perf_counter() + 0.6\nwhile time.perf_counter() < end: pass"


@pytest.fixture
def account(tmp_path, monkeypatch):
    """Writes what the system says of all cores' time, in seconds; and no time of this process or of
    the wall's passes by itself.
    """
    monkeypatch.setattr(machine, "STAT", tmp_path / "stat")
    clock = {"wall": 100.0, "own": 0.0}
    monkeypatch.setattr(machine, "time", SimpleNamespace(perf_counter=lambda: clock["wall"]))
    monkeypatch.setattr(machine, "_own", lambda: clock["own"])

    def say(
        *, user=0.0, nice=0.0, system=0.0, idle=0.0, wait=0.0, irq=0.0, soft=0.0, wall=0.0, own=0.0
    ):
        times = " ".join(str(round(t * TICKS)) for t in (user, nice, system, idle, wait, irq, soft))
        (tmp_path / "stat").write_text(
            f"cpu  {times} 77 88 99\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 1 2 3\n"
        )
        clock.update(wall=100.0 + wall, own=own)

    return say


def test_others_took_what_all_cores_worked_without_what_this_process_did(account):
    account(user=10, idle=50)
    programs = OtherPrograms()
    account(user=13, nice=1, system=2, irq=0.5, soft=0.5, idle=70, wait=9, wall=4, own=3)
    # Idling and waiting is no work.
    assert programs.cores_used() == pytest.approx((3 + 1 + 2 + 0.5 + 0.5 - 3) / 4)


def test_others_never_took_less_than_nothing(account):
    account(user=10)
    programs = OtherPrograms()
    account(user=10.5, wall=2, own=0.6)  # accounts are kept in ticks
    assert programs.cores_used() == 0


@pytest.mark.parametrize(("seconds", "undisturbed"), [(0.0, True), (0.1, True), (2.0, False)])
def test_a_run_is_undisturbed_where_others_took_hardly_anything(
    account, monkeypatch, seconds, undisturbed
):
    monkeypatch.setenv("NPROC", "1")
    account()
    programs = OtherPrograms()
    account(user=10 + seconds, wall=10, own=10)
    assert programs.undisturbed(1) is undisturbed


def test_a_run_beside_another_of_ours_had_company(account):
    account()
    programs = OtherPrograms()
    account(wall=10)
    assert programs.undisturbed(1) is True
    assert programs.undisturbed(2) is False


@pytest.mark.parametrize("text", [None, "", "cpu\n", "cpu  1 2 3\n", "cpu  a b c d e f g h\n"])
def test_nothing_is_said_where_the_system_does_not_say(tmp_path, monkeypatch, text):
    monkeypatch.setattr(machine, "STAT", tmp_path / "stat")
    if text is not None:
        (tmp_path / "stat").write_text(text)
    programs = OtherPrograms()
    assert programs.cores_used() is None
    assert programs.undisturbed(1) is None
    assert programs.undisturbed(2) is False


@pytest.mark.skipif(not machine.STAT.exists(), reason="the system keeps no such account")
def test_a_program_that_works_is_seen():
    with subprocess.Popen([sys.executable, "-c", BUSY]) as other:
        time.sleep(0.1)
        programs = OtherPrograms()
        other.wait(10)
        assert programs.cores_used() > 0.25


def test_what_this_process_works_is_its_own():
    begun, own = time.process_time(), machine._own()
    while time.process_time() < begun + 0.1:
        pass
    assert machine._own() - own == pytest.approx(0.1, abs=0.03)
