"""The base of meta-trained forecasters: a small network per operation, one weight at a time.

A new one is a file with four functions and a class that names them; ``introspection.py`` is a short
example. Then add it to :data:`nowcast.forecasters.LEARNED`. Collecting windows, fitting, bundles
and jumps are the same for all.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from nowcast.forecasters.base import Forecaster, Horizon
from nowcast.types import PyTree, UserError, whole

NETWORKS = {
    "conv": "conv", "depthwise_conv": "conv", "fc": "fc", "bias": "bias",
    "norm": None, "embedding": None, "other": None,
}  # fmt: skip
"""The network of each operation; None: its weights never jump (the published WNN: BatchNorm)."""


class Normalised(NamedTuple):
    """A network's inputs, and what its output means: the forecast is ``base + scale · output``."""

    inputs: Float[Array, "N I"]
    base: Float[Array, "N"]
    scale: Float[Array, "N"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned(Forecaster):
    """A meta-trained forecaster; ``params`` holds the parameters of one network per operation."""

    learned: ClassVar[bool] = True
    many: ClassVar[bool] = False
    """Whether a network has an output for each horizon 1, 2, …, ``longest``, not only ``horizon``.
    """
    from_start: ClassVar[bool] = False
    """Whether windows begin with the untrained weights and span any time.

    Otherwise they begin anywhere, with one snapshot after another.
    """
    limit: ClassVar[float] = math.inf
    """The largest output that a network can give."""
    leaves: ClassVar[bool] = False
    """Whether a fit's examples are inner products of whole leaves, not windows of weights."""
    context: ClassVar[tuple[str, ...]] = ()
    """What :meth:`normalise` needs to know of a weight's leaf, in columns behind its window:
    ``mean`` and ``deviation`` of the leaf in the window, and the number of its ``operation``."""
    weight_decay: ClassVar[float] = 0.0
    """The decoupled weight decay of a fit."""
    clip: ClassVar[float | None] = None
    """The largest norm of all gradients of a fit together; larger ones are scaled down to it."""

    mapping: ClassVar[Mapping[str, str | None]] = NETWORKS
    """The network of each operation, unless ``networks`` says otherwise."""

    # Forecaster compares window and horizon only, and two with other parameters differ.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    params: Mapping[str, PyTree] = field(repr=False)
    networks: Mapping[str, str | None] | None = field(default=None, repr=False)
    """None: as in :attr:`mapping`."""
    longest: int | None = None
    """The longest horizon of networks with many; None: the same as ``horizon``.

    ``horizon`` is the one used when none is asked for.
    """

    @staticmethod
    def init_network(key: PRNGKeyArray, window: int, outputs: int) -> PyTree:
        """Fresh parameters of one network: a dict of layers, each a dict of arrays."""
        raise NotImplementedError

    def fresh(self, key: PRNGKeyArray) -> PyTree:
        """Fresh parameters of a network of this forecaster's size."""
        return self.init_network(key, self.window, self.outputs)

    @staticmethod
    def normalise(windows: Float[Array, "N W"]) -> Normalised:
        """The network's inputs, one row per weight, and what its output means."""
        raise NotImplementedError

    @staticmethod
    def network(params: PyTree, inputs: Float[Array, "N I"]) -> Float[Array, "N outputs"]:
        """The outputs, in units of the scale."""
        raise NotImplementedError

    @staticmethod
    def penalty(params: PyTree) -> Float[Array, ""]:
        """The regulariser that meta-training adds to the loss."""
        return jnp.zeros([])

    def __post_init__(self) -> None:
        super().__post_init__()
        longest = (
            self.horizon
            if self.longest is None
            else whole(f"{self.name}: longest", self.longest, "snapshots")
        )
        object.__setattr__(self, "longest", longest)
        if longest != self.horizon and not (self.many and longest > self.horizon):
            raise UserError(
                f"{self.name}: longest={longest} must be horizon={self.horizon}"
                + ", or more" * self.many
            )
        if self.networks is None:
            object.__setattr__(self, "networks", dict(self.mapping))
        if not isinstance(self.networks, Mapping) or not set(self.networks.values()) & set(
            self.params
        ):
            raise UserError(
                f"{self.name}: networks={self.networks!r} names none of the networks"
                f" {', '.join(self.params)}"
            )
        wanted = jax.eval_shape(lambda: self.fresh(jax.random.key(0)))
        for name, found in self.params.items():
            for path, leaf in jax.tree.flatten_with_path(wanted)[0]:
                layer, kind = (key.key for key in path)
                shape = np.shape(found.get(layer, {}).get(kind))
                if shape != leaf.shape:
                    raise UserError(
                        f"{self.name}, window={self.window}: {name}/{layer}/{kind} has shape"
                        f" {shape}, not {leaf.shape}"
                    )

    @property
    def outputs(self) -> int:
        """How many numbers a network returns."""
        return (self.longest or 0) if self.many else 1

    def can_forecast(self, operation: str) -> bool:
        """Whether there is a network for the operation."""
        return self.network_of(operation) in self.params

    def network_of(self, operation: str) -> str | None:
        """The name of the network for this operation, or None."""
        return (self.networks or {}).get(operation)

    def check_horizon(self, horizon: int | None) -> int:
        """The horizon to use, one of those that the networks were fitted to."""
        horizon = super().check_horizon(horizon)
        if horizon > (self.longest or 0) or (horizon != self.horizon and not self.many):
            which = f"1 to {self.longest}" if self.many else f"{self.horizon}"
            raise UserError(
                f"horizon={horizon}: this {self.name} was fitted to forecast {which} snapshots"
                " ahead only"
            )
        return horizon

    def check_schedule(self) -> None:
        """Refuse a changing horizon where the networks have only one."""
        if not self.many:
            raise UserError(
                f"horizon: this {self.name} forecasts {self.horizon} snapshots ahead only; a"
                " schedule needs a forecaster with many horizons, such as gram or wnn_plus"
            )

    def of_rows(
        self, rows: Float[Array, "N known"], operation: str, horizon: Horizon
    ) -> Float[Array, "N"]:
        """Forecast weights from their windows, each followed by its :attr:`context`."""
        params = jax.tree.map(
            lambda p: p.astype(rows.dtype), self.params[self.network_of(operation) or ""]
        )
        inputs, base, scale = self.normalise(rows)
        output = self.network(params, inputs)
        number = jnp.clip(horizon, 1, self.longest) - 1 if self.many else 0
        return base + scale * output[:, number]

    def leaf(
        self, history: Float[Array, "W *shape"], operation: str, horizon: Horizon
    ) -> Float[Array, "*shape"]:
        """Forecast one leaf with the network of its operation."""

        def row(windows: Float[Array, "W N"]) -> Float[Array, "N"]:
            return self.of_rows(windows.T, operation, horizon)

        if history.ndim == 1:
            return row(history[:, None])[0]
        # Axes before the last are not merged, so that a leaf may be split along any of them.
        for _ in history.shape[2:]:
            row = jax.vmap(row, in_axes=1)
        return row(history)


def dense(layer: Mapping[str, Array], x: Float[Array, "N I"]) -> Float[Array, "N O"]:
    """A fully connected layer: ``{"kernel": (I, O), "bias": (O,)}``."""
    return x @ layer["kernel"] + layer["bias"][None, :]
