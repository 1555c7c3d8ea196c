"""Runs one script with many command lines in one process: start-up counts once.

python run_cases.py SCRIPT < [[override, …], …]  > [{"code": …, "err": …}, …]
"""

import contextlib
import io
import json
import os
import runpy
import sys
import traceback


def run(script, overrides):
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = [script, *overrides]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:  # what Python itself would do with it
            code = 1
            traceback.print_exc()
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=0"  # chosen: a script does not start this process anew
    script = sys.argv[1]
    results = [run(script, overrides) for overrides in json.load(sys.stdin)]
    json.dump(results, sys.stdout)
