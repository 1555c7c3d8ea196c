"""How near forecasts come to the best that one mix of a leaf's increments can be, on the base's
runs of a comparison.

FOLDER is one of `evaluate`'s, of a base's runs at one rate, such as
reports/mine/runs/constant/0.001. For the windows that jumps at those snapshots would be made from,
and each leaf, the mix is found in hindsight: by least squares, on the very weights to come. It is a
bound for forecasters such as gram, which mix a leaf's own increments. It need not be within reach:
hindsight fits noise as well.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)  # not this folder

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

import nowcast
from collect.commands.output import print_anything
from evaluate import weight_samples
from nowcast.forecasters import Forecaster
from nowcast.types import UserError

HINDSIGHT = "in hindsight"
OPERATIONS = "conv", "fc"
FEWEST = 50
"""Weights of a leaf: of fewer, a mix of a few increments says nothing."""
Forecast = Callable[
    [Float[np.ndarray, "W n"], Float[np.ndarray, "n"], str, int], Float[np.ndarray, "n"]
]
"""Of a window, the truth, an operation and a horizon."""


def in_hindsight(
    window: Float[np.ndarray, "W n"], truth: Float[np.ndarray, "n"], operation: str, horizon: int
) -> Float[np.ndarray, "n"]:
    """The last snapshot plus the mix of the window's increments that is nearest to the truth."""
    increments = np.diff(window, axis=0).T
    return window[-1] + increments @ np.linalg.lstsq(increments, truth - window[-1], rcond=None)[0]


def by(forecaster: Forecaster) -> Forecast:
    """The forecaster's own, which does not look at the truth."""

    def forecast(window: np.ndarray, truth: np.ndarray, operation: str, horizon: int) -> np.ndarray:
        own = jnp.asarray(window[-forecaster.window :], jnp.float32)
        return np.asarray(forecaster.leaf(own, operation, forecaster.check_horizon(horizon)))

    return forecast


def error(
    forecast: Forecast,
    leaves: Sequence[Float[np.ndarray, "S _"]],
    operation: str,
    length: int,
    horizon: int,
) -> float | None:
    """Root of the squared error over that of standing still: the geometric mean over leaves and
    windows.

    Windows are as :func:`nowcast.periodic` takes them, one after another. None: there are none, or
    the forecaster does not look so far.
    """
    logs = []
    for leaf in (leaf.astype(np.float64) for leaf in leaves):
        for end in range(length, len(leaf) - horizon, length):
            window, truth = leaf[end - length + 1 : end + 1], leaf[end + horizon]
            moved = np.linalg.norm(truth - window[-1])
            if moved > 0:
                try:
                    found = forecast(window, truth, operation, horizon)
                except UserError:
                    return None
                logs.append(np.log(max(np.linalg.norm(found - truth) / moved, 1e-6)))
    return float(np.exp(np.mean(logs))) if logs else None


def main() -> None:
    print_anything()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        help="snapshots from one of the window to the next (%(default)s)",
    )
    parser.add_argument(
        "--horizons",
        type=int,
        nargs="+",
        default=[5, 10],
        help="how far ahead, in snapshots so far apart (5 10)",
    )
    parser.add_argument(
        "--forecasters",
        nargs="+",
        default=["gram", "wnn", "linear"],
        help="names or bundles (gram wnn linear)",
    )
    parser.add_argument("--published", metavar="DIR", help="the WNN authors' own weights, too")
    args = parser.parse_args()
    if min(args.every, *args.horizons) < 1:
        parser.error("--every and --horizons must be at least 1")
    try:
        forecasters = {name: nowcast.load(name) for name in args.forecasters}
        if args.published:
            forecasters["published"] = nowcast.import_published_wnn(args.published)
    except UserError as wrong:
        parser.error(str(wrong))
    [length, *others] = sorted({forecaster.window for forecaster in forecasters.values()})
    if others:
        parser.error(
            f"--forecasters: windows of {length} and {others[0]} snapshots do not compare; give"
            " those of one window"
        )
    files = sorted(args.folder.glob("seed*.npz"))
    if not files:
        parser.error(
            f"{str(args.folder)!r} holds no weights of runs (seed0.npz, …); give a base's folder,"
            " such as reports/mine/runs/constant/0.001"
        )
    runs = [weight_samples.read(file) for file in files]
    for file, run in zip(files, runs, strict=True):
        if not run or not any(run.get(operation) for operation in OPERATIONS):
            parser.error(
                f"{str(file)!r} is damaged or holds no {' or '.join(OPERATIONS)} weights; run the"
                " comparison again"
            )
        if not all(
            np.isfinite(leaf).all() for operation in OPERATIONS for leaf in run.get(operation, [])
        ):
            parser.error(f"{str(file)!r} is of a run that diverged; move it and try again")
    columns = [(operation, horizon) for operation in OPERATIONS for horizon in args.horizons]
    leaves = {
        operation: [
            leaf[:: args.every]
            for run in runs
            if run
            for leaf in run.get(operation, [])
            if leaf.shape[1] >= FEWEST
        ]
        for operation in OPERATIONS
    }
    longest = max((len(leaf) for own in leaves.values() for leaf in own), default=0)
    if longest <= length + min(args.horizons):
        parser.error(
            f"runs of {longest} snapshots, {args.every} apart, hold no window with a truth; lower"
            " --every or --horizons"
        )
    print(
        f"error over that of standing still, windows of {length}, {len(runs)} runs; geometric mean"
        " over leaves and windows"
    )
    print(" " * 16 + "".join(f"{f'{operation}, {horizon}':>12}" for operation, horizon in columns))
    for name, forecast in {
        HINDSIGHT: in_hindsight,
        **{name: by(own) for name, own in forecasters.items()},
    }.items():
        row = [
            error(forecast, leaves[operation], operation, length, horizon)
            for operation, horizon in columns
        ]
        print(
            f"{name:>16}"
            + "".join(f"{'' if value is None else f'{value:.3f}':>12}" for value in row),
            flush=True,
        )


if __name__ == "__main__":
    main()
