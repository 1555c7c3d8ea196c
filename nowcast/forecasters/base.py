"""The interface of forecasters: from windows of weights to values ``horizon`` snapshots later."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nowcast.arrays import DTYPES, wide
from nowcast.chunks import chunked
from nowcast.guess import walk
from nowcast.ops import flat_labels
from nowcast.split import axis_names, split_over
from nowcast.text import brief
from nowcast.types import PyTree, UserError, whole

Horizon = int | Int[Array, ""]
PLACES = (0.0, 0.4, 0.7, 1.0)
"""Where a jump at a named step reads the run, in parts of that step (Introspection: Sinha et al.,
ICLR 2017).
"""
AIM = 2.0
"""Where such a jump leads, as a multiple of its step."""


def as_float(horizon: Horizon, like: Array) -> float | Float[Array, ""]:
    """The horizon as a number to compute with: a Python float, or a scalar of ``like``'s dtype."""
    return horizon.astype(like.dtype) if isinstance(horizon, jax.Array) else float(horizon)


@dataclass(frozen=True, kw_only=True)
class Forecaster:
    """Base class of all forecasters; an elementwise one defines only :meth:`leaf`.

    ``window`` and ``horizon`` count snapshots, whatever lies between two of them (an epoch, 200
    steps): ``horizon=5`` aims five snapshots past the last one of the window.

    A forecaster holds no state: history belongs to whoever calls it (:func:`nowcast.periodic`, or
    your own loop).
    """

    name: ClassVar[str]
    learned: ClassVar[bool] = False
    elementwise: ClassVar[bool] = True
    """Whether each weight's forecast depends on its own window alone."""

    whole: ClassVar[bool] = False
    """Whether all leaves of a network are forecast at once, by :meth:`network_of_leaves`."""

    window: int = 5
    horizon: int = 5

    def __post_init__(self) -> None:
        for field in ("window", "horizon"):
            object.__setattr__(
                self, field, whole(f"{self.name}: {field}", getattr(self, field), "snapshots")
            )

    def can_forecast(self, operation: str) -> bool:
        """Whether weights of this operation are forecast; all others keep their last value."""
        return True

    def leaf(
        self, history: Float[Array, "W *shape"], operation: str, horizon: Horizon
    ) -> Float[Array, "*shape"]:
        """Forecast one leaf, or a piece of one, from its window, oldest snapshot first."""
        raise NotImplementedError

    def network_of_leaves(
        self,
        windows: Sequence[Float[Array, "W *_"]],
        names: Sequence[tuple[str, ...]],
        operations: Sequence[str],
        horizon: Horizon,
    ) -> list[Array]:
        """Forecast all leaves of a network, from their windows, paths and operations."""
        raise NotImplementedError

    def check_network(
        self, names: Sequence[tuple[str, ...]], leaves: Sequence[Any], operations: Sequence[str]
    ) -> None:
        """Refuse a network that the forecaster cannot forecast as a whole."""

    def check_horizon(self, horizon: int | None) -> int:
        """The horizon to use: the forecaster's own when none is asked for."""
        return self.horizon if horizon is None else whole("horizon", horizon, "snapshots")

    def at_named_steps(self, aim: float | None) -> "Forecaster":
        """The forecaster of jumps at named steps, whose windows are the run at :data:`PLACES`.

        Args:
            aim: Where a jump leads, as a multiple of its step; None: the forecaster's own aim.

        Raises:
            UserError: This forecaster reads evenly spaced snapshots only, or cannot aim there.
        """
        raise UserError(
            f"at: {self.name} reads evenly spaced snapshots, and a jump at a named step has none;"
            " choose introspection, linear, quadratic or last_value, or give every=…"
        )

    def check_schedule(self) -> None:
        """Refuse a horizon that changes over a run, where the forecaster has only one."""


def check_forecaster(forecaster: Any) -> None:
    """Refuse anything but a :class:`Forecaster`."""
    if not isinstance(forecaster, Forecaster):
        cure = "one from nowcast.load(…)"
        if isinstance(forecaster, str):
            cure = f"nowcast.load({forecaster!r})"
        elif getattr(forecaster, "learned", False):
            cure = "one that forecasts weights, such as nowcast.load('gram')"
        raise UserError(f"forecaster={brief(forecaster)} is not a forecaster: pass {cure}")


def by_pieces(
    forecaster: Forecaster,
    work: Callable[..., Array],
    parts: Sequence[Array],
    like: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """Compute ``work(*parts)``, in bounded memory where the forecaster is elementwise."""
    return chunked(work, parts, like) if forecaster.elementwise else work(*parts)


def forecast(
    forecaster: Forecaster,
    history: PyTree,
    *,
    labels: PyTree | None = None,
    horizon: int | None = None,
    axis_name: str | Collection[str] | None = None,
) -> PyTree:
    """Forecast every weight of a model from its window.

    Args:
        forecaster: What to forecast with.
        history: Pytree of windows, leaves ``(W, *shape)``, oldest snapshot first.
        labels: The operation of every leaf (:func:`nowcast.label_ops`). Guessed from names and
            ranks when left out.
        horizon: Snapshots past the last one. The forecaster's own when left out.
        axis_name: As for :func:`nowcast.periodic`: inside ``jax.shard_map``, the axes of the mesh
            over which leaves are split.

    Returns:
        Pytree with leaves ``(*shape)`` in the dtype of the history: the forecast itself, not an
        update. Leaves whose operation the forecaster does not serve come back as their last
        snapshot, bit for bit.

    Raises:
        UserError: A window of another length than the forecaster's, a leaf that is not floating
            point, labels that do not match, a horizon the forecaster does not have.

    Examples:
        >>> import jax.numpy as jnp, nowcast
        >>> history = {"kernel": jnp.arange(5.0)[:, None, None] * jnp.ones((5, 2, 3))}
        >>> nowcast.forecast(nowcast.load("linear"), history)["kernel"][0, 0].item()
        9.0
    """
    check_forecaster(forecaster)
    horizon = forecaster.check_horizon(horizon)
    leaves, treedef = jax.tree.flatten_with_path(history)
    ops = flat_labels(history, labels, leading_axes=1)
    out, windows = [], []
    for (path, leaf), op in zip(leaves, ops, strict=True):
        where = jax.tree_util.keystr(path)
        try:
            leaf = jnp.asarray(leaf)
        except TypeError:
            raise UserError(
                f"history{where} is a {type(leaf).__name__}: pass the arrays alone"
            ) from None
        if leaf.ndim < 1 or leaf.shape[0] != forecaster.window:
            raise UserError(
                f"history{where} has shape {leaf.shape}, and {forecaster.name} needs windows of "
                f"{forecaster.window} snapshots along the first axis"
            )
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise UserError(
                f"history{where} is {leaf.dtype}: only floating-point weights can be forecast"
            )
        if leaf.dtype.name not in DTYPES:
            raise UserError(
                f"history{where} is {leaf.dtype}: forecasts are of {', '.join(DTYPES)}; cast it to"
                " one of them"
            )
        if forecaster.whole:
            windows.append(leaf.astype(wide(leaf.dtype)))
            out.append(leaf[-1])
        elif forecaster.can_forecast(op):
            with split_over(axis_names(axis_name)):
                out.append(
                    by_pieces(
                        forecaster, partial(_leaf, forecaster, op, horizon), (leaf,), leaf[-1]
                    )
                )
        else:
            out.append(leaf[-1])
    if forecaster.whole:
        names = [named.names for named in walk(history)]
        with split_over(axis_names(axis_name)):
            there = forecaster.network_of_leaves(windows, names, ops, horizon)
        out = [each.astype(last.dtype) for each, last in zip(there, out, strict=True)]
    return jax.tree.unflatten(treedef, out)


def _leaf(
    forecaster: Forecaster, operation: str, horizon: int, history: Float[Array, "W *shape"]
) -> Float[Array, "*shape"]:
    single = history.astype(wide(history.dtype))
    return forecaster.leaf(single, operation, horizon).astype(history.dtype)
