"""Read the weights that a run of :class:`collect.tasks.Transfer` begins with."""

from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np

from collect import corpus
from collect.corpus import checkpoints, places
from collect.corpus.run import Run
from collect.models import pvt_v2_weights
from nowcast.ops import path_name
from nowcast.paths import expanded
from nowcast.types import PyTree, UserError

KEY = "task.weights"
TRANSLATED: Mapping[str, Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]] = {
    "pvt_v2": pvt_v2_weights.translated
}
"""Of each architecture that has public weights, the function that gives them our names."""


def read(source: str, model: str, run: str | None, made_by: str | None) -> dict[str, np.ndarray]:
    """All weights of a file, or the last ones of a run of a corpus, by name.

    Args:
        source: The path of a file (:data:`collect.corpus.checkpoints.READERS`) or of an Orbax
            folder, or the folder or URL of a corpus.
        model: The architecture, whose public weights may have other names.
        run: The run of the corpus, by name; None: its only run.
        made_by: The experiment that makes the weights, for the message where they are missing.

    Raises:
        UserError: There is nothing, it cannot be read, or the corpus has no such run.
    """
    place = places.at(source)
    if not isinstance(place, Path) or (place / "manifest.json").is_file():
        return _last(_chosen(source, run, made_by))
    if not expanded(source).exists():
        kinds = f"give a corpus, or a file of weights: {', '.join(checkpoints.READERS)}"
        raise UserError(f"{KEY}={source}: is not there; {_command(source, made_by) or kinds}")
    if run is not None:
        raise UserError(f"task.run={run}: is of a corpus, and {source} is none; leave it out")
    arrays = checkpoints.read(expanded(source), None, KEY)
    return TRANSLATED.get(model, dict)(arrays)


def without(params: PyTree, head: str, found: Mapping[str, np.ndarray], source: str) -> PyTree:
    """The weights of all layers but the head, as found.

    Args:
        params: A network's weights, or their shapes.
        head: The layer that stays new, by name.
        found: Weights by name, from :func:`read`.
        source: Where they were found, for messages.

    Returns:
        ``params`` without the head, each leaf a float32 array from ``found``.

    Raises:
        UserError: A weight is missing, of another shape, or of a layer that the network lacks. The
            first one is named.
    """

    def same(path: tuple, leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.Array:
        name = path_name(path)
        if name not in found:
            raise UserError(
                f"{KEY}={source}: has no {name}, of shape {leaf.shape}; it is of another network:"
                f" give one of this model and width (it has {', '.join(list(found)[:3])}, …)"
            )
        if found[name].shape != leaf.shape:
            raise UserError(
                f"{KEY}={source}: {name} has shape {found[name].shape}, and this network's"
                f" {leaf.shape}; give weights of this model and width"
            )
        return jax.numpy.asarray(found[name], jax.numpy.float32)

    backbone = {name: part for name, part in params.items() if name != head}
    made = jax.tree.map_with_path(same, backbone)
    known = {path_name(path) for path, _ in jax.tree.leaves_with_path(params)}
    for name in found:
        if name not in known and name.split("/")[0] != head:
            raise UserError(
                f"{KEY}={source}: {name} is no weight of this network; give weights of this model"
                " and width"
            )
    return made


def _command(source: str, made_by: str | None) -> str:
    """What to do where weights are missing; empty where no experiment makes them."""
    if made_by is None:
        return ""
    return f"make it: python scripts/collect.py experiment={made_by} corpus={source}"


def _chosen(source: str, run: str | None, made_by: str | None) -> Run:
    """The run of a corpus."""
    finished = corpus.open(source).runs
    names = [one.id for one in finished]
    if not names:
        cure = _command(source, made_by) or "the command that collects it goes on"
        raise UserError(f"{KEY}={source}: has no finished run; {cure}")
    if run is None and len(names) > 1:
        said = f"has {len(names)} finished runs ({', '.join(names[:3])})"
        raise UserError(f"{KEY}={source}: {said}, and task.run names none; give task.run=NAME")
    if run is not None and run not in names:
        raise UserError(f"task.run={run}: is no run of {source}, which has {', '.join(names[:3])}")
    chosen = finished[0 if run is None else names.index(run)]
    if chosen.status != "complete":
        raise UserError(f"{KEY}={source}: the run {chosen.id} is {chosen.status}; give another")
    return chosen


def _last(run: Run) -> dict[str, np.ndarray]:
    """The last weights of a run."""
    sampled = any(leaf.columns < leaf.size for leaf in run.leaves)
    if run.band is not None or sampled:
        raise UserError(
            f"{KEY}: the run {run.id} holds a part of its weights; collect it without sample and"
            " record=gram"
        )
    row = np.asarray(run.weights[len(run.weights) - 1])
    return {leaf.path: row[leaf.scalars].reshape(leaf.shape) for leaf in run.leaves}
