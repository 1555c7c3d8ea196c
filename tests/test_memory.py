"""A command that wants large pages starts anew with them, once, as the same process and with the
same arguments.
"""

import json
import os
import subprocess
import sys

import pytest

from collect.commands import memory

SAY = (
    "import json, os, sys; print(json.dumps([os.getpid(), os.environ.get('GLIBC_TUNABLES'),"
    " sys.argv[1:]]))"
)


@pytest.mark.parametrize("given", [None, "glibc.malloc.check=0", "glibc.malloc.hugetlb=0"])
@pytest.mark.parametrize("switch", ["always [madvise] never", "[always] madvise never", None])
def test_large_pages_are_asked_for_where_the_system_gives_them(tmp_path, switch, given):
    if switch:
        (tmp_path / "enabled").write_text(switch)
    code = f"""
import pathlib
from collect.commands import memory
memory.SWITCH = pathlib.Path({str(tmp_path / "enabled")!r})
memory.platform.libc_ver = lambda: ("glibc", "2.36")
memory.large_pages()
{SAY}
"""
    environment = {**os.environ, "GLIBC_TUNABLES": given} if given else {**os.environ}
    if not given:
        environment.pop("GLIBC_TUNABLES", None)
    root = str(memory.Path(memory.__file__).parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", code, "a=1", "b c"],
        env=environment,
        cwd=root,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid, tunables, arguments = json.loads(process.communicate(timeout=60)[0])
    assert process.returncode == 0
    assert (pid, arguments) == (process.pid, ["a=1", "b c"])
    asked = switch == "always [madvise] never" and given != "glibc.malloc.hugetlb=0"
    assert tunables == (
        f"{given}:{memory.SETTING}" if asked and given else memory.SETTING if asked else given
    )
