"""From a corpus to a bundle: sample, fit, validate, save."""

from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

import nowcast
from collect import corpus
from meta_train import trainer, validate, windows
from meta_train.config import MetaTrainConfig
from nowcast import bundle
from nowcast.evaluation.pictures import PLAIN, png
from nowcast.forecasters import wnn
from nowcast.paths import replace
from nowcast.types import UserError


def meta_train(config: MetaTrainConfig, command: str | None = None) -> dict[str, Any]:
    """Fit a forecaster to a corpus and write its bundle, with ``loss.png`` beside the card; ``command`` is noted in it.

    Returns:
        The bundle's card: what it is, on which corpus (by hash), scores on the runs kept out, versions, command.
    """
    bundle.check_destination(config.bundle)
    opened = corpus.open(config.corpus)
    if not opened.runs:
        raise UserError(f"corpus={config.corpus!r} holds no finished run; let scripts/collect.py finish one")
    fitted, kept = validate.split(opened.runs, config.validation_share, config.seed)
    if not fitted:
        raise UserError(
            f"corpus={config.corpus!r} has {len(opened)} run(s), and one of each task is kept out for validation; collect 2 or more per task"
        )
    draw: Any = {"window": config.window, "horizon": config.horizon}
    train = windows.sample(fitted, wnn.SERVES, **draw, per_run=config.windows_per_run, seed=config.seed)
    held_out = windows.sample(kept, wnn.SERVES, **draw, per_run=config.windows_per_run, seed=config.seed + 1)
    fit = trainer.fit(
        train,
        held_out,
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        seed=config.seed,
    )
    forecaster = wnn.WNN(params=fit.params, **draw)
    card = {
        "command": command,
        "configuration": asdict(config),
        "corpus": {
            "path": config.corpus, "hash": opened.hash, "runs": len(opened),
            "tasks": sorted({run.config["task"] for run in opened}),
            "commands": list(dict.fromkeys(run.info.get("command") for run in opened if run.info.get("command"))),
            "validation_runs": [run.id for run in kept],
            "snapshot_steps": sorted({run.config["record_every"] for run in opened}),
        },
        "validation": validate.scores(forecaster, held_out),
        "windows": {name: len(batch) for name, batch in train.items()},
        "curves": fit.curves,
        "versions": {name: metadata.version(name) for name in ("weight-nowcaster", "jax", "optax", "numpy")},
    }  # fmt: skip
    written = nowcast.save(forecaster, config.bundle, card)
    replace(Path(config.bundle) / "loss.png", png(picture(written)))
    return written


def picture(card: dict[str, Any]) -> Figure:
    """The loss curves of a bundle, a panel per network, with the last value and the linear fit as lines."""
    curves, names = card["curves"], list(card["validation"])
    with matplotlib.rc_context(PLAIN):
        figure = Figure(figsize=(4 * len(names), 3.4), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            axes.plot(curves["step"], curves[f"train/{name}"], label="training runs")
            axes.plot(curves["step"], curves[f"validation/{name}"], label="runs kept out")
            for rival, style in (("last_value", ":"), ("linear", "--")):
                axes.axhline(card["validation"][name][rival]["normalised"], color="grey", ls=style, lw=1, label=rival)
            axes.set(title=name, xlabel="step", ylim=(0, None))
        figure.axes[0].set_ylabel("L1 error, normalised")
        figure.axes[-1].legend(fontsize=8)
    return figure
