"""Draw the training examples of a forecaster of whole networks, such as NiNo.

An example is a network at a place in a run: the window of every leaf, and every leaf at the
snapshots past it. All tasks (an architecture on a data set) are equally likely, then all runs of a
task and all places in the run.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from collect.corpus import Run
from collect.corpus.places import Place
from meta_train.source import FIRST, MOST_DRAWS, Rule, Source
from nowcast.neurons.build import graph_of
from nowcast.neurons.graph import Graph
from nowcast.types import UserError


def graph_of_run(run: Run) -> Graph:
    """The neuron graph of what a run trained, from the names and sizes of its leaves.

    Raises:
        UserError: A leaf has no place; the message names it.
    """
    shapes = [tuple(leaf.shape) for leaf in run.leaves]
    return graph_of(names_of(run), shapes, [leaf.op for leaf in run.leaves])


def names_of(run: Run) -> list[tuple[str, ...]]:
    """The path of each leaf of what a run trained, name by name."""
    return [tuple(leaf.path.split("/")) for leaf in run.leaves]


def has_graph(run: Run) -> bool:
    """Whether what a run trained has a neuron graph."""
    try:
        graph_of_run(run)
    except UserError:
        return False
    return True


class Network(NamedTuple):
    """What an example's leaves are, for the compiled program: alike for all runs of a network."""

    graph: Graph
    forecastable: tuple[bool, ...]
    """Which leaves are forecast."""


class Example(NamedTuple):
    """A network at a place in a run."""

    run: Run
    network: Network
    windows: list[Float[np.ndarray, "W *_"]]
    targets: list[Float[np.ndarray, "H *_"]]
    """Of each leaf, 1, 2, …, H snapshots past its window; NaN past the run's end."""


class Networks(Source):
    """Draws examples of some runs, a network at a time."""

    what = "networks"

    def __init__(self, runs: Sequence[Run], networks: Mapping[str, str | None], rule: Rule):
        self._networks = networks
        super().__init__(runs, networks, rule)

    @cached_property
    def _known(self) -> dict[Place, Network]:
        """The network of each run that was checked."""
        return {}

    def _check(self, run: Run) -> None:
        if run.band is not None or any(leaf.columns < leaf.size for leaf in run.leaves):
            raise UserError(
                f"corpus: run {run.id} does not hold all weights, and nino takes networks as a"
                " whole: give forecaster=wnn or gram, or collect without record=gram and sample"
            )
        try:
            graph = graph_of_run(run)
        except UserError as error:
            raise UserError(
                f"corpus: run {run.id}: {error}; keep such networks out:"
                f" keep_out=[{run.config['task']}]"
            ) from None
        forecastable = tuple(self._networks.get(leaf.op) is not None for leaf in run.leaves)
        self._known[run.path] = Network(graph, forecastable)

    def examples(self, key: Sequence[int], count: int, run: Run | None = None) -> list[Example]:
        """Draw examples of one network, all from one run.

        Args:
            key: Determines the draw.
            count: How many.
            run: The run to take them from; left out, it is drawn too.

        Raises:
            UserError: No draw is finite, or a chunk is damaged.
        """
        rng = np.random.default_rng(key)
        for _ in range(MOST_DRAWS):
            drawn = self._drawn_run(next(iter(self.runs)), rng)  # one network has all operations
            chosen = run or drawn
            places = self.rule.starts(chosen.snapshots)
            firsts = FIRST + (rng.random(count) * places).astype(int)
            found = [self.at(chosen, int(first)) for first in firsts]
            if all(_sound(one) for one in found):
                return found
        raise UserError(
            f"corpus: no finite {self.what} in {MOST_DRAWS} draws; collect with lower learning"
            " rates"
        )

    def at(self, run: Run, first: int) -> Example:
        """The example whose window begins at this snapshot of a run."""
        window, horizon = self.rule.window, self.rule.horizon
        end = min(first + window + horizon, run.snapshots)
        weights = np.full((window + horizon, run.weights.shape[1]), np.nan, np.float32)
        weights[: end - first] = run.weights[first:end, : run.weights.shape[1]]
        leaves = [weights[:, leaf.scalars].reshape(-1, *leaf.shape) for leaf in run.leaves]
        windows, targets = [leaf[:window] for leaf in leaves], [leaf[window:] for leaf in leaves]
        return Example(run, self._known[run.path], windows, targets)


def _sound(example: Example) -> bool:
    """Whether an example's window and its first target are finite."""
    leaves = [*example.windows, *(leaf[0] for leaf in example.targets)]
    return all(np.isfinite(leaf).all() for leaf in leaves)
