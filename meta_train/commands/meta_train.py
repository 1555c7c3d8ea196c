"""Fit a forecaster to corpora of weight trajectories: corpora → bundle."""

import sys
from pathlib import Path

from collect.commands import naming
from collect.commands.cli import command, command_line
from collect.commands.typed import argument
from meta_train.config import MetaTrainConfig
from nowcast import text
from nowcast.types import UserError

BUNDLES: set[str] = set()
"""Bundles of the jobs of one ``-m``, which follow one another in one process."""


def main(config: MetaTrainConfig) -> None:
    """Run one job: fit one bundle, and print its scores."""
    from meta_train import processes  # here: --help needs none of what these import
    from meta_train.fitting import meta_train

    if config.bundle in BUNDLES:
        raise UserError(
            f"bundle={config.bundle}: another job of this -m writes it; give each its own, such as"
            " 'bundle=bundles/h${horizon}'"
        )
    BUNDLES.add(config.bundle)
    if config.of_rates:
        from meta_train import rates

        show_rates(config, rates.meta_train(config, command_line("meta_train")))
        return
    card, stopped, code = meta_train(config, command_line("meta_train"))
    if processes.is_first():
        if card is None:
            print(f"stopped: {stopped}\nnext: the same command goes on where this one stopped")
        else:
            show(config, card)
    if code:
        sys.exit(code)


def show(config: MetaTrainConfig, card: dict) -> None:
    """Print a bundle's scores, where it lies, and the command to run next."""
    from meta_train import validate
    from nowcast.bundle_folder import shipped
    from nowcast.forecasters import SIMPLE

    print(f"errors on {len(card['corpus']['validation_runs'])} runs kept out:")
    print(validate.table(card["validation"]))
    if card["held_out"]:
        print(f"errors on {len(card['corpus']['held_out_runs'])} runs of architectures kept out:")
        print(validate.table(card["held_out"]))
    else:
        print(f"no run is of an architecture kept out ({', '.join(config.keep_out)})")
    absent = [
        name for name, network in config.networks.items() if network and not card["networks"][name]
    ]
    if absent:
        print(f"no run has weights of {', '.join(absent)}: with this bundle they never jump")
    print(f"bundle: {config.bundle}   curves: {Path(config.bundle) / 'loss.png'}")
    names = {*shipped(), *SIMPLE}  # a folder of such a name is told apart by its path
    forecaster = argument(
        "forecaster", f"./{config.bundle}" if config.bundle in names else config.bundle
    )
    print(f"next: {_next(config, forecaster)}")


def _next(config: MetaTrainConfig, forecaster: str) -> str:
    """The text of ``next:``: compare the bundle on a task of the corpus, or use it in a loop."""
    from collect import corpus

    configs = [run.config for path in config.corpus for run in corpus.open(path)]
    task = next(filter(None, map(naming.named, configs)), None)
    if task is None:
        every = configs[0]["record_every"] or "STEPS"
        return (
            f"in your loop: nowcast.periodic(optimizer, nowcast.load({config.bundle!r}),"
            f" every={every})"
        )
    # A tuned arm sweeps its rate, which takes an hour.
    few = "'arm=[constant,constant_nowcast_safe]'"
    return (
        f"{text.command('evaluate')} {forecaster} {task} {few} seeds=5 epochs=20"
        " report=reports/mine"
    )


def show_rates(config: MetaTrainConfig, card: dict) -> None:
    """Print the scores of a reader of rates, where it lies, and the command to run next."""
    from meta_train import rates

    print("errors, in factors of 2, on each task by a fit to the others:")
    print(rates.table(card["validation"]))
    if card["held_out"]:
        print("errors on the tasks kept out:")
        print(rates.table(card["held_out"]))
    else:
        print(f"no run is of a task kept out ({', '.join(config.keep_out)})")
    for name in card["groups_not_used"]:
        print(f"not used, as its lowest loss is at an end of its rates: {name}")
    print(f"bundle: {config.bundle}   curves: {Path(config.bundle) / 'loss.png'}")
    arms = "'arm=[cosine,cosine_auto,cosine_auto_learned]'"
    learned = argument("arm.cosine_auto_learned.auto.forecaster", config.bundle)
    print(
        f"next: {text.command('evaluate')} protocol=robust {arms} {learned} model=mlp data=digits"
        " seeds=3 epochs=40 report=reports/mine"
    )


def start() -> None:
    """Run the command; with ``learner=…`` the one that makes learned optimizers."""
    if any(typed.startswith("learner=") for typed in sys.argv[1:]):
        from meta_train.commands import learner

        learner.start()
    else:
        command("meta_train", MetaTrainConfig, main)
