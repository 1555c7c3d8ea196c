"""Give a command large pages of memory.

A training step allocates, fills and frees hundreds of MiB.
"""

import os
import platform
import sys
from pathlib import Path

SETTING = "glibc.malloc.hugetlb=1"
SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def large_pages() -> None:
    """Start this command anew with glibc's large pages, where the system offers them.

    glibc reads its settings once, at a program's start. Call this before the heavy imports.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    glibc = platform.libc_ver()[0] == "glibc"
    if (
        glibc
        and SWITCH.exists()
        and "[madvise]" in SWITCH.read_text(encoding="utf-8")
        and "glibc.malloc.hugetlb" not in tunables
    ):
        os.environ["GLIBC_TUNABLES"] = f"{tunables}:{SETTING}".lstrip(":")
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
