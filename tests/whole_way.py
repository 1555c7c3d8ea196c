"""A task on its way through all commands: collect, meta_train, evaluate."""

import json

from collect import corpus

JUMPS = [f"naive_{name}" for name in ("linear", "introspection", "published", "gram_safe", "auto")]
LEFT_OUT = [
    f"~arm.{name}" for name in (*JUMPS, "cosine", "cosine_nowcast_safe", "cosine_gram_safe")
]
"""The overrides that remove all arms of Table 5's small forms but ``naive`` and
``naive_nowcast_safe``: each arm compiles for half a minute.
"""


def whole_way(script, folder, task, collecting, comparing):
    """Collect two runs of twelve epochs, fit a WNN, compare; ``(runs, arms' names, the page)``.

    Args:
        script: The fixture.
        folder: Where the commands run.
        task: How the line of ``next:`` names the task.
        collecting: What is added to ``collect``.
        comparing: What is added to ``evaluate``.
    """
    fitting = ("corpus=corpora/mine", "forecaster=wnn", "steps=20", "bundle=bundles/mine")
    for command, *given in (
        ("collect", *collecting, "runs=2", "epochs=12", "corpus=corpora/mine"),
        ("meta_train", *fitting),
        (
            *("evaluate", *comparing, "forecaster=bundles/mine", "seeds=1", "tuned.seeds=1"),
            *LEFT_OUT,
            *("epochs=12", "workers=1", "report=reports/mine"),
        ),
    ):
        done = script(command, *given, cwd=folder)
        assert done.returncode == 0, done.stderr
        if command == "meta_train":
            assert task in done.stdout
    report = folder / "reports" / "mine"
    arms = [row["name"] for row in json.loads((report / "results.json").read_text())["arms"]]
    return corpus.open(folder / "corpora/mine").runs, arms, (report / "report.html").read_text()
