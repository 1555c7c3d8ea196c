"""The whole pipeline on real data, small: collect → meta_train → evaluate, through the commands a user would type."""

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPUS, BUNDLE, REPORT = "corpora/demo", "bundles/demo", "reports/demo"
ARMS = [base + arm for base in ("constant", "cosine") for arm in ("", "_linear", "_nowcast", "_wnn", "_gram_guarded")]
"""The WNN of the demo itself (``_nowcast``) beside the linear fit, the shipped WNN, and the shipped ``gram`` with a guard."""
COLLECTED = ("mlp", "lenet model.width=0.5", "vanilla_cnn")


def commands(*, fast: bool) -> list[str]:
    """The demo's commands. The corpus never sees a residual network; the evaluation trains nothing else."""
    suffix = "-fast" if fast else ""
    runs, epochs, steps = (3, 14, 200) if fast else (10, 30, 3000)
    sizes = (
        "epochs=12 seeds=2 tuned.seeds=1 tuned.learning_rates=[0.003,0.01]"
        if fast
        else "epochs=64 record_every=4 seeds=20 tuned.seeds=5 tuned.learning_rates=[0.003,0.01,0.03] target_share=0.5"
    )
    collected = [
        f"python scripts/collect.py model={model} data=digits batch_size=256 runs={runs} epochs={epochs} "
        f"vary.learning_rate=[0.001,0.03] vary.schedule=[constant,cosine] corpus={CORPUS}{suffix}"
        for model in COLLECTED
    ]
    return [
        *collected,
        f"python scripts/meta_train.py corpus={CORPUS}{suffix} forecaster=wnn steps={steps} bundle={BUNDLE}{suffix}",
        f"python scripts/evaluate.py forecaster={BUNDLE}{suffix} model=resnet20 model.depth=8 model.width=0.5 data=digits "
        f"batch_size=512 {sizes} arm=[{','.join(ARMS)}] report={REPORT}{suffix}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="a minute instead of a few, and numbers that mean nothing")
    fast = parser.parse_args().fast
    for folder in (CORPUS, BUNDLE, REPORT):  # an older demo's may be of other commands or another version
        shutil.rmtree(ROOT / (folder + ("-fast" if fast else "")), ignore_errors=True)
    begun = time.monotonic()
    for line in commands(fast=fast):
        print(f"\n$ {line}", flush=True)
        _, *arguments = shlex.split(line)
        with subprocess.Popen([sys.executable, *arguments], cwd=ROOT) as process:
            try:
                code = process.wait()
            except KeyboardInterrupt:  # the command got it too, and stops in good order
                code = process.wait() or 130
        if code:
            sys.exit(code)
    print(f"\ndemo: done in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
